"""Every setting of a profile, as tables: its value, and what `awm/config.py` says that it means."""

import ast
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache

from awm import config
from awm.config import Profile
from awm.report.records import Text


@dataclass(frozen=True)
class Table:
    """A row per setting: its name, a value for each of the `columns`, and its meaning."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Text, tuple[str, ...], Text]]


def tables(profile: Profile) -> list[Table]:
    """All settings of a profile, section by section, and the ranges that track seeds come from."""
    p = profile
    searches = (p.evolution.search, p.evolution.refinement, p.dream.search)
    return [
        _table("Data", p.data),
        _table("V", p.vae),
        _table("M", p.mdn_rnn),
        _table("The head that draws feature maps in dreams", p.feature_map),
        _table("Searches for C", *searches, columns=("First", "Refinement", "In dreams")),
        _table("Evolution", p.evolution),
        _table("Dreams", p.dream),
        _table("Test", p.test),
    ]


def seeds() -> list[tuple[str, str]]:
    """What track seeds are for, and the range they come from."""
    uses = {
        "data": config.DATA_SEEDS,
        "evolution": config.EVOLUTION_SEEDS,
        "validation": config.VALIDATION_SEEDS,
        "test": config.TEST_SEEDS,
    }
    return [(use, f"{first:,} to {first + config.SEED_RANGE - 1:,}") for use, first in uses.items()]


def _table(title: str, *sections, columns: Sequence[str] = ("Value",)) -> Table:
    rows = [
        (Text(f"`{n}`"), tuple(_shown(getattr(each, n)) for each in sections), Text(said))
        for n, said in meanings(type(sections[0])).items()
        if not is_dataclass(getattr(sections[0], n))
    ]
    return Table(title, tuple(columns), rows)


@cache
def meanings(section: type) -> dict[str, str]:
    """What the `#:` comments of a class's fields say, above them or behind them, by name."""
    source = inspect.getsource(section)
    lines, found = source.splitlines(), {}
    for node in ast.parse(source).body[0].body:
        if not isinstance(node, ast.AnnAssign):
            continue
        above = node.lineno - 1
        while lines[above - 1].lstrip().startswith("#:"):
            above -= 1
        said = [line.partition("#:")[2].strip() for line in lines[above : node.lineno]]
        text = " ".join(part for part in said if part).rstrip(".")
        found[node.target.id] = text[:1].upper() + text[1:]
    return found


def _shown(value) -> str:
    match value:
        case None | ():
            return "–"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:,}"
        case tuple():
            return ", ".join(
                " ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value
            )
    return str(value)
