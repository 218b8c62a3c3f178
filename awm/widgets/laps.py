"""Laps of several agents on one track, for a page on which they are looked at side by side.

The track is the first validation track: no number that the report claims comes from it. Of the
attentive agent's lap the page also gets the camera's film, what M expected next and where it
looked.
"""

import numpy as np
import torch

from awm import config, stages
from awm.errors import AwmError
from awm.evolution import search
from awm.figures.pictures import bells
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
    return [a for a in dict.fromkeys(wanted) if ws.find(stages.agent(profile, a).name)]


def watched(ws: Workspace) -> Agent | None:
    """The agent whose lap is looked at closely: an attentive one that there is, refined or not."""
    claimed = [agent for agent in ws.profile.headline if agent.memory.kind in ATTENTIONS]
    wanted = [*claimed, *map(ws.profile.agent, reversed(ATTENTIONS))]
    return next((a for a in wanted if ws.find(stages.agent(ws.profile, a).name)), None)


def race(ws: Workspace) -> tuple[dict, dict]:
    """The agents' laps, as facts ready for JSON and named arrays for `awm.widgets.world.pack`.

    `road` `[tiles, 2]` is the track's middle line. Of lap n every second step: `lapN.path`
    `[T, 2]`, `lapN.codes` `[T, z]` and the return so far, `lapN.earned` `[T]`. Metres.
    AwmError if there is no agent.
    """
    v, arrays, laps = vae.load(ws), {}, []
    for number, agent in enumerate(agents(ws)):
        lap = _lap(ws, agent)
        codes, _, _ = v.encode_frames(lap.frames[::EVERY])
        parts = {"path": lap.path[::EVERY], "codes": codes, "earned": lap.rewards.cumsum()[::EVERY]}
        arrays |= {"road": lap.road, **{f"lap{number}.{name}": a for name, a in parts.items()}}
        dreamt = agent.searches[0].found == "dream"
        color = VIOLET if dreamt else model_color(agent)
        laps.append({"label": agent.label, "color": color, "steps": len(lap.rewards)})
    if not laps:
        raise AwmError("There is no agent to race. Evolve one: `awm evolve`.")
    return {"seed": SEED, "every": EVERY, "laps": laps}, arrays


def close_look(ws: Workspace) -> tuple[dict, dict]:
    """The lap of the agent that is `watched`, as `race` gives it, with its `film`.

    `codes` `[T, z]` is what V keeps of each frame, `expected` `[T, z]` the mean of M's prediction
    of it one step before, `weights` `[T, items]` where M looked, and `earned` `[T]` the return so
    far; where M looks at V's map, `bells` `[side, 64]` is what its rows and columns see of a frame.
    AwmError if there is no such agent.
    """
    agent = watched(ws)
    if agent is None:
        raise AwmError("There is no attentive agent to look at. Evolve one: `awm evolve`.")
    lap, v, m = _lap(ws, agent), vae.load(ws), mdn_rnn.load(ws, agent.memory)
    codes, _, maps = v.encode_frames(lap.frames)
    facts = {"seed": SEED, "every": EVERY, "label": agent.label, "looks_at": m.looks_at}
    steps = {
        "codes": codes,
        "expected": _expected(m, codes, lap, maps),
        "weights": lap.attention,
        "earned": lap.rewards.cumsum(),
    }
    arrays = {name: each[::EVERY] for name, each in steps.items()}
    if m.needs_map:
        arrays["bells"] = bells(round(lap.attention.shape[1] ** 0.5), 64)
    return facts | {"film": film(lap.frames[::EVERY])}, arrays


def _lap(ws: Workspace, agent: Agent) -> Recording:
    world, layer = track_world(ws, agent.memory, lanes=1), search.load(ws, agent).weights
    return record(world, layer, SEED, MAX_EPISODE_STEPS)


@torch.inference_mode()
def _expected(m: MDNRNN, codes: np.ndarray, lap: Recording, maps: np.ndarray) -> np.ndarray:
    """The mean of what M predicted for each code; of the first, which nothing leads to, itself."""
    z, actions, seen = (torch.from_numpy(x)[None] for x in (codes, lap.actions, maps))
    hidden, _ = m(z, actions, seen if m.needs_map else None)
    expected = m.predict(hidden[0]).mean()
    return torch.cat([z[0, :1], expected[:-1]]).numpy()
