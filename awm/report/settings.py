"""Every setting of a profile, as tables: its value, and what `awm/config.py` says that it means."""

import ast
import inspect
from dataclasses import is_dataclass
from functools import cache

from awm import config
from awm.config import Profile
from awm.report.records import Text

#: What track seeds are for.
_USES = ("data", "evolution", "validation", "test")


def tables(profile: Profile) -> list[dict]:
    """All settings of a profile, a table a section: its `title`, the heads of its `columns`, and
    its `rows`: a setting's name, its value in each column, and its meaning.
    """
    p, one = profile, ("Value",)
    searches = (p.evolution.search, p.evolution.refinement, p.dream.search)
    sections = (
        ("Data", one, p.data),
        ("V", one, p.vae),
        ("M", one, p.mdn_rnn),
        ("The head that draws feature maps in dreams", one, p.feature_map),
        ("Searches for C", ("First", "Refinement", "In dreams"), *searches),
        ("Evolution", one, p.evolution),
        ("Dreams", one, p.dream),
        ("Test", one, p.test),
    )
    return [
        {"title": title, "columns": columns, "rows": _rows(own)}
        for title, columns, *own in sections
    ]


def _rows(sections: list) -> list[tuple[Text, list[str], Text]]:
    return [
        (Text(f"`{name}`"), [_shown(getattr(each, name)) for each in sections], Text(said))
        for name, said in meanings(type(sections[0])).items()
        if not is_dataclass(getattr(sections[0], name))
    ]


def seeds() -> list[tuple[str, str]]:
    """What track seeds are for, and the range they come from."""
    firsts = {use: getattr(config, f"{use.upper()}_SEEDS") for use in _USES}
    return [(use, f"{n:,} to {n + config.SEED_RANGE - 1:,}") for use, n in firsts.items()]


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
        case (tuple(), *_):
            return ", ".join(" ".join(map(str, each)) for each in value)
        case tuple():
            return ", ".join(map(str, value))
    return str(value)
