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
from awm.ids import Agent, Memory
from awm.models.controller import Controller, act
from awm.processes import Workers
from awm.store import Workspace
from awm.study.evaluation import evaluate
from awm.study.rounds import waking
from awm.training import mdn_rnn
from awm.training.sequences import SequenceData
from awm.worlds import dream
from awm.worlds.crew import dream_of
from awm.worlds.dream import DreamSource, DreamWorld
from awm.worlds.lanes import Job, drive, one_thread

_WAYS = {"free": False, "held": True}
#: Fewer controllers have no rank correlation worth the name.
_FEWEST = 4


def transfer(ws: Workspace, kind: str = "plain", workers: Workers = None) -> dict:
    """Dreamt and real returns of every agent that drives with M, in `study/transfer.json`.

    Dreams are those of M as the drivers' rollouts taught it (`first`) and as the last round of
    iterative training left it (`last`, if there were rounds), at the temperature of the profile's
    dream. They begin at the drivers' first frames; or, where the profile's searches dream so, at
    recorded moments, here those of test episodes, and then they last as long as M was trained for
    and pay the field's edge. Of several chains each agent dreams with the M of its own.

    Returns:
        A record with `dreams`, their number for each controller; `idle`, the number of latents
        that carry no information; `deviation`, theirs on average, of the posterior's mean on the
        `road` and of M's samples in the `dream`; `agents`, for each its `real` return on test
        tracks, its `pace` there, which is what it earns in as many steps as a dream lasts, and, of
        `first` and `last`, the dreamt return `free` and `held`; `refined`, the entry of the refined
        one or None; and `rank`, Spearman's correlation of dreamt with real returns over `all`
        controllers and over those that were evolved in a dream `alone`, by dream and way, None
        where there are fewer than four. Of several chains `chains` has the ranks over all
        controllers of each.
    """
    chains = {m: _memories(ws, m) for m in ws.profile.chains if m.kind == kind}
    agents = {m: _agents(ws, m) for m in chains}
    settings = {
        "dreams": ws.profile.test.dreams,
        "temperature": ws.profile.dream.search.temperature,
    }
    if ws.profile.dream.search.moments:
        settings["moments"] = "test"
    inputs = {
        f"{name}-{chain.seed}" if chain.seed else name: stages.mdn_rnn(ws.profile, m)
        for chain, memories in chains.items()
        for name, m in memories.items()
    }
    inputs |= {str(a): stages.agent(ws.profile, a) for each in agents.values() for a in each}
    stage = stages.finding(ws.profile, "transfer", settings, **inputs)
    return ws.record(stage, lambda: _measure(ws, chains, agents, workers))


def _memories(ws: Workspace, chain: Memory) -> dict[str, Memory]:
    """The Ms in whose dreams the agents of a chain are measured."""
    rounds = ws.profile.dream.rounds
    return {"first": chain} | ({"last": replace(chain, round=rounds)} if rounds else {})


def _agents(ws: Workspace, chain: Memory) -> list[Agent]:
    """All that were evolved on that one M or in its dreams: those of which weights are kept."""
    p = ws.profile
    agents = [agent for agent in p.agents if agent.memory == chain]
    agents += [a.refined() for a in agents if a.seed == 0 and chain.kind in p.evolution.refined]
    dreamt = [a for n in sorted({0, p.dream.rounds, *p.dream.on_track}) for a in p.dreams(n)]
    dreamt += [a for n in p.dream.on_track for a in waking(ws, n)]
    return agents + [a for a in dreamt if replace(a.memory, round=0) == chain]


def _measure(
    ws: Workspace,
    chains: dict[Memory, dict[str, Memory]],
    agents: dict[Memory, list[Agent]],
    workers: Workers,
) -> dict:
    found = {m: _returns(ws, memories, agents[m], workers) for m, memories in chains.items()}
    every = [(a, entry) for m in chains for a, entry in zip(agents[m], found[m], strict=True)]
    entries = [entry for _, entry in every]
    dreamers = [entry for a, entry in every if a.found == "dream"]
    refined = [entry for a, entry in every if a.found == "refined"]
    first, how = next(iter(chains)), ws.profile.dream.search
    source = dream.load(ws, first, how.moments, "test" if how.moments else "train")
    controller = search.load(ws, agents[first][0])
    several = {"chains": {str(m): _ranks(found[m]) for m in chains}} if len(chains) > 1 else {}
    return {
        "dreams": ws.profile.test.dreams,
        **_idle_latents(mdn_rnn.sequences(ws, first), source, controller, how.temperature),
        "agents": entries,
        "refined": refined[0] if refined else None,
        "rank": {"all": _ranks(entries), "alone": _ranks(dreamers)},
        **several,
    }


def _returns(
    ws: Workspace, memories: dict[str, Memory], agents: list[Agent], workers: Workers
) -> list[dict]:
    """What each agent of a chain earns on the road and in dreams, an entry each."""
    controllers, found = [search.load(ws, agent) for agent in agents], []
    worlds = {way: _worlds(ws, memories, held) for way, held in _WAYS.items()}
    for agent in agents:
        laps = evaluate(ws, agent, workers=workers)
        steps = worlds["free"]["first"].steps
        pace = steps * sum(laps["returns"]) / sum(laps["lengths"])
        entry = {"agent": str(agent), "real": laps["mean"], "pace": pace}
        found.append(entry | {name: {} for name in memories})
    for way, by_name in worlds.items():
        for name, world in by_name.items():
            returns = _dreamt(world, controllers, ws.profile.test.dreams)
            for entry, value in zip(found, returns, strict=True):
                entry[name][way] = value
    return found


def _worlds(
    ws: Workspace, memories: dict[str, Memory], idle_at_mean: bool
) -> dict[str, DreamWorld]:
    how = ws.profile.dream.search
    if how.moments:
        asked = {"idle_at_mean": idle_at_mean, "split": "test"}
        return {name: dream_of(ws, m, how, **asked).open() for name, m in memories.items()}
    source = dream.load(ws, memories["first"])
    return {
        name: DreamWorld(
            replace(source, m=mdn_rnn.load(ws, m)), dream.LANES, how.temperature, idle_at_mean
        )
        for name, m in memories.items()
    }


def _dreamt(world: DreamWorld, controllers: list[Controller], count: int) -> list[float]:
    """The mean return of every agent over the same dreams."""
    seeds = config.track_seeds(config.TEST_SEEDS, count)
    jobs = [Job(n, seed) for n in range(len(controllers)) for seed in seeds]
    layers = np.stack([controller.weights for controller in controllers])
    returns = {(o.candidate, o.seed): o.episode_return for o in drive(world, layers, jobs)}
    return [float(np.mean([returns[n, seed] for seed in seeds])) for n in range(len(controllers))]


def _ranks(found: list[dict]) -> dict | None:
    if len(found) < _FEWEST:
        return None
    real = [entry["real"] for entry in found]
    return {
        name: {
            way: _known(stats.spearmanr(real, [e[name][way] for e in found]).statistic)
            for way in _WAYS
        }
        for name in ("first", "last")
        if name in found[0]
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
