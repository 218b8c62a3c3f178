"""What C could read off its inputs: linear probes from [z, h] to the state of the car.

C is linear, so what a linear probe cannot find, C cannot use. The probe is a ridge regression on
the training episodes; its R² is measured on the test episodes.
"""

import numpy as np

from awm import controller, dataset
from awm.config import Profile, get_profile
from awm.dataset import TELEMETRY

#: What the probes look for, as `awm.dataset` records it.
TARGETS = ("speed", "steering_angle", "centre_distance")

_RIDGE = 1.0


def probe(profile: Profile | str, model: str) -> dict[str, float]:
    """R² on test episodes of predicting each of `TARGETS` linearly from what C sees.

    Args:
        model: `"V"` for z alone, or the name of an M for [z, h].
    """
    profile = get_profile(profile)
    x, y = _pairs(profile, model, "train")
    test_x, test_y = _pairs(profile, model, "test")
    mean, deviation = x.mean(0), np.maximum(x.std(0), controller.SMALLEST_DEVIATION)
    x, test_x = _with_bias((x - mean) / deviation), _with_bias((test_x - mean) / deviation)
    layer = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)
    error = np.square(test_y - test_x @ layer).sum(0)
    spread = np.square(test_y - test_y.mean(0)).sum(0)
    return {name: float(r2) for name, r2 in zip(TARGETS, 1 - error / spread, strict=True)}


def _pairs(profile: Profile, model: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    columns = [TELEMETRY.index(name) for name in TARGETS]
    telemetry = dataset.open_rollouts(profile).column("telemetry")
    pairs = [
        (seen, telemetry[episode][: len(seen), columns])
        for episode, seen in controller.inputs_seen(profile, model, split)
    ]
    x, y = zip(*pairs, strict=True)
    return np.concatenate(x), np.concatenate(y).astype(np.float64)


def _with_bias(x: np.ndarray) -> np.ndarray:
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)
