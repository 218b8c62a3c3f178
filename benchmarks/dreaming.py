"""Dream steps a second with the paper's sizes: M, mixture sampling, reward, end and C.

One process a core, each with its lanes in one batch, against a dream of one lane.

    python benchmarks/dreaming.py
"""

import os

import numpy as np
import torch
from timing import keep, rates, table

from awm import config, dream, map_head, mdn_rnn, rollout, vae
from awm.rollout import Job

STEPS = {"spatial, frames": 4}  # decodes and encodes a frame at every step
KINDS = (*config.ATTENTIONS, *STEPS)
LAYERS = np.random.default_rng(0).normal(size=(64, 3, 289)).astype(np.float32) * 0.1


def world(kind: str) -> dream.World:
    """An untrained world model whose dreams do not end: as much work as a trained one.

    `kind` is an attention; "spatial, frames" looks at the frames that V draws, not through a head.
    """
    torch.manual_seed(0)
    attention, _, frames = kind.partition(", ")
    m = mdn_rnn.MDNRNN(attention).eval().requires_grad_(False)
    m.head.bias[-1] = -20.0
    v, head = vae.VAE(), None if frames else map_head.MapHead(32)
    for module in (v, head) if head else (v,):
        module.eval().requires_grad_(False)
    return dream.World(v, m, torch.randn(16, 32), head)


def work(kind: str, lanes: int, steps: int) -> int:
    jobs = [Job(i % len(LAYERS), i) for i in range(lanes)]
    return sum(o.length for o in dream.dream_jobs(world(kind), LAYERS, jobs, steps=steps))


def dreaming(pool, kind: str):
    steps = STEPS.get(kind, 150)

    def run() -> int:
        tasks = [pool.submit(work, kind, dream.LANES, steps) for _ in range(os.cpu_count())]
        return sum(task.result() for task in tasks)

    return run


def alone():
    """One lane, as most re-implementations dream."""
    sole = dream.Dream(world("none"), 1)
    sole.begin(0, 0)
    layer = torch.from_numpy(LAYERS[:1])

    def run() -> int:
        from awm.controller import act

        with torch.inference_mode():
            for _step in range(300):
                sole.step(act(layer, sole.inputs))
        return 300

    return run


def main() -> None:
    with rollout.workers() as pool:
        contenders = {f"attention {kind}": dreaming(pool, kind) for kind in KINDS}
        contenders["one lane, plain M"] = alone()
        found = rates(contenders, rounds=3)
    keep("dreaming", table("Dream, all cores", "steps/s", found, "one lane, plain M"))


if __name__ == "__main__":
    main()
