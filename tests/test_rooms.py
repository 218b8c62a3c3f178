"""The package is a house: rooms import what lies below them, and nothing else."""

import ast
from pathlib import Path

import pytest

import awm

PACKAGE = Path(awm.__file__).parent
#: From the bottom up. Models know neither files nor worlds, the simulator knows no models.
ROOMS = (
    "errors", "processes", "ids", "config", "racing", "models", "store", "stages", "data",
    "training", "worlds", "evolution", "study", "figures", "widgets", "report", "cli",
)  # fmt: skip
KNOW_NOTHING_OF = {"racing": {"ids", "config"}, "models": {"config", "racing"}}


def imported(path: Path) -> set[str]:
    """The rooms that a module imports, also within functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("awm.")}
    return found & set(ROOMS)


def test_every_module_has_its_room():
    # Not what an older checkout has left: folders that hold caches alone.
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py"}
    rooms |= {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert {room for room in rooms if not room.startswith("_")} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_rooms_below(room):
    place = PACKAGE / room
    for path in place.rglob("*.py") if place.is_dir() else [PACKAGE / f"{room}.py"]:
        above = set(ROOMS[ROOMS.index(room) + 1 :]) | KNOW_NOTHING_OF.get(room, set())
        assert not imported(path) & above, path
