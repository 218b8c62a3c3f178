"""The HTML report: the story, and one page for every executed notebook.

The prose is `report_template/story.md` (Markdown with Jinja2). Its numbers are looked up in the
JSON that the stages recorded, and each carries its origin as a tooltip; what was not recorded is
said to be missing. Pictures come from `images/`, code from the executed notebooks. Every page is
one file that needs no network.
"""

import html
import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import cache
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import jinja2
from pygments.formatters import HtmlFormatter

from awm import (
    baselines,
    config,
    drivers,
    evolution,
    markup,
    notebook_page,
    provenance,
    results,
    statistics,
    verdicts,
)
from awm.config import ATTENTIONS, MODELS, Profile, get_profile
from awm.errors import AwmError
from awm.names import Name, evolved, refined
from awm.sim import MAX_EPISODE_STEPS
from awm.statistics import Estimate, Perfect

TEMPLATES = Path(__file__).parent / "report_template"

#: Which notebook draws a figure of the report, for the note that stands where one is missing.
FIGURES = {
    "MDP": "07_results",
    "world_model": "07_results",
    "rollout": "07_results",
    "dream_error": "06_dreaming",
    "dream_and_reality": "06_dreaming",
    "dream_failure": "06_dreaming",
    "dream_rounds": "06_dreaming",
    "dream_temperatures": "06_dreaming",
    "routes": "06_dreaming",
    "dream_training": "07_results",
    "CarRacing": "05_controller_evolution",
    "data_coverage": "01_data_collection",
    "vae_recon_input": "02_vae",
    "vae_recon_output": "02_vae",
    "vae_dream_image": "02_vae",
    "vae_training_loss": "02_vae",
    "vae_val_loss": "02_vae",
    "vae_latent_traversal": "02_vae",
    "vae_kl_per_dimension": "02_vae",
    "mdn_rnn_learning_curves": "03_mdn_rnn",
    "attn_mdn_rnn_learning_curves": "04_attention",
    "likelihood_gains": "04_attention",
    "attention_maps": "04_attention",
    "probes": "04_attention",
    "controller_training": "05_controller_evolution",
    "controller_refinement": "05_controller_evolution",
    "results_comparison": "07_results",
    "worst_laps": "07_results",
}

#: How the text calls a controller's model.
MODEL_NAMES = {
    "V": "V alone",
    "untrained": "V and an untrained M",
    "none": "V and plain M",
    "feature": "V and M, feature attention",
    "spatial": "V and M, spatial attention",
    "temporal": "V and M, temporal attention",
}

_M_NAMES = {
    "none": "Plain M",
    "untrained": "M, untrained LSTM",
    **{attention: f"M, {attention} attention" for attention in ATTENTIONS if attention != "none"},
    "wide": "M, wider, no attention",
}

MISSING = '<span class="missing">not recorded yet</span>'


def build(profile: Profile | str) -> Path:
    """Write the report of a profile from what its stages left; returns its `index.html`.

    The table of results goes beside it, as `results.json`.

    All pages are made before the first is put in place, so a failure leaves the old report.
    Pages of notebooks that have not been executed in this profile are taken away.
    """
    profile = get_profile(profile)
    target = config.report_dir()
    target.mkdir(parents=True, exist_ok=True)
    executed, table = _executed_notebooks(profile), results.entries(profile)
    with TemporaryDirectory(prefix=".report-", dir=target.parent) as folder:
        made = Path(folder)
        for name, page in _notebook_pages(profile, executed).items():
            (made / f"{name}.html").write_text(page, encoding="utf-8")
        (made / "index.html").write_text(_index(profile, executed), encoding="utf-8")
        # The index last: whoever opens it finds the pages that it names.
        for page in sorted(made.iterdir(), key=lambda path: path.name == "index.html"):
            page.replace(target / page.name)
    provenance.write_json(target / "results.json", table)
    for page in target.glob("[0-9][0-9]_*.html"):
        if page.stem not in executed:
            page.unlink()
    return target / "index.html"


# ---------------------------------------------------------------- what was recorded


