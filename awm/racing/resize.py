"""From Gymnasium's 96×96 observation to the 64×64 frame: crop the dashboard, resize by area."""

import numpy as np
from numba import njit

#: Rows of Gymnasium's observation above the black dashboard.
VISIBLE_ROWS = 84
FRAME_SIZE = 64


def area_weights(source: int, target: int) -> np.ndarray:
    """Weights `[target, source]` that average `source` cells into `target` cells by overlap."""
    edges = np.linspace(0, source, target + 1)
    cells = np.arange(source)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    weights = np.clip(overlap, 0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_ROWS = area_weights(VISIBLE_ROWS, FRAME_SIZE)
_COLUMNS = area_weights(96, FRAME_SIZE)


@njit(cache=True)
def _average(observation, rows, columns, frame):
    line = np.empty((96, 3), np.float32)
    for i in range(FRAME_SIZE):
        line[:] = 0
        for y in range(VISIBLE_ROWS):
            if rows[i, y] > 0:
                for x in range(96):
                    for channel in range(3):
                        line[x, channel] += rows[i, y] * observation[y, x, channel]
        for j in range(FRAME_SIZE):
            for channel in range(3):
                total = np.float32(0.5)
                for x in range(3 * j // 2, min(3 * j // 2 + 3, 96)):
                    total += columns[j, x] * line[x, channel]
                frame[i, j, channel] = np.uint8(total)


def to_frame(observation: np.ndarray) -> np.ndarray:
    """Gymnasium's observation, uint8 `[96, 96, 3]`, as a frame, uint8 `[64, 64, 3]`.

    Compiled rather than two matrix products: those would start BLAS's threads at every step.
    """
    frame = np.empty((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
    _average(np.ascontiguousarray(observation), _ROWS, _COLUMNS, frame)
    return frame
