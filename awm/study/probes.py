"""What C could read off its inputs: linear probes from [z, h] to the state of the car.

C is linear, so what a linear probe cannot find, C cannot use. The probe is a ridge regression on
the training episodes; its R² is measured on the test episodes.
"""

import numpy as np

from awm import stages
from awm.data.rollouts import TELEMETRY, open_rollouts
from awm.evolution.inputs import inputs_seen
from awm.ids import Memory
from awm.store import Workspace

#: What the probes look for, as `awm.data.rollouts` records it.
TARGETS = ("speed", "steering_angle", "centre_distance")

_RIDGE = 1.0


def probes(ws: Workspace, memories: list[Memory]) -> dict:
    """R² of each of `TARGETS` from what C sees with each memory: recorded in `study/probes.json`.

    Returns `r2`, by memory and target.
    """
    settings = {
        "ridge": _RIDGE,
        "memories": [str(memory) for memory in memories],
        "smallest_deviation": ws.profile.evolution.smallest_deviation,
    }
    inputs = {str(m): stages.mdn_rnn(ws.profile, m) for m in memories if m.has_m}
    inputs["vae"] = stages.vae(ws.profile)

    def compute() -> dict:
        return {"r2": {str(memory): _probe(ws, memory) for memory in memories}}

    return ws.record(stages.finding(ws.profile, "probes", settings, **inputs), compute)


def _probe(ws: Workspace, memory: Memory) -> dict[str, float]:
    x, y = _pairs(ws, memory, "train")
    test_x, test_y = _pairs(ws, memory, "test")
    mean = x.mean(0)
    deviation = np.maximum(x.std(0), ws.profile.evolution.smallest_deviation)
    x, test_x = _with_bias((x - mean) / deviation), _with_bias((test_x - mean) / deviation)
    layer = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)
    error = np.square(test_y - test_x @ layer).sum(0)
    spread = np.square(test_y - test_y.mean(0)).sum(0)
    return {name: float(r2) for name, r2 in zip(TARGETS, 1 - error / spread, strict=True)}


def _pairs(ws: Workspace, memory: Memory, split: str) -> tuple[np.ndarray, np.ndarray]:
    columns = [TELEMETRY.index(name) for name in TARGETS]
    rollouts = open_rollouts(ws, memory)
    pairs = [
        (seen, rollouts.read("telemetry", episode)[: len(seen), columns])
        for episode, seen in inputs_seen(ws, memory, split)
    ]
    x, y = zip(*pairs, strict=True)
    return np.concatenate(x), np.concatenate(y).astype(np.float64)


def _with_bias(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