class Record:
    """A recorded JSON file, or its absence (then false). Numbers come out as HTML with origin."""

    def __init__(self, path: Path, value: dict | None):
        self.path = path
        self.value = value

    @classmethod
    def load(cls, profile: Profile, name: str) -> "Record":
        """`data/<profile>/<name>` or, failing that, the committed one; AwmError if damaged."""
        path = results.recorded(profile, name)
        if not path.exists():
            return cls(path, None)
        return cls(
            path,
            {"history": evolution.generations(path)} if path.suffix == ".jsonl" else _json(path),
        )

    def __bool__(self) -> bool:
        return self.value is not None

    @property
    def origin(self) -> str:
        """The file, as seen from the workspace."""
        inside = self.path.is_relative_to(config.root())
        return str(self.path.relative_to(config.root()) if inside else self.path.name)

    def get(self, key: str, default=None):
        """The value at a dotted path such as `config.hidden_size` or `ci95.0`."""
        value = self.value
        for part in key.split("."):
            if isinstance(value, list) and part.isdigit() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, dict) and part in value:
                value = value[part]
            else:
                return default
        return value

    def series(self, key: str) -> list[float]:
        """A column of the history, without the entries that lack it."""
        rows = self.get("history") or []
        return [row[key] for row in rows if row.get(key) is not None]

    def number(self, key: str, form: str = ",.0f") -> str:
        """The number at a dotted path."""
        return number(self.get(key), form, f"{self.origin}: {key}")

    def less(self, key: str, other: str, form: str = "+,.2f") -> str:
        """The number at one path less that at another."""
        ends = (self.get(key), self.get(other))
        gap = None if None in ends else ends[0] - ends[1]
        return number(gap, form, f"{self.origin}: {key} less {other}")

    def first(self, key: str, form: str = ",.0f") -> str:
        """The first value of a column of the history."""
        return self._of(key, form, "first", lambda values: values[0])

    def last(self, key: str, form: str = ",.0f") -> str:
        """The last value of a column of the history."""
        return self._of(key, form, "last", lambda values: values[-1])

    def lowest(self, key: str, form: str = ",.0f") -> str:
        """The lowest value of a column of the history."""
        return self._of(key, form, "lowest", min)

    def highest(self, key: str, form: str = ",.0f") -> str:
        """The highest value of a column of the history."""
        return self._of(key, form, "highest", max)

    def total(self, key: str, form: str = ",.0f") -> str:
        """The sum of a column of the history."""
        return self._of(key, form, "sum of", sum)

    def took(self, key: str = "wall_time_s") -> str:
        """A number of seconds, in words."""
        return _marked(self.get(key), duration, f"{self.origin}: {key}")

    def _of(self, key: str, form: str, name: str, choose: Callable) -> str:
        values = self.series(key)
        return number(
            choose(values) if values else None, form, f"{self.origin}: {name} {key} in history"
        )


class Published:
    """What others have reported (`published.json`), each number with its place as its origin."""

    def __init__(self):
        self.value = json.loads((TEMPLATES / "published.json").read_text("utf-8"))

    def returns(self) -> list[dict[str, str]]:
        """Agents that others have published: `agent`, `score`, `differs` and `source`, a key."""
        return [
            {key: work[key] for key in ("agent", "differs", "source")} | {"score": self.score(name)}
            for name, work in self.value["returns"].items()
        ]

    def score(self, name: str) -> str:
        """Mean and deviation that were reported for one of these agents."""
        work = self.value["returns"][name]
        origin = f"{work['source']}, {work['where']}"
        mean, deviation = (number(work[key], "d", origin) for key in ("mean", "deviation"))
        return f"{mean}&nbsp;±&nbsp;{deviation}"

    def number(self, key: str, form: str = ",.0f") -> str:
        """A number of one of the other parts, such as `original.frames`."""
        part, _, name = key.partition(".")
        found = self.value[part][name]
        return number(found["value"], form, found["where"])

    def took(self, key: str) -> str:
        """A number of seconds, in words."""
        part, _, name = key.partition(".")
        found = self.value[part][name]
        return _marked(found["value"], duration, found["where"])


def number(value, form: str, origin: str) -> str:
    """A number with a tooltip that tells where it was recorded; a note when it was not."""
    return _marked(value, lambda v: format(v, form).replace("-", "−"), origin)


def _marked(value, show: Callable, origin: str) -> str:
    known = isinstance(value, int | float) and math.isfinite(value)
    if not known:
        return MISSING
    return f'<span class="num" title="{html.escape(origin)}">{show(value)}</span>'


