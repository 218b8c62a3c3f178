"""Dream steps a second: one process a core, each with its lanes in one batch, or just one lane.

M in the simulator's place: an LSTM step, the mixture's sample, reward, end, and C. An M with
spatial attention looks at V's map, which a small head guesses from z; “frames”: each step decodes
and encodes a frame instead.

    python benchmarks/dreaming.py
"""

import numpy as np
import torch
from timing import keep, rates, table

from awm.ids import ATTENTIONS, Memory
from awm.models.controller import act
from awm.models.feature_map import FeatureMapHead
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import VAE
from awm.worlds import dream
from awm.worlds.crew import Crew, crew
from awm.worlds.dream import DreamSource, DreamWorld
from awm.worlds.lanes import Job, drive

KINDS = ("plain", *ATTENTIONS)
LAYERS = np.random.default_rng(0).normal(size=(64, 3, 289)).astype(np.float32) * 0.1
STEPS = 150
FRAME_STEPS = 4  # where each step decodes and encodes a frame


def source(kind: str, frames: bool = False) -> DreamSource:
    """An untrained world model whose dreams do not end: as much work as a trained one.

    With `frames` it looks at the frames that V draws, not through a head.
    """
    torch.manual_seed(0)
    m = MDNRNN(kind).eval().requires_grad_(False)
    m.head.bias[-1] = -20.0
    v, head = VAE().requires_grad_(False), FeatureMapHead(32, (36, 128)).requires_grad_(False)
    return DreamSource(v, m, torch.randn(16, 32), None if frames else head)


def work(kind: str, frames: bool, steps: int) -> int:
    # A dream has no tiles: patience is how long it lasts.
    jobs = [Job(i % len(LAYERS), i, patience=steps) for i in range(dream.LANES)]
    return sum(o.length for o in drive(DreamWorld(source(kind, frames)), LAYERS, jobs))


def dreaming(hands: Crew, kind: str, frames: bool = False):
    steps = FRAME_STEPS if frames else STEPS

    def run() -> int:
        tasks = [hands.executor.submit(work, kind, frames, steps) for _ in range(hands.size)]
        return sum(task.result() for task in tasks)

    return run


def alone():
    """One lane, as most re-implementations dream."""
    sole = DreamWorld(source("plain"), lanes=1)
    sole.begin(0, 0)
    layer = torch.from_numpy(LAYERS[:1])

    @torch.inference_mode()
    def run() -> int:
        for _step in range(2 * STEPS):
            sole.step(act(layer, sole.observe()))
        return 2 * STEPS

    return run


def main() -> None:
    with crew() as hands:
        contenders = {Memory(kind).label: dreaming(hands, kind) for kind in KINDS}
        contenders["M, spatial attention to frames"] = dreaming(hands, "spatial", frames=True)
        contenders["one lane, plain M"] = alone()
        found = rates(contenders, rounds=3)
    keep("dreaming", table("Dream, all cores", "steps/s", found, "one lane, plain M"))


if __name__ == "__main__":
    main()
