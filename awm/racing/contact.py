"""Do two convex polygons touch? Box2D's answer, to the last bit.

Whether a tile counts as reached at this step or at the next one hangs on rounding, so every
operation is that of E. Catto's `b2Distance` (Box2D 2.3), in single precision and in its order: the
algorithm of Gilbert, Johnson and Keerthi (1988) for the distance of two convex sets.
"""

import math

import numpy as np
from numba import njit

F = np.float32

EPSILON = F(np.finfo(F).eps)
LINEAR_SLOP = F(0.005)
#: Each polygon has a skin of 2 · slop; `b2TestOverlap` then allows ten epsilons.
SKIN = F(F(2.0) * LINEAR_SLOP) + F(F(2.0) * LINEAR_SLOP)


@njit(cache=True)
def _support(corners, count, x, y):
    best, value = 0, corners[0, 0] * x + corners[0, 1] * y
    for i in range(1, count):
        other = corners[i, 0] * x + corners[i, 1] * y
        if other > value:
            best, value = i, other
    return best


@njit(cache=True)
def polygons_touch(tile, tile_count, shape, count, transform):
    """Whether a tile and a body's shape touch, as `b2TestOverlap` says.

    Args:
        tile: float32 `[tile_count, 2]`, in world coordinates.
        shape: float32 `[count, 2]`, in the body's own.
        transform: the body's sine, cosine, x and y, float32.

    A simplex of at most three points w = b - a of the Minkowski difference closes in on the
    origin.
    """
    s, c, px, py = transform
    ia, ib = np.zeros(3, np.int64), np.zeros(3, np.int64)
    a, b, w = np.empty((3, 2), F), np.empty((3, 2), F), np.empty((3, 2), F)
    share = np.zeros(3, F)
    old_a, old_b = np.zeros(3, np.int64), np.zeros(3, np.int64)
    a[0] = tile[0]
    b[0, 0] = (c * shape[0, 0] - s * shape[0, 1]) + px
    b[0, 1] = (s * shape[0, 0] + c * shape[0, 1]) + py
    w[0] = b[0] - a[0]
    share[0] = F(1)
    points = 1
    for _iteration in range(20):
        saved = points
        for i in range(points):
            old_a[i], old_b[i] = ia[i], ib[i]
        if points == 2:
            points = _closest_on_line(ia, ib, a, b, w, share)
        elif points == 3:
            points = _closest_in_triangle(ia, ib, a, b, w, share)
        if points == 3:
            return True
        if points == 1:
            dx, dy = -w[0, 0], -w[0, 1]
        else:
            ex, ey = w[1, 0] - w[0, 0], w[1, 1] - w[0, 1]
            if ex * -w[0, 1] - ey * -w[0, 0] > F(0):
                dx, dy = -ey, ex
            else:
                dx, dy = ey, -ex
        if dx * dx + dy * dy < EPSILON * EPSILON:
            break
        new_a = _support(tile, tile_count, -dx, -dy)
        new_b = _support(shape, count, c * dx + s * dy, -s * dx + c * dy)
        ia[points], ib[points] = new_a, new_b
        a[points] = tile[new_a]
        b[points, 0] = (c * shape[new_b, 0] - s * shape[new_b, 1]) + px
        b[points, 1] = (s * shape[new_b, 0] + c * shape[new_b, 1]) + py
        w[points] = b[points] - a[points]
        duplicate = False
        for i in range(saved):
            if old_a[i] == new_a and old_b[i] == new_b:
                duplicate = True
        if duplicate:
            break
        points += 1

    if points == 1:
        dx, dy = a[0, 0] - b[0, 0], a[0, 1] - b[0, 1]
    elif points == 2:
        dx = (share[0] * a[0, 0] + share[1] * a[1, 0]) - (share[0] * b[0, 0] + share[1] * b[1, 0])
        dy = (share[0] * a[0, 1] + share[1] * a[1, 1]) - (share[0] * b[0, 1] + share[1] * b[1, 1])
    else:
        return True
    distance = math.sqrt(dx * dx + dy * dy)
    if distance > SKIN and distance > EPSILON:
        return distance - SKIN < F(10) * EPSILON
    return True


@njit(cache=True)
def _keep(ia, ib, a, b, w, target, source):
    ia[target], ib[target] = ia[source], ib[source]
    a[target] = a[source]
    b[target] = b[source]
    w[target] = w[source]


@njit(cache=True)
def _closest_on_line(ia, ib, a, b, w, share):
    ex, ey = w[1, 0] - w[0, 0], w[1, 1] - w[0, 1]
    second = -(w[0, 0] * ex + w[0, 1] * ey)
    if second <= F(0):
        share[0] = F(1)
        return 1
    first = w[1, 0] * ex + w[1, 1] * ey
    if first <= F(0):
        _keep(ia, ib, a, b, w, 0, 1)
        share[0] = F(1)
        return 1
    inverse = F(1) / (first + second)
    share[0], share[1] = first * inverse, second * inverse
    return 2


@njit(cache=True)
def _closest_in_triangle(ia, ib, a, b, w, share):
    x1, y1, x2, y2, x3, y3 = w[0, 0], w[0, 1], w[1, 0], w[1, 1], w[2, 0], w[2, 1]
    ex, ey = x2 - x1, y2 - y1
    d12_1, d12_2 = x2 * ex + y2 * ey, -(x1 * ex + y1 * ey)
    fx, fy = x3 - x1, y3 - y1
    d13_1, d13_2 = x3 * fx + y3 * fy, -(x1 * fx + y1 * fy)
    gx, gy = x3 - x2, y3 - y2
    d23_1, d23_2 = x3 * gx + y3 * gy, -(x2 * gx + y2 * gy)
    area = ex * fy - ey * fx
    d123_1 = area * (x2 * y3 - y2 * x3)
    d123_2 = area * (x3 * y1 - y3 * x1)
    d123_3 = area * (x1 * y2 - y1 * x2)
    if d12_2 <= F(0) and d13_2 <= F(0):
        share[0] = F(1)
        return 1
    if d12_1 > F(0) and d12_2 > F(0) and d123_3 <= F(0):
        inverse = F(1) / (d12_1 + d12_2)
        share[0], share[1] = d12_1 * inverse, d12_2 * inverse
        return 2
    if d13_1 > F(0) and d13_2 > F(0) and d123_2 <= F(0):
        inverse = F(1) / (d13_1 + d13_2)
        share[0], share[1] = d13_1 * inverse, d13_2 * inverse
        _keep(ia, ib, a, b, w, 1, 2)
        return 2
    if d12_1 <= F(0) and d23_2 <= F(0):
        share[0] = F(1)
        _keep(ia, ib, a, b, w, 0, 1)
        return 1
    if d13_1 <= F(0) and d23_1 <= F(0):
        share[0] = F(1)
        _keep(ia, ib, a, b, w, 0, 2)
        return 1
    if d23_1 > F(0) and d23_2 > F(0) and d123_1 <= F(0):
        inverse = F(1) / (d23_1 + d23_2)
        share[0], share[1] = d23_2 * inverse, d23_1 * inverse
        _keep(ia, ib, a, b, w, 0, 2)
        return 2
    return 3