def duration(seconds: float) -> str:
    """`0.4 s`, `53 s`, `4 min 12 s`, `4 h 36 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _json(path: Path) -> dict:
    value = provenance.read_json(path)
    if not isinstance(value, dict):
        raise AwmError(f"{path} is damaged. Move it away and run its stage again.")
    return value


def _all(profile: Profile, folder: str, suffix: str) -> dict[str, Record]:
    """Every record of a folder by name: models in their usual order, then whatever else."""
    names = {
        path.name.removesuffix(suffix)
        for place in (config.data_dir(profile), config.pretrained_dir() / profile.folder)
        for path in place.glob(f"{folder}/[!.]*{suffix}")
    }
    order = {name: position for position, name in enumerate(MODELS)}
    return {
        name: Record.load(profile, f"{folder}/{name}{suffix}")
        for name in sorted(names, key=lambda n: (order.get(Name.parse(n).model, len(order)), n))
    }


def label(controller: str) -> str:
    """How the text calls a controller: `spatial-seed1` -> `V and M, spatial attention, seed 1`."""
    name = Name.parse(controller)
    parts = {
        MODEL_NAMES.get(name.model, name.model): True,
        "evolved in the dream": name.dream,
        f"τ = {name.temperature}": name.temperature is not None,
        f"round {name.round}": name.round,
        "then on the track": name.woken,
        f"seed {name.seed}": name.seed,
        "refined": name.refined,
        name.other.removeprefix("-"): name.other,
    }
    return ", ".join(part for part, said in parts.items() if said)


def _records(profile: Profile) -> dict:
    """What the story can ask for, by the names it uses."""
    evaluations = [Record(path, found) for path, found in results.evaluations(profile).items()]
    return {
        "benchmarks": (config.report_dir() / "benchmarks.html").exists(),
        "rollouts": (rollouts := Record.load(profile, "rollouts.json")),
        "sighted": _sighted(rollouts),
        "vae": Record.load(profile, "vae.json"),
        "mdn_rnn": {m: Record.load(profile, f"mdn_rnn-{m}.json") for m in _M_NAMES},
        "further_ms": {
            name: Record.load(profile, f"mdn_rnn-{name}.json")
            for seed in range(1, max(profile.mdn_seeds, *profile.searched_on, 0) + 1)
            for name in (evolved(m, seed) for m in _M_NAMES)
        },
        "baselines": Record.load(profile, "mdn_rnn-baselines.json"),
        "gains": (gains := Record.load(profile, "mdn_rnn-attentions.json")),
        "gained": _gained(gains),
        "map_head": Record.load(profile, "map_head.json"),
        "rewards": Record.load(profile, "mdn_rnn-rewards.json"),
        "horizon": Record.load(profile, "dream-horizon.json"),
        "published": Published(),
        "faults": Record.load(profile, "faults.json"),
        "iteration": Record.load(profile, "iteration-none.json"),
        "idle": Record.load(profile, "dream-idle.json"),
        "evolution": _all(profile, "evolution", ".jsonl"),
        "controllers": _all(profile, "controllers", ".json"),
        "evaluations": evaluations,
        "families": lambda frames: _families(evaluations, frames),
        "over_seeds": _over_seeds,
        "average_steps": lambda group: _average_steps(profile, group),
        "difference": _difference,
        "duel": _duel,
        "said": _said,
        "estimates": lambda gaps: {kind: gap["estimate"] for kind, gap in gaps.items()},
        "against_controls": _against_controls,
        "last_night": _last_night,
        "coverage": _coverage,
        "honest": _honest(evaluations),
        "cost": lambda controller: _cost(profile, controller),
        "routes": lambda levels: _routes(profile, levels),
        "foresight": _foresight,
        "foresight_less": _foresight_less,
        "temperatures": _temperatures(profile),
    }


def _families(evaluations: list[Record], frames: str) -> dict[str, list[Record]]:
    """Evaluations on those frames; the seeds of a search together, under the name they share."""
    groups: dict[str, list[Record]] = {}
    for r in evaluations:
        if r.get("frames") == frames:
            groups.setdefault(str(Name.parse(str(r.get("controller"))).family), []).append(r)
    return groups


def _over_seeds(group: list[Record], key: str, form: str = ",.0f") -> str:
    """The average of a number over the seeds of a search."""
    values = [r.get(key) for r in group]
    known = None if None in values or not values else fmean(values)
    return number(known, form, f"mean {key} of " + ", ".join(r.origin for r in group))


def _average_steps(profile: Profile, group: list[Record]) -> str:
    """The average over the seeds of a search of all real steps that led to its controllers."""
    names = [str(r.get("controller")) for r in group]
    steps = [results.cost(profile, name)["real_steps"] for name in names]
    known = None if None in steps else fmean(steps)
    return number(_millions(known), ",.2f", "rollouts and logs of " + ", ".join(names))


def _shown(found: Estimate, form: str, origin: str, less: bool = False) -> dict:
    """An estimate for the story: its numbers with their origin, and itself to be judged.

    `less` says that less is better.
    """
    ends = {"mean": found.value, "low": found.low, "high": found.high}
    shown = {key: number(value, form, origin) for key, value in ends.items()}
    if found.p is not None:
        shown["p"] = _marked(found.p, _probability, origin)
    interval = f"{shown['low']}&nbsp;to&nbsp;{shown['high']}"
    return shown | {"interval": interval, "estimate": found, "less": less}


def _probability(p: float) -> str:
    if p > 0.99:
        return "&gt; 0.99"
    return f"= {p:.2g}" if p >= 0.001 else "&lt; 0.001"


def _said(verdict: str, *on: dict | None) -> str:
    """A verdict, with what it stands on as its tooltip: `+288 (+161 to +415), more is better`."""
    found = []
    for shown in filter(None, on):
        one = shown["estimate"]
        if isinstance(one, Perfect):
            found.append(f"alone perfect on {one.first} against {one.second}, p = {one.p:.2g}")
        else:
            better = "less" if shown["less"] else "more"
            ends = f"{one.value:+.4g} ({one.low:+.4g} to {one.high:+.4g})"
            found.append(f"{ends}, {better} is better")
    origin = html.escape("; ".join(found))
    return f'<span class="num verdict" title="{origin}">{verdict}</span>'


def _difference(ones: list[Record], others: list[Record]) -> dict | None:
    """`results.compare` for the story."""
    found = results.compare([r.value for r in ones], [r.value for r in others])
    files = ", ".join(r.origin for r in (*ones, *others))
    origin = f"Welch's interval over {len(ones)} and {len(others)} searches: {files}"
    return None if found is None else _shown(found, "+z.0f", origin)


def _duel(one: Record, other: Record) -> dict | None:
    """`results.compare_agents` for the story."""
    found = results.compare_agents(one.value, other.value)
    if found is None:
        return None
    origin = f"track by track: {one.origin}, {other.origin}"
    perfect = found.perfect
    return {
        "tracks": number(found.tracks, "d", origin),
        "mean": _shown(found.mean, "+z.0f", origin),
        "median": _shown(found.median, "+z.1f", origin),
        "alone": [number(n, "d", origin) for n in (perfect.first, perfect.second)],
        "perfect": {
            "estimate": perfect,
            "p": _marked(perfect.p, _probability, f"McNemar's exact test, {origin}"),
        },
        "found": found,
    }


def _gained(record: Record) -> dict | None:
    """What attention adds to M's likelihood, and what size alone does (`baselines.gains`)."""
    nll = record.get("nll")
    if not nll:
        return None
    origin = f"{record.origin}: nll, "
    seeds, control = len(nll["none"]), baselines.control_of(nll)
    found = {"control": control, "seeds": seeds, "size": None}
    found["average"] = {
        kind: number(fmean(each), ",.3f", f"{origin}mean of {kind}") for kind, each in nll.items()
    }
    against = f"{origin}Dunnett's interval over {seeds} trainings, less {control}"
    found["kinds"] = {
        kind: _shown(gain, "+.3f", against, less=True)
        for kind, gain in baselines.gains(nll).items()
    }
    found["estimates"] = {kind: gain["estimate"] for kind, gain in found["kinds"].items()}
    if control == "wide" and seeds > 1:
        size = statistics.difference(nll["wide"], nll["none"])
        found["size"] = _shown(size, "+.3f", f"{origin}Welch's interval, wide less none", less=True)
    return found


