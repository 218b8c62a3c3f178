"""Closed-loop steps a second with the paper's sizes: simulator, V, M and C.

Ours (lanes in lockstep, one worker a core) for every M, against the loop that most
re-implementations have: one Gymnasium environment, frames resized, batches of one.

    python benchmarks/closed_loop.py
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timing import rates, show

from awm import config, mdn_rnn, rollout, vae, weights
from awm.controller import act
from awm.rollout import Job
from awm.sim.reference import ReferenceCarRacing

PROFILE = replace(config.get_profile("paper"), name="paper")
NAIVE_STEPS = 60


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


def ours(pool, layers: np.ndarray, model: str):
    jobs = [Job(i, i % 2, patience=150) for i in range(len(layers))]

    def run() -> int:
        outcomes = rollout.drive(pool, PROFILE, model, layers, jobs, tasks=os.cpu_count())
        return sum(o.length for o in outcomes)

    return run


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
        contenders = {f"ours, attention {m}": ours(pool, layers, m) for m in config.ATTENTIONS}
        contenders["one environment, batches of one"] = naive(layers)
        found = rates(contenders, rounds=3)
    show("Closed loop, all cores", "steps/s", found, "one environment, batches of one")
    print(f"workspace of this run: {Path(os.environ['AWM_ROOT'])}")


if __name__ == "__main__":
    main()
