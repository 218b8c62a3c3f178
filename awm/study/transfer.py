"""Does what a controller earns in a dream tell what it earns on the road?

On the road C and M see the mean of V's posterior, in which the latents that carry no information
hardly move. In a dream they see M's samples of them, whose deviation is that of the prior, and C,
whose inputs are divided by a small deviation there, steers by that noise. `transfer` lets the same
controllers dream with these latents as M samples them (`free`), and held at their mean (`held`,
`awm.config.Search.idle_at_mean`).
"""

import math
from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from awm import config, stages
from awm.evolution import search
from awm.ids import PLAIN, Agent, Memory
from awm.models.controller import Controller, act
from awm.store import Workspace
from awm.study.evaluation import evaluate
from awm.training import mdn_rnn
from awm.training.sequences import SequenceData
from awm.worlds import dream
from awm.worlds.crew import Crew
from awm.worlds.dream import DreamSource, DreamWorld
from awm.worlds.lanes import Job, drive, one_thread

_WAYS = {"free": False, "held": True}
#: Fewer controllers have no rank correlation worth the name.
_FEWEST = 4


def transfer(ws: Workspace, memory: Memory = PLAIN, workers: int | Crew | None = None) -> dict:
    """Dreamt and real returns of every agent that drives with M, in `study/transfer.json`.

    Dreams are those of M as the drivers' rollouts taught it (`first`) and as the last round of
    iterative training left it (`last`, if there were rounds), at the temperature of the profile's
    dream, and begin at the drivers' first frames.

    Returns:
        A record with `dreams`, their number for each controller; `idle`, the number of latents
        that carry no information; `deviation`, theirs on average, of the posterior's mean on the
        `road` and of M's samples in the `dream`; `agents`, for each its `real` return on test
        tracks and, of `first` and `last`, the dreamt return `free` and `held`; `refined`, the entry
        of the refined one or None; and `rank`, Spearman's correlation of dreamt with real returns
        over `all` controllers and over those that were evolved in a dream `alone`, by dream and
        way, None where there are fewer than four.
    """
    memories = {"first": memory}
    if ws.profile.dream.rounds:
        memories["last"] = replace(memory, round=ws.profile.dream.rounds)
    agents = _agents(ws, memory)
    settings = {
        "dreams": ws.profile.test.dreams,
        "temperature": ws.profile.dream.search.temperature,
    }
    inputs = {name: stages.mdn_rnn(ws.profile, each) for name, each in memories.items()}
    inputs |= {str(agent): stages.agent(ws.profile, agent) for agent in agents}
    stage = stages.finding(ws.profile, "transfer", settings, **inputs)
    return ws.record(stage, lambda: _measure(ws, memories, agents, workers))


def _agents(ws: Workspace, memory: Memory) -> list[Agent]:
    """All that were evolved on that one M or in its dreams: those of which weights are kept."""
    p, seeds = ws.profile, range(ws.profile.dream.seeds)
    agents = [agent for agent in p.agents if agent.memory == memory]
    agents += [a.refined() for a in agents if a.seed == 0 and memory.kind in p.evolution.refined]
    rounds = sorted({0, p.dream.rounds, *p.dream.on_track})
    agents += [Agent(replace(memory, round=n), "dream", seed) for n in rounds for seed in seeds]
    return agents + [
        Agent(replace(memory, round=n), "dream", seed).on_track()
        for n in p.dream.on_track
        for seed in seeds
    ]


def _measure(ws: Workspace, memories: dict[str, Memory], agents: list[Agent], workers) -> dict:
    source = dream.load(ws, memories["first"])
    controllers = [search.load(ws, agent) for agent in agents]
    sources = {name: replace(source, m=mdn_rnn.load(ws, m)) for name, m in memories.items()}
    temperature = ws.profile.dream.search.temperature
    found = [
        {
            "agent": str(agent),
            "real": evaluate(ws, agent, workers=workers)["mean"],
            **{name: {} for name in sources},
        }
        for agent in agents
    ]
    for name, each in sources.items():
        for way, idle_at_mean in _WAYS.items():
            world = DreamWorld(each, dream.LANES, temperature, idle_at_mean)
            returns = _dreamt(world, controllers, ws.profile.test.dreams)
            for entry, value in zip(found, returns, strict=True):
                entry[name][way] = value
    dreamers = [e for a, e in zip(agents, found, strict=True) if a.found == "dream"]
    refined = [e for a, e in zip(agents, found, strict=True) if a.found == "refined"]
    return {
        "dreams": ws.profile.test.dreams,
        **_idle_latents(mdn_rnn.sequences(ws), source, controllers[0], temperature),
        "agents": found,
        "refined": refined[0] if refined else None,
        "rank": {"all": _ranks(found, sources), "alone": _ranks(dreamers, sources)},
    }


def _dreamt(world: DreamWorld, controllers: list[Controller], count: int) -> list[float]:
    """The mean return of every agent over the same dreams."""
    seeds = config.track_seeds(config.TEST_SEEDS, count)
    jobs = [Job(n, seed) for n in range(len(controllers)) for seed in seeds]
    layers = np.stack([controller.weights for controller in controllers])
    returns = {(o.candidate, o.seed): o.episode_return for o in drive(world, layers, jobs)}
    return [float(np.mean([returns[n, seed] for seed in seeds])) for n in range(len(controllers))]


def _ranks(found: list[dict], sources) -> dict | None:
    if len(found) < _FEWEST:
        return None
    real = [entry["real"] for entry in found]
    return {
        name: {
            way: _known(stats.spearmanr(real, [e[name][way] for e in found]).statistic)
            for way in _WAYS
        }
        for name in sources
    }


def _known(value: float) -> float | None:
    """None for what returns that all tie cannot have: a rank correlation."""
    return None if math.isnan(value) else float(value)


@torch.inference_mode()
def _idle_latents(
    data: SequenceData, source: DreamSource, controller: Controller, temperature: float
) -> dict:
    """How many there are, and how far they move on the road and in a dream."""
    idle = np.setdiff1d(np.arange(source.v.z_size), source.v.informative)
    mu, lengths = data.latents.mu, data.rollouts.lengths
    road = np.concatenate([mu[i, : lengths[i] + 1] for i in data.rollouts.indices("train")])
    world, codes = DreamWorld(source, dream.LANES, temperature), []
    for lane in range(world.lanes):
        world.begin(lane, config.TEST_SEEDS + lane)
    layer = torch.from_numpy(controller.weights).expand(world.lanes, -1, -1)
    with one_thread():
        for _ in range(50):
            world.step(act(layer, world.observe()))
            codes.append(world.z.numpy())
    deviations = {"road": road, "dream": np.concatenate(codes)}
    return {
        "idle": len(idle),
        "deviation": {
            where: float(z[:, idle].std(axis=0).mean()) if len(idle) else None
            for where, z in deviations.items()
        },
    }