def _sighted(rollouts: Record) -> dict[str, str]:
    """How many of the recorded episodes were driven by scripts that see the track, and of all."""
    names, origin = rollouts.get("drivers"), f"{rollouts.origin}: drivers"
    count = None if names is None else sum(name in drivers.SIGHTED for name in names)
    return {
        "count": number(count, "d", origin),
        "of": number(None if names is None else len(names), "d", origin),
    }


def _coverage(training: float, trainings: tuple[int, ...]) -> str:
    """`statistics.coverage` for the story."""
    found = statistics.coverage(training, trainings)
    return number(found, ".0%", "simulated: awm.statistics.coverage")


def _against_controls(families: dict[str, list[Record]]) -> list[dict]:
    """What a trained plain M is worth to C, beyond an untrained one and beyond V alone."""
    found = []
    for control, name in (("untrained", "an untrained M"), ("V", "V alone")):
        if control in families and "none" in families:
            gap = _difference(families["none"], families[control])
            if gap is not None:
                verdict = _said(verdicts.helps(gap["estimate"]), gap)
                earns = _over_seeds(families[control], "mean")
                found.append({"name": name, "earns": earns, "gap": gap, "verdict": verdict})
    return found


def _last_night(families: dict[str, list[Record]]) -> list[Record]:
    """The controllers of the last round's dream that never learnt on the track, a seed each."""
    dreamt = [name for name in map(Name.parse, families) if name.dream and not name.woken]
    dreamt = [name for name in dreamt if name.model == "none" and name.temperature is None]
    return families[str(max(dreamt, key=lambda name: name.round))] if dreamt else []


