"""Closed-loop steps a second with the paper's sizes: simulator, V, M and C.

Ours (lanes in lockstep, one worker a core) for every M, against the loop that most
re-implementations have: one Gymnasium environment, frames resized, batches of one. Then plain M
over lanes and workers, and where the time of a step goes.

    python benchmarks/closed_loop.py
"""

import os
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from timing import keep, rates, table

from awm import config, mdn_rnn, rollout, vae, weights
from awm.controller import act
from awm.rollout import Job
from awm.sim import physics, raster
from awm.sim.reference import ReferenceCarRacing

PROFILE = config.get_profile("paper")
NAIVE_STEPS = 60
LANES = (8, 16, 32, 64)


def prepare() -> np.ndarray:
    """Untrained V and Ms, where workers will look for them, and layers that keep on driving."""
    torch.manual_seed(0)
    weights.save(vae.path_of(PROFILE), vae.VAE().state_dict(), {})
    for model in config.ATTENTIONS:
        m = mdn_rnn.build(PROFILE, model)
        weights.save(mdn_rnn.path_of(PROFILE, model), m.state_dict(), {})
    layers = np.random.default_rng(0).normal(size=(64, 3, 289)).astype(np.float32) * 0.02
    layers[:, 1, -1] = -2  # a little gas
    layers[:, 2, -1] = -1  # no brake
    return layers


def ours(pool, layers: np.ndarray, model: str, profile=PROFILE, workers: int | None = None):
    jobs = [Job(i, seed, patience=60) for i in range(len(layers)) for seed in (1, 2)]

    def run() -> int:
        workers_ = workers or os.cpu_count()
        outcomes = rollout.drive(pool, profile, model, layers, jobs, tasks=workers_)
        return sum(o.length for o in outcomes)

    return run


@contextmanager
def timed(owner, name: str, spent: dict[str, float], label: str):
    """While it lasts, calls of a function add their time to `spent[label]`."""
    original = getattr(owner, name)

    def call(*arguments, **options):
        started = time.perf_counter()
        try:
            return original(*arguments, **options)
        finally:
            spent[label] = spent.get(label, 0.0) + time.perf_counter() - started

    setattr(owner, name, call)
    try:
        yield
    finally:
        setattr(owner, name, original)


def where_time_goes(layers: np.ndarray, model: str) -> dict[str, float]:
    """Microseconds of one core that a step costs, by part."""
    jobs = [Job(i, 1, patience=60) for i in range(len(layers))]
    spent: dict[str, float] = {}
    rollout.drive_jobs(PROFILE, model, layers, jobs[:1])  # loads the models
    with (
        timed(vae.VAE, "encode", spent, "V: encode"),
        timed(rollout.WorldModel, "advance", spent, "M: step"),
        timed(rollout, "act", spent, "C: act"),
        timed(raster, "draw", spent, "simulator: draw"),
        timed(physics, "step", spent, "simulator: physics"),
    ):
        started = time.perf_counter()
        steps = sum(o.length for o in rollout.drive_jobs(PROFILE, model, layers, jobs))
        total = time.perf_counter() - started
    spent["Python between them"] = total - sum(spent.values())
    return {label: 1e6 * seconds / steps for label, seconds in spent.items()}


def naive(layers: np.ndarray):
    v, m, env = vae.load(PROFILE), mdn_rnn.load(PROFILE), ReferenceCarRacing()
    layer = torch.from_numpy(layers[:1])

    @torch.inference_mode()
    def run() -> int:
        frame, _ = env.reset(seed=0)
        state = m.initial_state(1)
        for _step in range(NAIVE_STEPS):
            z, _ = v.encode(vae.to_input(frame[None]))
            action = act(layer, torch.cat([z, state.h], dim=1))
            state, _ = m.step(z, action, state)
            frame, *_ = env.step(action[0].numpy())
        return NAIVE_STEPS

    return run


def main() -> None:
    # Here and not above: workers import this file too, and must look where we write.
    os.environ["AWM_ROOT"] = tempfile.mkdtemp(prefix="awm-benchmark-")
    layers = prepare()
    with rollout.workers() as pool:
        contenders = {f"attention {m}": ours(pool, layers, m) for m in config.ATTENTIONS}
        contenders["one environment, batches of one"] = naive(layers)
        found = rates(contenders, rounds=3)
        peers = table("Closed loop, all cores", "steps/s", found, "one environment, batches of one")
        sweep = {
            (lanes, workers): ours(pool, layers, "none", replace(PROFILE, lanes=lanes), workers)
            for workers in range(1, os.cpu_count() + 1)
            for lanes in LANES
        }
        found = rates(sweep, rounds=1)
    named = {f"{lanes} lanes, {workers} workers": rate for (lanes, workers), rate in found.items()}
    scaling = table("Closed loop, plain M, by lanes and workers", "steps/s", named)
    parts = {model: where_time_goes(layers, model) for model in config.ATTENTIONS}
    for model, costs in parts.items():
        table(f"Where a step's time goes, attention {model}", "µs", costs)
    points = [[lanes, workers, rate] for (lanes, workers), rate in found.items()]
    keep("closed_loop", peers, scaling, sweep=points, parts=parts)


if __name__ == "__main__":
    main()
