"""Closed-loop steps a second: simulator, V, M and C; then plain M over lanes and workers, and where
the time of a step goes.

Frames go through V, M and C and back to the simulator, at the paper's sizes. V's encoder is that of
the second edition, but for the row that names the paper's. The last row is what most
re-implementations do: Gymnasium's environment, a resize, the paper's encoder, and batches of one.
Episodes here are short, so that resets and the last, unfilled batches count.

    python benchmarks/closed_loop.py
"""

import os
import tempfile
import time
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import torch
from timing import keep, rates, table

from awm import stages
from awm.ids import ATTENTIONS, PLAIN, Memory
from awm.models.controller import act
from awm.models.vae import VAE, to_input
from awm.racing import fleet
from awm.racing.reference import ReferenceCarRacing
from awm.store import Workspace
from awm.training import mdn_rnn, vae
from awm.worlds import lanes as driving
from awm.worlds.crew import Crew, Track, crew
from awm.worlds.lanes import Job
from awm.worlds.track import Perception

MEMORIES = (PLAIN, *map(Memory, ATTENTIONS))
NAIVE_STEPS = 60
LANES = (8, 16, 32, 64)
CANDIDATES = 64


def prepare(ws: Workspace) -> np.ndarray:
    """Untrained V and Ms in a workspace, and layers that keep on driving."""
    torch.manual_seed(0)
    ws.save(stages.vae(ws.profile), vae.build(ws.profile).state_dict())
    for memory in MEMORIES:
        ws.save(stages.mdn_rnn(ws.profile, memory), mdn_rnn.build(ws.profile, memory).state_dict())
    rng = np.random.default_rng(0)
    layers = rng.normal(size=(CANDIDATES, 3, 289)).astype(np.float32) * 0.02
    layers[:, 1, -1] = -2  # a little gas
    layers[:, 2, -1] = -1  # no brake
    return layers


def ours(hands: Crew, ws: Workspace, layers: np.ndarray, memory=PLAIN, workers: int | None = None):
    jobs = [Job(i, seed, patience=60) for i in range(len(layers)) for seed in (1, 2)]

    def run() -> int:
        outcomes = hands.drive(Track.of(ws, memory), layers, jobs, tasks=workers or hands.size)
        return sum(o.length for o in outcomes)

    return run


def timed(owner, name: str, spent: dict[str, float], label: str):
    """While it lasts, calls of a function add their time to `spent[label]`."""
    original = getattr(owner, name)

    def call(*arguments, **options):
        started = time.perf_counter()
        result = original(*arguments, **options)
        spent[label] = spent.get(label, 0.0) + time.perf_counter() - started
        return result

    return patch.object(owner, name, call)


def where_time_goes(ws: Workspace, layers: np.ndarray, memory: Memory) -> dict[str, float]:
    """Microseconds of one core that a step costs, by part."""
    jobs = [Job(i, 1, patience=60) for i in range(len(layers))]
    spent: dict[str, float] = {}
    world = Track.of(ws, memory).open()
    with (
        timed(VAE, "encode", spent, "V: encode"),
        timed(Perception, "advance", spent, "M: step"),
        timed(driving, "act", spent, "C: act"),
        timed(fleet, "_step", spent, "simulator"),
    ):
        started = time.perf_counter()
        steps = sum(o.length for o in driving.drive(world, layers, jobs))
        total = time.perf_counter() - started
    spent["Python between them"] = total - sum(spent.values())
    return {label: 1e6 * seconds / steps for label, seconds in spent.items()}


def naive(ws: Workspace, layers: np.ndarray):
    v, m, env = vae.load(ws), mdn_rnn.load(ws), ReferenceCarRacing()
    layer = torch.from_numpy(layers[:1])

    @torch.inference_mode()
    def run() -> int:
        frame, _ = env.reset(seed=0)
        state = m.initial_state(1)
        for _step in range(NAIVE_STEPS):
            z, _ = v.encode(to_input(frame[None]))
            action = act(layer, torch.cat([z, state.h], dim=1))
            state, _ = m.step(z, action, state)
            frame, *_ = env.step(action[0].numpy())
        return NAIVE_STEPS

    return run


def with_lanes(ws: Workspace, lanes: int) -> Workspace:
    evolution = replace(ws.profile.evolution, lanes=lanes)
    return replace(ws, profile=replace(ws.profile, evolution=evolution))


def main() -> None:
    alone = "one environment, batches of one"
    with tempfile.TemporaryDirectory(prefix="awm-benchmark-") as folder, crew() as hands:
        ws, papers = (Workspace.open(name, folder) for name in ("second", "paper"))
        layers = prepare(ws)
        prepare(papers)
        contenders = {memory.label: ours(hands, ws, layers, memory) for memory in MEMORIES}
        contenders["plain M, the paper's encoder"] = ours(hands, papers, layers)
        contenders[alone] = naive(papers, layers)
        found = rates(contenders, rounds=3)
        peers = table("Closed loop, all cores", "steps/s", found, alone)
        sweep = {
            (lanes, workers): ours(hands, with_lanes(ws, lanes), layers, workers=workers)
            for workers in range(1, (os.cpu_count() or 1) + 1)
            for lanes in LANES
        }
        found = rates(sweep, rounds=1)
        parts = {memory.kind: where_time_goes(ws, layers, memory) for memory in MEMORIES}
    named = {f"{lanes} lanes, {workers} workers": rate for (lanes, workers), rate in found.items()}
    scaling = table("Closed loop, plain M, by lanes and workers", "steps/s", named)
    for kind, costs in parts.items():
        table(f"Where a step's time goes, {Memory(kind).label}", "µs", costs)
    points = [[lanes, workers, rate] for (lanes, workers), rate in found.items()]
    keep("closed_loop", peers, scaling, sweep=points, parts=parts)


if __name__ == "__main__":
    main()