def _honest(evaluations: list[Record]) -> dict | None:
    """What a dream, which has no finish, pays for the pace of the refined agent's perfect laps."""
    for r in evaluations:
        if (r.get("controller"), r.get("frames")) != (refined("none"), "fast"):
            continue
        laps = zip(r.get("returns"), r.get("lengths") or (), strict=False)
        perfect = [length for earned, length in laps if earned >= results.PERFECT]
        if perfect:
            steps, origin = fmean(perfect), f"{r.origin}: mean length of the perfect laps"
            earns = MAX_EPISODE_STEPS * (1000 / steps - 0.1)
            return {"steps": number(steps, ",.0f", origin), "earns": number(earns, ",.0f", origin)}
    return None


def _foresight(horizon: Record, step: int, kind: str) -> dict[str, str] | None:
    """How far plain M's dreams are off after so many steps, beside the guess without a model.

    `kind` is one of `awm.dream.error_by_horizon`; None where it was not recorded.
    """
    steps = horizon.get("steps") or []
    if step not in steps or not horizon.get(f"models.none.mean.{kind}"):
        return None
    place = f"{kind}.{steps.index(step)}"
    form = ",.1f" if kind == "return" else ",.0f"
    keys = {end: f"models.none.{end}.{place}" for end in ("mean", "low", "high")}
    shown = {end: horizon.number(key, form) for end, key in keys.items()}
    verdict = None
    if horizon.get(keys["low"]) is not None:
        guess = horizon.get(f"still.{place}")
        gap = Estimate(*(horizon.get(key) - guess for key in keys.values()))
        verdict = _said(verdicts.foresight(gap), {"estimate": gap, "less": True})
    return shown | {
        "guess": horizon.number(f"still.{place}", form),
        "several": verdict is not None,
        "verdict": verdict,
    }


def _foresight_less(horizon: Record, kind: str) -> dict | None:
    """How the attentive Ms' errors after a second differ from the control's, and what it shows."""
    less = {
        attention: horizon.get(f"less.{attention}.{kind}")
        for attention in ("feature", "spatial", "temporal")
    }
    gaps = {name: Estimate(*gap.values()) for name, gap in less.items() if gap}
    if not gaps:
        return None
    shown = {
        name: {end: horizon.number(f"less.{name}.{kind}.{end}", "+z,.1f") for end in less[name]}
        for name in gaps
    }
    return {
        "control": {"wide": "the wider M", "none": "plain M"}[horizon.get("control")],
        "gaps": shown,
        "verdict": _said(
            verdicts.predicts(gaps), *({"estimate": gap, "less": True} for gap in gaps.values())
        ),
    }


def _cost(profile: Profile, controller: str) -> dict[str, str]:
    """`results.cost` for the story."""
    found = results.cost(profile, controller)
    origin = f"rollouts, V, M and the logs of evolution that led to {controller}"
    return {
        "real_steps": number(_millions(found["real_steps"]), ",.2f", origin),
        "dream_steps": number(_millions(found["dream_steps"]), ",.1f", origin),
        "core_hours": number(found["core_hours"], ",.1f", origin),
        "watched_laps": number(found["watched_laps"], ",d", origin),
    }


