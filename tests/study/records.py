"""Records as stages would leave them, made by hand."""

from collections.abc import Sequence

import numpy as np

from awm import config, stages, store
from awm.evolution.search import _line
from awm.ids import Agent
from awm.store import Workspace

#: Ten episodes of a hundred steps, each with one frame more.
ROLLOUTS = {"frames": 1010, "seeds": list(range(10)), "wall_time_s": 1800, "cpu_count": 2}


def evaluation(
    ws: Workspace, name: str, returns: Sequence[float], frames: str = "fast", seeds=None
) -> dict:
    """An evaluation of an agent that was driven with these returns."""
    agent = Agent.parse(name)
    stage = stages.evaluation(ws.profile, agent, frames, len(returns), 0)
    found = ws.describe(
        stage,
        wall_time_s=1.0,
        agent=name,
        frames=frames,
        episodes=len(returns),
        mean=float(np.mean(returns)),
        std=float(np.std(returns)),
        median=float(np.median(returns)),
        ci95=[0.0, 1.0] if len(returns) > 1 else None,
        finished=0.5,
        over_900=0.25,
        returns=list(map(float, returns)),
        lengths=[1000] * len(returns),
        tiles=[0.5] * len(returns),
        seeds=[config.TEST_SEEDS + n for n in seeds or range(len(returns))],
    )
    write(ws, f"evaluations/{name}.{frames}.json", found)
    return found


def write(ws: Workspace, name: str, value) -> None:
    """A record, or the log of a search, in a profile's folder."""
    path = ws.own / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".jsonl"):
        begun = ws.describe(stages.log(ws.profile, Agent.parse(path.stem)))
        first = value[0] | {"record": begun | value[0].get("record", {})}
        path.write_text("".join(map(_line, [first, *value[1:]])))
    else:
        store.write_json(path, value)


def log(steps: int, seconds: float) -> list[dict]:
    """Two generations of a search, on two cores."""
    first = {"generation": 0, "steps": steps // 2, "seconds": seconds / 2, "validation": None}
    second = {"generation": 1, "steps": steps, "seconds": seconds, "validation": None}
    return [first | {"record": {"cpu_count": 2}}, second]
