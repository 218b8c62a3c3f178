"""Iterative training (Ha & Schmidhuber 2018, "Iterative Training Procedure").

A controller that is evolved in a dream finds where M is wrong, and lives there. So it is sent to
the real track, where its mistakes are recorded; M learns from them; and another controller is
evolved, from zero, in the better dream. Round 0 is the M of the drivers' rollouts; the rollouts of
a round join those of the rounds before, its M goes on from theirs, and V stays as it was.

A chain is the rounds of one training of M. A profile has one for each kind of M, or several, which
share nothing but V and the drivers' rollouts.
"""

from dataclasses import replace

import numpy as np

from awm import stages
from awm.data import arrays
from awm.data.rollouts import Rollouts, held_out_frames, open_rollouts
from awm.data.rollouts import record as record_rollouts
from awm.evolution.search import best_validated, evolve, load, log_of
from awm.ids import PLAIN, Agent, Memory
from awm.processes import Workers
from awm.store import Stage, Workspace
from awm.training import mdn_rnn, vae
from awm.worlds.track import AgentDriver


def chains(ws: Workspace, workers: Workers = None) -> list[list[dict]]:
    """Go through all `rounds` of each of a profile's chains, as `Profile.chains` orders them."""
    return [rounds(ws, memory, workers) for memory in ws.profile.chains]


def rounds(ws: Workspace, memory: Memory = PLAIN, workers: Workers = None) -> list[dict]:
    """Go through all rounds of a chain; returns at once if it has been done, else goes on.

    An entry of the result is a round: `round`, the `agent` that dreamt best, `real_steps` recorded
    so far, the average reward a step of what was recorded in it (`recorded`), V's summed squared
    error on those frames (`vae_error`), M's `reward_r2` on test episodes, and the agent's `dreamt`
    and `real` return on validation tracks. Within a round no real return chooses anything. Recorded
    in `study/rounds-MEMORY.json`.

    Args:
        memory: the M that dreams, of round 0.
        workers: as for `awm.processes.opened`.

    Raises:
        AwmError: before anything is done, if there are not as many tracks to record.
    """
    each, stage = _rounds(ws, memory), _stage(ws, memory)
    ws.profile.tracks_of(each[-1])
    if found := ws.fitting(stage):
        return found["rounds"]
    for m in each:
        if m.round:
            record(ws, m, workers)
            mdn_rnn.train(ws, m)
        for agent in ws.profile.dreamers(m):
            evolve(ws, agent, workers)
    return ws.record(stage, lambda: {"rounds": [_round(ws, m) for m in each]})["rounds"]


def recorded(ws: Workspace, memory: Memory) -> list[dict]:
    """The `rounds` of a chain, if it has been gone through; else none."""
    found = ws.fitting(_stage(ws, memory))
    return found["rounds"] if found else []


def waking(ws: Workspace, number: int) -> list[Agent]:
    """The agents that go on on the track from where the dreams of a round have left them.

    Of several chains the agent that each has chosen, as far as they have been gone through; of one
    chain those of all seeds.
    """
    agents = ws.profile.dreams(number)
    if ws.profile.dream.chains:
        found = [recorded(ws, memory) for memory in ws.profile.chains]
        agents = [Agent.parse(each[number]["agent"]) for each in found if each]
    return [agent.on_track() for agent in agents]


def _rounds(ws: Workspace, memory: Memory) -> list[Memory]:
    return [replace(memory, round=n) for n in range(ws.profile.dream.rounds + 1)]


def _stage(ws: Workspace, memory: Memory) -> Stage:
    each = _rounds(ws, memory)
    agents = [agent for m in each for agent in ws.profile.dreamers(m)]
    alone = len(agents) == len(each)
    inputs = {
        str(agent.memory if alone else agent): stages.agent(ws.profile, agent) for agent in agents
    }
    return stages.finding(ws.profile, f"rounds-{memory}", {}, **inputs)


def _round(ws: Workspace, memory: Memory) -> dict:
    found = {agent: log_of(ws, agent) for agent in ws.profile.dreamers(memory)}
    # By what it dreamt on held-out beginnings: no real return chooses.
    agent = max(found, key=lambda each: best_validated(found[each])["validation"])
    chosen = best_validated(found[agent])
    newest = Rollouts([arrays.address(ws, stages.recorded(ws.profile, memory)[-1].name)])
    error = vae.validate(vae.load(ws), held_out_frames(newest, "test"), ws.profile.vae.free_nats)[
        "reconstruction"
    ]
    return {
        "round": memory.round,
        "agent": str(agent),
        "real_steps": int(open_rollouts(ws, memory).lengths.sum()),
        "recorded": float(np.concatenate(newest.column("rewards")).mean()),
        "vae_error": error,
        "reward_r2": mdn_rnn.load(ws, memory).manifest["test"]["reward_r2"],
        "dreamt": chosen["validation"],
        "real": chosen["real"],
        "seconds": sum(log[-1]["seconds"] for log in found.values()),
    }


def record(ws: Workspace, memory: Memory, workers: Workers = None) -> None:
    """Record what a memory of a later round learns from: the agents of the round before drive.

    Every episode has a copy of its own, as far from its agent as candidates of the evolution are,
    so that M also sees what the neighbours would do.
    """
    stage, count = stages.rollouts(ws.profile, memory), ws.profile.dream.round_rollouts
    agents = stages.recorders(ws.profile, memory)
    controllers = [load(ws, agent) for agent in agents]
    chain = [memory.seed] if memory.seed else []
    rng = np.random.default_rng((ws.profile.seed, memory.round, *chain))
    noise = rng.standard_normal((count, len(controllers[0].parameters)))
    v, m = vae.load(ws), mdn_rnn.load(ws, agents[0].memory)
    drivers = []
    for n, apart in enumerate(ws.profile.dream.search.sigma * noise):
        controller = controllers[n % len(controllers)]
        drivers.append(AgentDriver(v, m, controller.inputs.fold(controller.parameters + apart)))
    tracks = ws.profile.tracks_of(memory)
    record_rollouts(ws, stage, ["agent"] * count, drivers, tracks, workers=workers)
