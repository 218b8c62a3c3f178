"""Worlds that look otherwise, and are the same to drive in.

Gymnasium's random colours, and two that Tang, Nguyen & Ha tried (2020, *Neuroevolution of
Self-Interpretable Agents*): bars at both sides of the picture, and a patch that stays at its place
in it whatever the car does. Nothing is trained or chosen on these.
"""

import numpy as np

from awm.errors import AwmError

ALTERATIONS = ("colours", "bars", "patch")

#: Columns of each black bar; rows and columns of the red patch, and its upper left corner.
BAR, PATCH, CORNER = 6, 8, (12, 8)
_RED = (255, 0, 0)


def check(alteration: str | None) -> None:
    """AwmError for an alteration that there is not."""
    if alteration not in (None, *ALTERATIONS):
        raise AwmError(
            f"There is no alteration {alteration!r}. Choose one of: {', '.join(ALTERATIONS)}."
        )


def colours(seed: int) -> np.ndarray:
    """Of road, field and squares of grass, as `awm.racing.fleet.COLOURS`, drawn as Gymnasium does.

    By a generator of their own: the tracks of a seed stay what they are.
    """
    rng = np.random.default_rng((seed, 1))
    road, field = rng.uniform(0, 210, (2, 3))
    grass = field.copy()
    grass[rng.integers(3)] += 20
    return np.array([road, field, grass])


def alter(frames: np.ndarray, alteration: str | None) -> np.ndarray:
    """What is seen of frames, uint8 `[lanes, 64, 64, 3]`."""
    if alteration not in ("bars", "patch"):
        return frames
    seen = frames.copy()
    if alteration == "bars":
        seen[:, :, :BAR] = seen[:, :, -BAR:] = 0
    else:
        row, column = CORNER
        seen[:, row : row + PATCH, column : column + PATCH] = _RED
    return seen