def _temperatures(profile: Profile, model: str = "none") -> list[dict]:
    """Median dreamt and real return at each temperature of a dream, over the seeds.

    `values` holds the numbers themselves, for the story to judge by.
    """
    found = []
    for temperature, logs in sorted(results.dream_logs(profile, model).items()):
        chosen = [evolution.chosen(log) for log in logs]
        origin = f"median of {len(logs)} searches in {model}'s dream at temperature {temperature}"
        values = {
            key: median(entry[column] for entry in chosen)
            for key, column in (("dreamt", "validation"), ("real", "real"))
        }
        shown = {key: number(value, ",.0f", origin) for key, value in values.items()}
        entry = {"temperature": f"{temperature:g}", "seeds": len(logs), "values": values}
        found.append(entry | shown)
    return found


def _routes(profile: Profile, levels: list[int]) -> list[tuple[str, list[str]]]:
    """`results.routes` for the story: for each way what it had spent at every level."""
    found = {label: [run for run in runs if run] for label, runs in results.routes(profile).items()}
    rows = []
    for label, runs in found.items():
        cells = []
        for level in levels:
            spent = results.spent(runs, level)
            steps, hours = (
                number(value, form, f"first validation of at least {level}, {label}")
                for value, form in (
                    (_millions(spent and spent["real_steps"]), ",.2f"),
                    (spent and spent["core_hours"], ",.1f"),
                )
            )
            cells.append(f"{steps}&nbsp;M, {hours}&nbsp;h" if spent else "not reached")
        if runs:
            seeds = f"{len(runs)} seed{'s' * (len(runs) > 1)}"
            rows.append((f"{label.capitalize()}, {seeds}", cells))
    return rows


def _millions(steps: int | None) -> float | None:
    return None if steps is None else steps / 1e6


def _stages(records: dict, notebooks: dict[str, Record]) -> list[tuple[str, Record]]:
    """Every stage that the report rests on, and its record."""
    return [
        ("Data collection", records["rollouts"]),
        ("V", records["vae"]),
        *((_M_NAMES[m], record) for m, record in records["mdn_rnn"].items()),
        *((f"M, {name}", record) for name, record in records["further_ms"].items()),
        ("Head for dreams of the spatial M", records["map_head"]),
        ("Baselines of M", records["baselines"]),
        ("Attention in M compared", records["gains"]),
        ("Rewards of M", records["rewards"]),
        ("Dreams left alone", records["horizon"]),
        ("Dreams with idle latents held", records["idle"]),
        *((f"C on {label(name)}", record) for name, record in records["controllers"].items()),
        *(
            (f"Evaluation of {r.get('controller')}, {r.get('frames')} frames", r)
            for r in records["evaluations"]
        ),
        ("Iterative training", records["iteration"]),
        ("Faults of the original", records["faults"]),
        *((f"Notebook {name}", record) for name, record in notebooks.items()),
    ]


def _stage_row(name: str, record: Record) -> dict:
    seconds = record.get("wall_time_s")
    return {
        "name": name,
        "took": "" if seconds is None else duration(seconds),
        "date": str(record.get("date") or "")[:10],
        "commit": _commit(record.value),
        "machine": f"{record.get('machine')}, {record.get('cpu_count')} cores",
        "file": record.origin,
    }


def _commit(record: dict) -> str:
    commit = str(record.get("commit") or "")[:10]
    return commit + ("+" if commit and record.get("dirty") else "")


# ---------------------------------------------------------------- the story


