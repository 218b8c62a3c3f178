"""From Gymnasium's 96×96 observation to the 64×64 frame: crop the dashboard, resize by area."""

import numpy as np

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


def to_frame(observation: np.ndarray) -> np.ndarray:
    """Gymnasium's observation, uint8 `[96, 96, 3]`, as a frame, uint8 `[64, 64, 3]`."""
    visible = observation[:VISIBLE_ROWS].astype(np.float32)
    frame = np.einsum("iy,yxc,jx->ijc", _ROWS, visible, _COLUMNS, optimize=True)
    return np.rint(frame).astype(np.uint8)
