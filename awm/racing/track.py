"""Gymnasium's track generator, compiled: the same tracks, bit for bit, from the same numbers.

(`CarRacing._create_track`; only the arithmetic is here. Twelve checkpoints round a circle at random
distances are chased by a point of limited turning rate; its second lap is the track.)
"""

import math

import numpy as np
from gymnasium.envs.box2d.car_racing import (
    BORDER,
    BORDER_MIN_COUNT,
    SCALE,
    TRACK_DETAIL_STEP,
    TRACK_RAD,
    TRACK_TURN_RATE,
    TRACK_WIDTH,
)
from numba import njit

CHECKPOINTS = 12
#: No track has more tiles: so many points are laid out for five laps of it.
LONGEST = 2500
#: Kinds of polygons that are no tiles: the two colours of a kerb.
WHITE, RED = -1, -2


def draw_checkpoints(rng: np.random.Generator) -> np.ndarray:
    """The random numbers of a track, `[12, 2]`: angle and radius, in Gymnasium's order."""
    numbers = np.empty((CHECKPOINTS, 2))
    for row in numbers:
        row[0] = rng.uniform(0, 2 * math.pi * 1 / CHECKPOINTS)
        row[1] = rng.uniform(TRACK_RAD / 3, TRACK_RAD)
    return numbers


@njit(cache=True)
def _checkpoints(numbers):
    points = np.empty((CHECKPOINTS, 3))
    for c in range(CHECKPOINTS):
        alpha = 2 * math.pi * c / CHECKPOINTS + numbers[c, 0]
        radius = numbers[c, 1]
        if c == 0:
            alpha, radius = 0.0, 1.5 * TRACK_RAD
        if c == CHECKPOINTS - 1:
            alpha, radius = 2 * math.pi * c / CHECKPOINTS, 1.5 * TRACK_RAD
        points[c] = alpha, radius * math.cos(alpha), radius * math.sin(alpha)
    return points


@njit(cache=True)
def lay_out(numbers):
    """The track of some checkpoints, `[n, 4]`: angle, heading, x, y. Empty if it does not close."""
    points = _checkpoints(numbers)
    start = 2 * math.pi * (-0.5) / CHECKPOINTS
    x, y, beta = 1.5 * TRACK_RAD, 0.0, 0.0
    target, laps, other_side = 0, 0, False
    path = np.empty((LONGEST, 4))
    length = 0
    while True:
        alpha = math.atan2(y, x)
        if other_side and alpha > 0:
            laps += 1
            other_side = False
        if alpha < 0:
            other_side = True
            alpha += 2 * math.pi
        while True:
            found = False
            while True:
                if alpha <= points[target % CHECKPOINTS, 0]:
                    found = True
                    break
                target += 1
                if target % CHECKPOINTS == 0:
                    break
            if found:
                break
            alpha -= 2 * math.pi
        right_x, right_y = math.cos(beta), math.sin(beta)
        to_x = points[target % CHECKPOINTS, 1] - x
        to_y = points[target % CHECKPOINTS, 2] - y
        aside = right_x * to_x + right_y * to_y
        while beta - alpha > 1.5 * math.pi:
            beta -= 2 * math.pi
        while beta - alpha < -1.5 * math.pi:
            beta += 2 * math.pi
        before = beta
        aside *= SCALE
        if aside > 0.3:
            beta -= min(TRACK_TURN_RATE, abs(0.001 * aside))
        if aside < -0.3:
            beta += min(TRACK_TURN_RATE, abs(0.001 * aside))
        x += -right_y * TRACK_DETAIL_STEP
        y += right_x * TRACK_DETAIL_STEP
        path[length] = alpha, before * 0.5 + beta * 0.5, x, y
        length += 1
        if laps > 4 or length == LONGEST:
            break

    last, first = -1, -1
    for i in range(length - 1, 0, -1):
        if path[i, 0] > start and path[i - 1, 0] <= start:
            if last == -1:
                last = i
            else:
                first = i
                break
    if first == -1:
        return path[:0]
    track = path[first : last - 1].copy()
    heading_x, heading_y = math.cos(track[0, 1]), math.sin(track[0, 1])
    gap_x = heading_x * (track[0, 2] - track[-1, 2])
    gap_y = heading_y * (track[0, 3] - track[-1, 3])
    if math.sqrt(gap_x * gap_x + gap_y * gap_y) > TRACK_DETAIL_STEP:
        return path[:0]
    return track


@njit(cache=True)
def polygons(track):
    """What is driven on and what is drawn.

    Returns tiles `[n, 4, 2]`, then the road's polygons in drawing order `[m, 4, 2]`, and for each
    of them its tile's number, or `WHITE` or `RED` for a stretch of kerb, `[m]`.
    """
    n = len(track)
    hard = np.zeros(n, np.bool_)
    for i in range(n):
        good, side = True, 0.0
        for back in range(BORDER_MIN_COUNT):
            turn = track[i - back, 1] - track[i - back - 1, 1]
            good = good and abs(turn) > TRACK_TURN_RATE * 0.2
            side += np.sign(turn)
        hard[i] = good and abs(side) == BORDER_MIN_COUNT
    for i in range(n):
        for back in range(BORDER_MIN_COUNT):
            hard[i - back] = hard[i - back] or hard[i]

    tiles = np.empty((n, 4, 2))
    road = np.empty((2 * n, 4, 2))
    kinds = np.empty(2 * n, np.int64)
    m = 0
    for i in range(n):
        beta1, x1, y1 = track[i, 1], track[i, 2], track[i, 3]
        beta2, x2, y2 = track[i - 1, 1], track[i - 1, 2], track[i - 1, 3]
        c1, s1, c2, s2 = math.cos(beta1), math.sin(beta1), math.cos(beta2), math.sin(beta2)
        tiles[i, 0] = x1 - TRACK_WIDTH * c1, y1 - TRACK_WIDTH * s1
        tiles[i, 1] = x1 + TRACK_WIDTH * c1, y1 + TRACK_WIDTH * s1
        tiles[i, 2] = x2 + TRACK_WIDTH * c2, y2 + TRACK_WIDTH * s2
        tiles[i, 3] = x2 - TRACK_WIDTH * c2, y2 - TRACK_WIDTH * s2
        road[m], kinds[m] = tiles[i], i
        m += 1
        if hard[i]:
            inner = np.sign(beta2 - beta1) * TRACK_WIDTH
            outer = np.sign(beta2 - beta1) * (TRACK_WIDTH + BORDER)
            road[m, 0] = x1 + inner * c1, y1 + inner * s1
            road[m, 1] = x1 + outer * c1, y1 + outer * s1
            road[m, 2] = x2 + outer * c2, y2 + outer * s2
            road[m, 3] = x2 + inner * c2, y2 + inner * s2
            kinds[m] = WHITE if i % 2 == 0 else RED
            m += 1
    return tiles, road[:m].copy(), kinds[:m].copy()