class Story:
    """The functions that the story calls, and the numbers of its figures and tables."""

    def __init__(self, profile: Profile, executed: dict[str, Path]):
        self.profile = profile
        self.executed = executed
        self.images = config.images_dir()
        captions = self.images / "captions.json"
        self.captions = _json(captions) if captions.exists() else {}
        self.references = json.loads((TEMPLATES / "references.json").read_text("utf-8"))
        self.numbers: dict[str, str] = {}
        self.counts = {"Figure": 0, "Table": 0}
        # Finished HTML waits here while Markdown passes: it may hold blank lines.
        self.slots: list[str] = []

    def render(self, source: str, **context) -> tuple[str, list[markup.Heading]]:
        """The story as HTML, and its headings."""
        environment = jinja2.Environment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        text = environment.from_string(source).render(
            figure=self.figure,
            code=self.code,
            table=self.table,
            ref=self.ref,
            cite=self.cite,
            notebook=self.notebook,
            bibliography=self.bibliography,
            live_dream=self.live_dream,
            profile=self.profile,
            label=label,
            m_names=_M_NAMES,
            verdicts=verdicts,
            missing=MISSING,
            **context,
        )
        headings: list[markup.Heading] = []
        body = markup.markdown(text, (self.images,), headings)
        body = re.sub(r'<div data-slot="(\d+)"></div>', lambda m: self.slots[int(m[1])], body)
        return re.sub(r'<a data-ref="([^"]+)"></a>', self._resolve, body), headings

    def figure(self, *names: str) -> str:
        """One figure, or several side by side, each with its number and caption."""
        figures = "\n".join(self._figure(name) for name in names)
        return self._slot(f'<div class="row">{figures}</div>' if len(names) > 1 else figures)

    def _figure(self, name: str) -> str:
        label = self._count("Figure", name)
        paths = [self.images / f"{name}{suffix}" for suffix in (".gif", ".png", ".svg", ".jpg")]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            where = FIGURES.get(name)
            by = f"notebook {where} draws it" if where else "no notebook draws it"
            return (
                f'<figure id="figure-{name}" class="absent"><figcaption><b>{label}.</b> '
                f"There is no picture <code>{html.escape(name)}</code> yet: {by}."
                "</figcaption></figure>"
            )
        words = self.captions.get(name, {})
        caption = words.get("caption", "")
        alt = words.get("alt") or caption or name.replace("_", " ")
        return (
            f'<figure id="figure-{name}"><img src="{markup.data_uri(path)}" '
            f'alt="{html.escape(alt)}"><figcaption><b>{label}.</b> {_inline(caption)}'
            f"{self._drawn_by(name)}</figcaption></figure>"
        )

    def _drawn_by(self, name: str) -> str:
        """Where a caption's numbers come from: the executed notebook that wrote it."""
        by = FIGURES.get(name)
        if by not in self.executed:
            return ""
        return f' <span class="origin">From {self.notebook(by)}.</span>'

    def table(self, name: str, caption: str, header: list[str], rows: list[list[str]]) -> str:
        """A numbered table; its cells are HTML."""
        label = self._count("Table", name)
        head = "".join(f'<th scope="col">{cell}</th>' for cell in header)
        body = "\n".join(
            "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows
        )
        return self._slot(
            f'<figure class="tabular" id="figure-{name}"><figcaption id="caption-{name}">'
            f"<b>{label}.</b> {_inline(caption)}</figcaption>"
            f'<div class="table" tabindex="0" role="region" aria-labelledby="caption-{name}">'
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></figure>"
        )

    def code(self, notebook: str, tag: str) -> str:
        """The cells of an executed notebook that carry a tag, folded."""
        path = self.executed.get(notebook)
        sources = notebook_page.tagged_source(notebook_page.read(path), tag) if path else []
        if not sources:
            why = (
                f"notebook {notebook} has no cell tagged “{tag}”"
                if path
                else f"notebook {notebook} has not been run in this profile"
            )
            return self._slot(markup.note(f"The code would stand here, but {why}."))
        name = notebook.replace("_", " ")
        # The link inside, not in the summary: a control within a control confuses screen readers.
        return self._slot(
            f'<details class="code"><summary><span class="label">Code</span> from {name}</summary>'
            + "\n".join(markup.code(source) for source in sources)
            + f'<p class="source">From <a href="{notebook}.html">notebook {name}</a>.</p></details>'
        )

    def ref(self, name: str) -> str:
        """`Figure 3`, linked; may come before the figure does."""
        return f'<a data-ref="{name}"></a>'

    def cite(self, key: str, style: str = "") -> str:
        """`(Ha & Schmidhuber 2018)`; with style `"text"` `Ha & Schmidhuber (2018)`."""
        names, year = (html.escape(part) for part in self.references[key]["short"])
        if style == "text":
            return f'<a class="cite" href="#ref-{key}">{names} ({year})</a>'
        return f'(<a class="cite" href="#ref-{key}">{names} {year}</a>)'

    def notebook(self, name: str) -> str:
        """A notebook's name, linked to its page when there is one."""
        label = f"notebook {name[:2]}"
        return f'<a href="{name}.html">{label}</a>' if name in self.executed else label

    def bibliography(self) -> str:
        """The works cited, in alphabetical order."""
        items = []
        for key, work in sorted(self.references.items(), key=lambda item: item[1]["text"]):
            text = re.sub(r"\*(.+?)\*", r"<em>\1</em>", html.escape(work["text"]))
            links = " · ".join(
                f'<a href="{html.escape(url)}">{html.escape(label)}</a>'
                for label, url in work["links"].items()
            )
            items.append(f'<li id="ref-{key}">{text} {links}</li>')
        return self._slot(f'<ol class="references">{"".join(items)}</ol>')

    def live_dream(self) -> str:
        """A dream that the reader drives, or a note on what it lacks."""
        from awm import live_dream  # brings PyTorch, which nothing else here needs

        lack = live_dream.absent(self.profile)
        if lack:
            return self._slot(markup.note(lack))
        bundle = live_dream.bundle(self.profile)
        return self._slot(
            _environment()
            .get_template("dream.html.j2")
            .render(
                bundle=bundle,
                models=live_dream.MODELS,
                trained={m["name"]: m for m in bundle["models"]},
                label=label,
                data=json.dumps(bundle).replace("<", "\\u003c"),
                script=(TEMPLATES / "dream.js").read_text("utf-8"),
            )
        )

    def _count(self, kind: str, name: str) -> str:
        if name in self.numbers:
            raise AwmError(f"The story shows {name!r} twice. Refer to it with ref() instead.")
        self.counts[kind] += 1
        self.numbers[name] = f"{kind} {self.counts[kind]}"
        return self.numbers[name]

    def _slot(self, content: str) -> str:
        self.slots.append(content)
        return f'\n\n<div data-slot="{len(self.slots) - 1}"></div>\n\n'

    def _resolve(self, match: re.Match) -> str:
        name = match[1]
        if name not in self.numbers:
            raise AwmError(f"The story refers to {name!r}, which it does not show.")
        label = self.numbers[name].replace(" ", "&nbsp;")
        return f'<a href="#figure-{name}">{label}</a>'


