"""What the stages recorded, as values that say where they come from."""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from awm import store
from awm.errors import AwmError
from awm.report.page import escape, link, quoted
from awm.store import Workspace

#: What stands in the text for a value that was not recorded, around its origin: the story leaves
#: out the paragraph. Characters for private use, so no text of ours holds them.
ABSENT = "\ue000{}\ue001"

#: The table of provenance at a page's foot.
PROVENANCE = "#provenance"


def duration(seconds: float) -> str:
    """`0.4 s`, `53 s`, `4 min 12 s`, `4 h 36 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def source(origin: str) -> str:
    """Where a value of that origin can be looked up: its record, or the work that reports it.

    What was computed from several records leads to the table of provenance, which lists them.
    """
    if record := re.match(r"data/[\w./+-]+\.jsonl?\b", origin):
        return link(record[0]) or PROVENANCE
    work = re.match(r"(\w+\d{4}), ", origin)
    return f"#ref-{work[1]}" if work else PROVENANCE


def number(shown: str, tooltip: str, to: str = PROVENANCE, kind: str = "") -> str:
    """Markdown of a number or verdict that links to where it comes from; `shown` is Markdown."""
    return f"[{shown}]{{.num {kind}title={quoted(tooltip)} href={quoted(to)}}}"


class Text(str):
    """Markdown of ours; all other text that enters the story is shown as it is."""


@dataclass(frozen=True)
class Value:
    """A value and its origin, a record's file and the place in it.

    As text it is Markdown, a number that links to its origin and has it as a tooltip.
    `vae["test"]["nll"]` (in a template `vae.test.nll`) is a value of a value; what is not there is
    `None` with an origin.
    """

    raw: Any
    origin: str
    form: str | Callable[[float], str] = ",.0f"

    def __getitem__(self, key: str | int) -> "Value":
        try:
            inner = self.raw[key]
        except (KeyError, IndexError, TypeError):
            inner = None
        if isinstance(inner, Value):
            return inner
        return Value(inner, f"{self.origin}{'.' if ': ' in self.origin else ': '}{key}")

    def __bool__(self) -> bool:
        return self.raw is not None

    def __len__(self) -> int:
        return len(self.raw or ())

    def __iter__(self) -> Iterator["Value"]:
        return (self[i] for i in range(len(self)))

    def __str__(self) -> str:
        if self.raw is None or (isinstance(self.raw, float) and not math.isfinite(self.raw)):
            return ABSENT.format(self.origin)
        if isinstance(self.raw, Text):
            return self.raw
        if isinstance(self.raw, bool) or not isinstance(self.raw, int | float):
            return escape(self.raw)
        shown = self.form(self.raw) if callable(self.form) else format(self.raw, self.form)
        shown = escape(shown).replace("\\-", "−")
        return number(shown, self.origin, source(self.origin))

    def to(self, digits: int) -> "Value":
        """With so many decimals."""
        return replace(self, form=f",.{digits}f")

    def signed(self, digits: int = 0) -> "Value":
        """With a sign and so many decimals."""
        return replace(self, form=f"+z,.{digits}f")

    @property
    def percent(self) -> "Value":
        return replace(self, form=".0%")

    @property
    def time(self) -> "Value":
        """Seconds, in words."""
        return replace(self, form=duration)

    def millions(self, digits: int = 2) -> "Value":
        return replace(self, form=lambda value: f"{value / 1e6:,.{digits}f}")

    def minus(self, other: "Value") -> "Value":
        """This less the other."""
        known = self and other
        gap = self.raw - other.raw if known else None
        return Value(gap, f"{self.origin} less {other.origin.rpartition(': ')[2]}")

    def pick(self, which: str, column: str) -> "Value":
        """The `first`, `last` or `lowest` number of a column of a history."""
        values = [row[column] for row in self.raw or () if row.get(column) is not None]
        picked = {"first": values[:1], "last": values[-1:], "lowest": sorted(values)[:1]}[which]
        between = ", " if ": " in self.origin else ": "
        return Value(picked[0] if picked else None, f"{self.origin}{between}{which} {column}")


#: What a profile does not do: the story leaves it out without a note.
NOTHING = Value(None, "")


def when(holds: object) -> Value:
    """Nothing to read, to name in a paragraph that only some profiles have."""
    return Value(Text(""), "") if holds else NOTHING


def record(workspace: Workspace, name: str) -> Value:
    """A record of the profile, such as `vae.json`; its raw value is None where there is none.

    Raises:
        AwmError: if it is damaged.
    """
    path = workspace.find(name)
    if path is None:
        return Value(None, f"data/{workspace.profile.name}/{name}")
    found = store.read_json(path)
    if not isinstance(found, dict):
        raise AwmError(f"{path} is damaged. Move it away and run its stage again.")
    inside = path.is_relative_to(workspace.root)
    return Value(found, str(path.relative_to(workspace.root) if inside else path))


#: What there are records of, in the order of the table of provenance.
STAGES = {
    "recording episodes": ("rollouts*.json",),
    "training V": ("vae.json",),
    "training M": ("mdn_rnn/*.json", "feature_map.json"),
    "searching for C": ("agents/*.json",),
    "testing and measuring": ("evaluations/*.json", "evaluations/altered/*.json", "study/*.json"),
}

#: Which notebook makes a record or draws a figure, by the beginning of its name; the first counts.
_MAKERS = (
    ("07_results", "MDP|world_model|rollout$|dream_training"),
    ("01_data_collection", "rollouts|data_coverage"),
    ("02_vae", "vae"),
    ("03_mdn_rnn", "mdn_rnn/(plain|untrained|wide)|mdn_rnn_|study/baselines"),
    ("04_attention", "mdn_rnn/|attn_|attention_|likelihood_|probes|study/attention"),
    ("06_dreaming", "(study/)?feature_map|.*dream|routes|study/(en|re|ro|tr)"),
    ("05_controller_evolution", "agents/|CarRacing|controller_"),
    ("07_results", ""),
)


def maker(name: str) -> str:
    """The notebook that makes a record (`vae.json`, or with its folder) or draws a figure."""
    return next(notebook for notebook, begins in _MAKERS if re.match(begins, within(name)))


def within(name: str) -> str:
    """A record's name within its profile's folder."""
    return re.sub(r"^data/(pretrained/)?\w+/", "", name)
