"""Frames out of thin air."""

import numpy as np


def road_frames(count: int, bend: float = 8) -> np.ndarray:
    """Frames uint8 [count, 64, 64, 3] of a grey road that bends, every one different."""
    y, x = np.mgrid[:64, :64]
    turn = np.linspace(-2, 2, count)[:, None, None] * bend
    frames = np.full((count, 64, 64, 3), (100, 202, 100), np.uint8)
    frames[np.abs(x - 32 - turn * ((63 - y) / 63) ** 2) < 8] = (105, 105, 105)
    frames[:, 44:52, 30:34] = (204, 0, 0)
    return frames
