"""Laps of several agents on one track, for a page on which they are looked at side by side.

The track is the first validation track: no number that the report claims comes from it. Of the
attentive agent's lap the page also gets the camera's film, what M expected next and where it
looked.
"""

import numpy as np
import torch
from torch import Tensor

from awm import config, stages
from awm.evolution import search
from awm.figures.theme import VIOLET, model_color
from awm.ids import ATTENTIONS, Agent, Memory
from awm.models.mdn_rnn import MDNRNN
from awm.racing import MAX_EPISODE_STEPS
from awm.store import Workspace
from awm.training import mdn_rnn, vae
from awm.widgets.world import film
from awm.worlds.crew import track_world
from awm.worlds.lanes import Recording, record

SEED = config.VALIDATION_SEEDS

#: A page shows every so many steps of a lap: 25 pictures a second.
EVERY = 2


def agents(ws: Workspace) -> list[Agent]:
    """Whose laps are shown: V alone, an untrained M, those that the report claims, a dream's."""
    profile = ws.profile
    dreamt = Agent(Memory(round=profile.dream.rounds), "dream")
    wanted = [profile.agent("V"), profile.agent("untrained"), *profile.headline, dreamt]
    there = (a for a in dict.fromkeys(wanted) if ws.find(stages.agent(profile, a).name))
    return list(there)


def watched(ws: Workspace) -> Agent | None:
    """The agent whose lap is looked at closely: an attentive one that there is, refined or not."""
    claimed = [agent for agent in ws.profile.headline if agent.memory.kind in ATTENTIONS]
    wanted = [*claimed, *map(ws.profile.agent, reversed(ATTENTIONS))]
    return next((a for a in wanted if ws.find(stages.agent(ws.profile, a).name)), None)


def race(ws: Workspace, steps: int = MAX_EPISODE_STEPS) -> tuple[dict, dict[str, Tensor]]:
    """The agents' laps, as facts ready for JSON and named arrays for `awm.widgets.world.pack`.

    `road` `[tiles, 2]` is the track's middle line. Of lap n every second step: `lapN.path`
    `[T, 2]`, `lapN.codes` `[T, z]` and the return so far, `lapN.earned` `[T]`. Metres.
    """
    v, arrays, laps = vae.load(ws), {}, []
    for number, agent in enumerate(agents(ws)):
        lap = _lap(ws, agent, steps)
        codes = v.encode_frames(lap.frames[::EVERY])[0]
        parts = {"path": lap.path[::EVERY], "codes": codes, "earned": lap.rewards.cumsum()[::EVERY]}
        arrays |= {f"lap{number}.{name}": torch.from_numpy(a) for name, a in parts.items()}
        arrays["road"] = torch.from_numpy(lap.road)
        laps.append(
            {
                "agent": str(agent),
                "label": agent.label,
                "color": VIOLET if agent.searches[0].found == "dream" else model_color(agent),
                "steps": len(lap.rewards),
                "return": float(lap.rewards.sum()),
            }
        )
    return {"seed": SEED, "every": EVERY, "laps": laps}, arrays


def close_look(ws: Workspace, agent: Agent, steps: int = MAX_EPISODE_STEPS):
    """The lap of an attentive agent, as `race` gives it, with its `film`.

    `look.codes` `[T, z]` is what V keeps of each frame, `look.expected` `[T, z]` the mean of M's
    prediction of it one step before, `look.weights` `[T, items]` where M looked, and
    `look.earned` `[T]` the return so far.
    """
    lap, v, m = _lap(ws, agent, steps), vae.load(ws), mdn_rnn.load(ws, agent.memory)
    codes, _, maps = v.encode_frames(lap.frames)
    parts = {
        "codes": codes[::EVERY],
        "expected": _expected(m, codes, lap, maps)[::EVERY],
        "weights": lap.attention[::EVERY],
        "earned": lap.rewards.cumsum()[::EVERY],
    }
    facts = {
        "seed": SEED,
        "every": EVERY,
        "label": agent.label,
        "looks_at": m.looks_at,
        "film": film(lap.frames[::EVERY]),
    }
    return facts, {f"look.{n}": torch.from_numpy(np.asarray(a)) for n, a in parts.items()}


def _lap(ws: Workspace, agent: Agent, steps: int) -> Recording:
    return record(
        track_world(ws, agent.memory, lanes=1), search.load(ws, agent).weights, SEED, steps
    )


@torch.inference_mode()
def _expected(m: MDNRNN, codes: np.ndarray, lap: Recording, maps: np.ndarray) -> np.ndarray:
    """The mean of what M predicted for each code; of the first, which nothing leads to, itself."""
    z, actions, seen = (torch.from_numpy(x)[None] for x in (codes, lap.actions, maps))
    hidden, _ = m(z, actions, seen if m.needs_map else None)
    expected = m.predict(hidden[0]).mean()
    return torch.cat([z[0, :1], expected[:-1]]).numpy()