def _inline(text: str) -> str:
    """A caption's Markdown; as one paragraph it needs no `<p>` of its own."""
    return re.sub(r"^<p>(.*)</p>\s*$", r"\1", markup.markdown(text), flags=re.S)


# ---------------------------------------------------------------- pages


def _executed_notebooks(profile: Profile) -> dict[str, Path]:
    folder = config.data_dir(profile) / "notebooks"
    finished = re.compile(r"\d\d_\w+")  # neither `.running` nor `.failed`
    return {
        path.stem: path for path in sorted(folder.glob("*.ipynb")) if finished.fullmatch(path.stem)
    }


def _index(profile: Profile, executed: dict[str, Path]) -> str:
    records = _records(profile)
    notebooks = {name: Record.load(profile, f"notebooks/{name}.json") for name in executed}
    source = (TEMPLATES / "story.md").read_text("utf-8")
    body, headings = Story(profile, executed).render(source, **records)
    return _page(
        profile,
        title="Attentive World Models",
        body=body,
        headings=headings,
        executed=executed,
        stages=_stages(records, notebooks),
        name="index",
    )


def _notebook_pages(profile: Profile, executed: dict[str, Path]) -> dict[str, str]:
    pages = {}
    for name, path in executed.items():
        notebook = notebook_page.read(path)
        folders = (path.parent, config.images_dir(), config.root() / "notebooks")
        rendered = notebook_page.render(notebook, folders)
        record = Record.load(profile, f"notebooks/{name}.json")
        pages[name] = _page(
            profile,
            title=rendered.title,
            body=rendered.html,
            headings=rendered.headings,
            executed=executed,
            stages=[("This notebook", record)],
            name=name,
        )
    return pages


def _page(profile, *, title, body, headings, executed, stages, name) -> str:
    run = provenance.record(profile)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=re.sub(r"<[^>]+>", "", title),
            body=body,
            headings=[heading for heading in headings if heading.level in (2, 3)],
            notebooks=[(stem, stem.replace("_", " ")) for stem in executed],
            name=name,
            profile=asdict(profile),
            stages=[_stage_row(stage, record) for stage, record in stages if record],
            commit=_commit(run),
            machine=run["machine"],
            cpu_count=run["cpu_count"],
            versions={key: run[key] for key in ("python", "gymnasium", "torch") if key in run},
            date=datetime.now().strftime("%-d %B %Y"),
            style=_style(),
            script=(TEMPLATES / "page.js").read_text("utf-8"),
        )
    )


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _style() -> str:
    """The style sheet and Pygments' colours, light and dark."""
    light = HtmlFormatter(style="xcode").get_style_defs(".highlight")
    dark = HtmlFormatter(style="github-dark")
    return "\n".join(
        [
            light,
            "@media (prefers-color-scheme: dark) {",
            dark.get_style_defs(':root:not([data-theme="light"]) .highlight'),
            "}",
            dark.get_style_defs(':root[data-theme="dark"] .highlight'),
            (TEMPLATES / "style.css").read_text("utf-8"),
        ]
    )
