"""The tables of results: evaluations beside what they cost, and every lap of them."""

import pandas as pd

from awm.ids import ATTENTIONS, Agent
from awm.store import Workspace
from awm.study.cost import cost
from awm.study.evaluation import evaluations

_KEPT = ("frames", "episodes", "mean", "std", "median", "ci95", "finished", "over_900", "seeds")


def _every(ws: Workspace) -> dict[str, dict]:
    return evaluations(ws) | evaluations(ws, altered=True)


def entries(ws: Workspace) -> list[dict]:
    """One entry an evaluation: what was driven, how it went, what it cost, where it is recorded.

    `alteration` says how the world looked otherwise, or is None. Kept as `report/results.json`.
    """
    table = []
    for name, found in _every(ws).items():
        agent = Agent.parse(found["agent"])
        kind = agent.memory.kind
        table.append(
            {
                "name": str(agent),
                "label": agent.label,
                "model": kind,
                "attention": kind if kind in ATTENTIONS else "none",
                "mdn_rnn_seed": agent.memory.seed,
                "evolution_seed": agent.seed,
                "alteration": found.get("alteration"),
                **{key: found[key] for key in _KEPT},
                "worst": sorted(found["returns"])[:5],
                **cost(ws, agent),
                "commit": found["commit"],
                "date": found["date"],
                "record": str(ws.find(name).relative_to(ws.root)),
            }
        )
    return table


def laps(ws: Workspace) -> pd.DataFrame:
    """Every lap of every evaluation, a row each, kept as `report/laps.csv`.

    `agent`; `run`, the seed of its search, and `mdn_rnn_seed`, that of its M's training; `frames`
    and the track's `seed`; `return`, `steps`, the share of `tiles` visited; `alteration`, how the
    world looked otherwise, if it did; and whether the lap was `finished`, with every tile.
    """
    parts = []
    for found in _every(ws).values():
        agent = Agent.parse(found["agent"])
        part = pd.DataFrame(
            {
                "agent": str(agent.family),
                "run": agent.seed,
                "mdn_rnn_seed": agent.memory.seed,
                "frames": found["frames"],
                "seed": found["seeds"],
                "return": found["returns"],
                "steps": found["lengths"],
                "tiles": found["tiles"],
                "alteration": found.get("alteration", ""),
            }
        )
        parts.append(part.assign(finished=part["tiles"] == 1))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
