"""Iterative training (Ha & Schmidhuber 2018, "Iterative Training Procedure").

A controller that is evolved in a dream finds where M is wrong, and lives there. So it is sent to
the real track, where its mistakes are recorded; M learns from them; and another controller is
evolved, from zero, in the better dream. Round 0 is the M of the drivers' rollouts; the rollouts of
a round join those of the rounds before, its M goes on from theirs, and V stays as it was.
"""

from dataclasses import replace

import numpy as np

from awm import stages
from awm.data.rollouts import Rollouts, held_out_frames, open_rollouts
from awm.data.rollouts import record as record_rollouts
from awm.evolution.search import best_validated, evolve, load
from awm.ids import PLAIN, Agent, Memory
from awm.store import Workspace
from awm.training import mdn_rnn, vae
from awm.worlds.track import AgentDriver

#: A round's tracks are new ones.
_TRACKS_A_ROUND = 1_000_000


def rounds(ws: Workspace, memory: Memory = PLAIN, workers: int | None = None) -> list[dict]:
    """Go through all rounds of a profile; returns at once if it has been done, else goes on.

    An entry of the result is a round: `round`, `agent`, `real_steps` recorded so far, the average
    reward a step of what was recorded in it (`recorded`), V's summed squared error on those frames
    (`vae_error`), M's `reward_r2` on test episodes, and the `dreamt` and `real` return of the
    controller that the dream thought best, on validation tracks. Within a round no real return
    chooses anything. Recorded in `study/rounds-MEMORY.json`.

    Args:
        memory: the M that dreams, of round 0.
    """
    each = [replace(memory, round=n) for n in range(ws.profile.dream.rounds + 1)]
    inputs = {str(m): stages.agent(ws.profile, Agent(m, "dream", memory.seed)) for m in each}
    stage = stages.finding(ws.profile, f"rounds-{memory}", {}, **inputs)
    if found := ws.fitting(stage):
        return found["rounds"]
    for m in each:
        if m.round:
            record(ws, m, workers)
            mdn_rnn.train(ws, m)
        evolve(ws, Agent(m, "dream", memory.seed), workers)
    return ws.record(stage, lambda: {"rounds": [_round(ws, m) for m in each]})["rounds"]


def _round(ws: Workspace, memory: Memory) -> dict:
    agent = Agent(memory, "dream", memory.seed)
    evolution = evolve(ws, agent)
    chosen = best_validated(evolution.log)
    newest = Rollouts([ws.own / stages.recorded(ws.profile, memory)[-1].name])
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
        "seconds": evolution.log[-1]["seconds"],
    }


def record(ws: Workspace, memory: Memory, workers: int | None = None) -> None:
    """Record what a memory of a later round learns from: the agent of the round before drives.

    Every episode has a copy of its own, as far from it as candidates of the evolution are, so
    that M also sees what the neighbours would do.
    """
    stage, agent = stages.rollouts(ws.profile, memory), stages.recorder(memory)
    controller, count = load(ws, agent), ws.profile.dream.round_rollouts
    rng = np.random.default_rng((ws.profile.seed, memory.round))
    noise = rng.standard_normal((count, len(controller.parameters)))
    deviation = ws.profile.dream.search.sigma
    layers = controller.inputs.fold(controller.parameters + deviation * noise)
    v, m = vae.load(ws), mdn_rnn.load(ws, agent.memory)
    drivers = [AgentDriver(v, m, layer) for layer in layers]
    offset = memory.round * _TRACKS_A_ROUND
    record_rollouts(ws, stage, ["agent"] * count, drivers, offset, workers)
