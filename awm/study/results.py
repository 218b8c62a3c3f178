"""The table of results: every evaluation beside what it cost, kept as `report/results.json`."""

from awm.ids import ATTENTIONS, Agent
from awm.store import Workspace
from awm.study.cost import cost
from awm.study.evaluation import evaluations

_KEPT = ("frames", "episodes", "mean", "std", "median", "ci95", "finished", "over_900", "seeds")


def entries(ws: Workspace) -> list[dict]:
    """One entry an evaluation: what was driven, how it went, what it cost, where it is recorded."""
    table = []
    for name, found in evaluations(ws).items():
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
                **{key: found[key] for key in _KEPT},
                "worst": sorted(found["returns"])[:5],
                **cost(ws, agent),
                "commit": found["commit"],
                "date": found["date"],
                "record": str(ws.find(name).relative_to(ws.root)),
            }
        )
    return table
