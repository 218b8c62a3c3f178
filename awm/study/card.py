"""The card beside what is published of a profile: what each file is, how to drive, what to expect.

Every number in it comes from the records that lie beside it.
"""

from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined

from awm import config, stages
from awm.data.drivers import SIGHTED
from awm.ids import Agent
from awm.store import Workspace
from awm.study.evaluation import PERFECT, evaluations

#: A track of the test range that no profile's numbers come from.
_TRACK = config.TEST_SEEDS + config.SEED_RANGE - 1
#: A lap that earns less has gone wrong.
_POOR = 700


def card(ws: Workspace) -> str:
    """The card of a profile, Markdown, from `card.md`."""
    found = evaluations(ws) | evaluations(ws, altered=True)
    agents = [a for a in ws.profile.headline if ws.fitting(stages.agent(ws.profile, a))]
    drivers = (ws.told(stages.rollouts(ws.profile)) or {}).get("drivers", [])
    plain = Environment(undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    return plain.from_string((Path(__file__).parent / "card.md").read_text("utf-8")).render(
        profile=ws.profile.name,
        agent=agents[0] if agents else None,
        track=f"{_TRACK:_}",
        scores=[_score(e) for e in found.values() if Agent.parse(e["agent"]) in agents],
        perfect=PERFECT,
        poor=_POOR,
        drivers=drivers,
        seeing=sum(name in SIGHTED for name in drivers),
        gymnasium=(ws.told(stages.vae(ws.profile)) or {}).get("gymnasium", "here"),
    )


def _score(found: dict) -> dict:
    """An evaluation, with what the card says beside."""
    low, high = found["ci95"] or [found["mean"]] * 2
    return found | {
        "label": Agent.parse(found["agent"]).label,
        "world": f"{found['frames']}, {found['alteration']}"
        if "alteration" in found
        else found["frames"],
        "low": low,
        "high": high,
        "poor": np.mean(np.array(found["returns"]) < _POOR),
    }
