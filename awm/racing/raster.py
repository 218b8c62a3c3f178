"""Draw what the camera sees, straight to 64×64, the way Gymnasium's window would shrink to it.

Gymnasium fills polygons in a 1000×800 window, shrinks it to 96×96 and the reference frame takes
the upper 84 rows of that, area-resized to 64×64. Here the same polygons are filled at 2×2 samples
for each of the 96×84 pixels, in the same order and with the same rounding of their corners, and
averaged with the same weights. The window itself is never drawn.

Colours are packed into one uint32 of three 10-bit fields, so that adding four samples adds all
three channels at once.
"""

from typing import NamedTuple

import numpy as np
from gymnasium.envs.box2d import car_dynamics
from gymnasium.envs.box2d.car_dynamics import SIZE, WHEEL_R, WHEEL_W
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD
from numba import njit

from awm.racing.resize import FRAME_SIZE, VISIBLE_ROWS, area_weights

WINDOW_WIDTH, WINDOW_HEIGHT = 1000, 800
COLUMNS = 96
ROWS = VISIBLE_ROWS
SAMPLES_X, SAMPLES_Y = 2 * COLUMNS, 2 * ROWS
#: Window pixels between neighbouring samples.
STEP_X = WINDOW_WIDTH / SAMPLES_X
STEP_Y = WINDOW_HEIGHT / (2 * 96)
#: The car's place in the window, from its lower left corner, and the lowest line in sight.
CAR_X, CAR_Y = WINDOW_WIDTH / 2, WINDOW_HEIGHT / 4
_LOWEST = WINDOW_HEIGHT - STEP_Y * SAMPLES_Y

#: pygame's smoothscale truncates twice: a flat colour v comes back as v - 2.
TRUNCATION = 2.0
#: gfxdraw's anti-aliased outline widens every polygon by a fraction of a window pixel.
OUTLINE = 0.25

#: No visible point is further from the car than this, in window pixels: from its place to a
#: corner at the top.
REACH = float(np.hypot(500, 600))
#: The longest diagonal of a polygon that may be skipped when out of sight: a grass square's.
LARGEST = 24.0

#: The window's row that each row of samples looks at, counted upwards.
_LEVELS = WINDOW_HEIGHT - 1 - np.floor((np.arange(SAMPLES_Y) + 0.5) * STEP_Y)
#: For each of the window's rows, the first row of samples that lies at or below it.
_FIRST = np.searchsorted(-_LEVELS, -np.arange(WINDOW_HEIGHT))


def _sparse(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First source index and the (at most 3) weights of each target cell."""
    first = np.argmax(weights > 0, axis=1)
    taken = first[:, None] + np.arange(3)
    padded = np.pad(weights, ((0, 0), (0, 3)))
    return first.astype(np.int64), np.take_along_axis(padded, taken, axis=1)


_ROW_FIRST, _ROW_WEIGHTS = _sparse(area_weights(ROWS, FRAME_SIZE))


def _grass() -> np.ndarray:
    """Grass squares `[400, 4, 2]`."""
    polygons = []
    for i in range(-20, 20, 2):
        for j in range(-20, 20, 2):
            x, y = GRASS_DIM * i, GRASS_DIM * j
            far_x, far_y = x + GRASS_DIM, y + GRASS_DIM
            polygons.append([(far_x, y), (x, y), (x, far_y), (far_x, far_y)])
    return np.array(polygons)


def _hull() -> tuple[np.ndarray, np.ndarray]:
    """The hull's convex parts in units of the world, `[parts, 8, 2]`, and their corners' number."""
    shapes = [getattr(car_dynamics, f"HULL_POLY{n}") for n in (1, 2, 3, 4)]
    parts = np.zeros((len(shapes), 8, 2))
    for part, corners in zip(parts, shapes, strict=True):
        part[: len(corners)] = np.array(corners) * SIZE
    return parts, np.array([len(corners) for corners in shapes])


_GRASS = _grass()
_HULL, _HULL_CORNERS = _hull()
_WHEEL = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * (WHEEL_W * SIZE, WHEEL_R * SIZE)


class Canvas(NamedTuple):
    """Scratch: `samples` uint32 `[SAMPLES_Y, SAMPLES_X]`, the `spans` of a polygon that is being
    filled `[2, SAMPLES_Y]`, and `planes` float32 `[3, ROWS, 96]`."""

    samples: np.ndarray
    spans: np.ndarray
    planes: np.ndarray


def canvas() -> Canvas:
    """Something to draw on; any number of cars can share it, one after the other."""
    return Canvas(
        np.zeros((SAMPLES_Y, SAMPLES_X), np.uint32),
        np.zeros((2, SAMPLES_Y)),
        np.zeros((3, ROWS, COLUMNS), np.float32),
    )


def packed(colours: np.ndarray) -> np.ndarray:
    """Colours of 0 to 255, `[..., 3]`, as uint32 of three 10-bit fields, `[...]`."""
    red, green, blue = np.moveaxis(np.asarray(colours).astype(np.uint32), -1, 0)
    return red | green << np.uint32(10) | blue << np.uint32(20)


_BLACK, _GREY, _RED = packed(np.array([(0, 0, 0), (77, 77, 77), (204, 0, 0)]))


@njit(cache=True, inline="always")
def _first_row(y):
    """The first row of samples at or below the window's row y (a whole number)."""
    if y >= WINDOW_HEIGHT:
        return 0
    return _FIRST[int(y)] if y >= 0 else SAMPLES_Y


# NumPy's rules of division (no test for zero) let the compiler do several rows at once.
@njit(cache=True, error_model="numpy")
def fill_polygon(canvas, corners, count, colour, outline):
    """Fill a convex polygon.

    `corners` float64 `[count, 2]` are window coordinates with y upwards; they are truncated to
    whole pixels, in place, as pygame does. `canvas.samples` has the top row first.
    """
    samples, left, right = canvas.samples, canvas.spans[0], canvas.spans[1]
    low, high = 1e9, -1e9
    for i in range(count):
        corners[i, 0], corners[i, 1] = np.trunc(corners[i, 0]), np.trunc(corners[i, 1])
        low, high = min(low, corners[i, 1]), max(high, corners[i, 1])
    first, end = _first_row(high), _first_row(low - 1)
    if first >= end:
        return
    left[first:end] = 1e9
    right[first:end] = -1e9
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        x1, y1, x2, y2 = corners[i, 0], corners[i, 1], corners[j, 0], corners[j, 1]
        begin, stop = _first_row(max(y1, y2)), _first_row(min(y1, y2) - 1)
        run, rise = x2 - x1, y2 - y1
        if rise == 0:
            if begin < stop:
                left[begin] = min(left[begin], x1, x2)
                right[begin] = max(right[begin], x1, x2)
            continue
        for row in range(begin, stop):
            x = x1 + (_LEVELS[row] - y1) * run / rise
            left[row] = x if x < left[row] else left[row]
            right[row] = x if x > right[row] else right[row]
    # The pixels left..right are painted, that is, the interval [left, right + 1).
    for row in range(first, end):
        left[row] = np.ceil((left[row] - outline) / STEP_X - 0.5)
        right[row] = np.ceil((right[row] + 1 + outline) / STEP_X - 0.5)
    for row in range(first, end):
        begin, stop = int(max(left[row], 0.0)), int(min(right[row], SAMPLES_X))
        if begin < stop:
            samples[row, begin:stop] = colour


@njit(cache=True, inline="always")
def _place(camera, x, y):
    """Window coordinates of a point of the world."""
    x0, y0, cosine, sine, zoom = camera
    dx, dy = x - x0, y - y0
    return (dx * cosine - dy * sine) * zoom + CAR_X, (dx * sine + dy * cosine) * zoom + CAR_Y


@njit(cache=True)
def fill_world(canvas, polygons, colours, camera, outline):
    """Fill quadrilaterals of the world, `[n, 4, 2]` in its units, as far as they are in sight.

    `colours` are packed, `[n]` or, one for all of them, `[1]`.
    """
    margin = LARGEST * camera[4]
    corners = np.empty((4, 2))
    for n in range(polygons.shape[0]):
        x, y = _place(camera, polygons[n, 0, 0], polygons[n, 0, 1])
        aside = abs(x - CAR_X) > CAR_X + margin
        if aside or y < _LOWEST - margin or y > WINDOW_HEIGHT + margin:
            continue
        corners[0, 0], corners[0, 1] = x, y
        for i in range(1, 4):
            x, y = _place(camera, polygons[n, i, 0], polygons[n, i, 1])
            corners[i, 0], corners[i, 1] = x, y
        fill_polygon(canvas, corners, 4, colours[n % len(colours)], outline)


@njit(cache=True)
def fill_body(canvas, shape, count, pose, camera, colour):
    """Fill one convex part of the car, `shape` `[count, 2]` in the frame of a body at `pose`."""
    x, y, angle = pose
    c, s = np.cos(angle), np.sin(angle)
    corners = np.empty((count, 2))
    for i in range(count):
        corners[i, 0], corners[i, 1] = _place(
            camera, shape[i, 0] * c - shape[i, 1] * s + x, shape[i, 0] * s + shape[i, 1] * c + y
        )
    fill_polygon(canvas, corners, count, colour, 0.0)


@njit(cache=True)
def shrink(canvas, frame):
    """Average the samples into `canvas.planes`, then into `frame` uint8 `[64, 64, 3]`."""
    samples, planes = canvas.samples, canvas.planes
    mask, quarter, third = np.uint32(1023), np.float32(0.25), np.float32(1 / 3)
    total = np.empty(COLUMNS, np.uint32)
    for y in range(ROWS):
        upper, lower = samples[2 * y], samples[2 * y + 1]
        for x in range(COLUMNS):
            total[x] = upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1]
        for channel in range(3):
            shift = np.uint32(10 * channel)
            line = planes[channel, y]
            for x in range(COLUMNS):
                value = np.float32((total[x] >> shift) & mask) * quarter
                line[x] = max(np.float32(0), value - np.float32(TRUNCATION))
    line = np.empty(COLUMNS, np.float32)
    for i in range(FRAME_SIZE):
        y = _ROW_FIRST[i]
        last = min(y + 2, ROWS - 1)
        a, b, c = _ROW_WEIGHTS[i, 0], _ROW_WEIGHTS[i, 1], _ROW_WEIGHTS[i, 2]
        for channel in range(3):
            first, second, rest = planes[channel, y], planes[channel, y + 1], planes[channel, last]
            for x in range(COLUMNS):
                line[x] = (a * first[x] + b * second[x] + c * rest[x]) * third
            for k in range(COLUMNS // 3):  # three columns of 96 become two of 64
                left, middle, right = line[3 * k], line[3 * k + 1], line[3 * k + 2]
                frame[i, 2 * k, channel] = np.uint8(left + left + middle + np.float32(0.5))
                frame[i, 2 * k + 1, channel] = np.uint8(middle + right + right + np.float32(0.5))


@njit(cache=True, nogil=True)
def draw(canvas, frame, ground, grass, road, colours, poses, phases, zoom):
    """Draw one frame.

    Colours are packed (`packed`): the field's `ground`, black lying beyond it, its squares of
    `grass`, `[1]`, and `colours` `[n]` of the `road`'s quadrilaterals `[n, 4, 2]`, back to front.
    `poses` `[5, 3]` are x, y and angle of the hull and the four wheels, `phases` `[4]` the wheels'
    rotation in radians. `frame` uint8 `[64, 64, 3]` is written.
    """
    angle = -poses[0, 2]
    camera = (poses[0, 0], poses[0, 1], np.cos(angle), np.sin(angle), zoom)
    if max(abs(poses[0, 0]), abs(poses[0, 1])) + REACH / zoom < PLAYFIELD:
        canvas.samples[:] = ground
    else:
        canvas.samples[:] = 0
        corners = np.empty((4, 2))
        for i in range(4):
            side_x = PLAYFIELD if i == 0 or i == 3 else -PLAYFIELD
            side_y = PLAYFIELD if i < 2 else -PLAYFIELD
            corners[i, 0], corners[i, 1] = _place(camera, side_x, side_y)
        fill_polygon(canvas, corners, 4, ground, OUTLINE)
    fill_world(canvas, _GRASS, grass, camera, OUTLINE)
    fill_world(canvas, road, colours, camera, OUTLINE)

    half_width, radius = _WHEEL[0, 0], _WHEEL[0, 1]
    stripe = np.empty((4, 2))
    for w in range(4):
        fill_body(canvas, _WHEEL, 4, poses[w + 1], camera, _BLACK)
        # The white stripe that shows a wheel turning, where it is on the upper side.
        s1, s2 = np.sin(phases[w]), np.sin(phases[w] + 1.2)
        if s1 > 0 and s2 > 0:
            continue
        c1, c2 = np.cos(phases[w]), np.cos(phases[w] + 1.2)
        if s1 > 0:
            c1 = np.sign(c1)
        if s2 > 0:
            c2 = np.sign(c2)
        for i in range(4):
            stripe[i, 0] = half_width if 0 < i < 3 else -half_width
            stripe[i, 1] = radius * (c1 if i < 2 else c2)
        fill_body(canvas, stripe, 4, poses[w + 1], camera, _GREY)
    for part in range(len(_HULL)):
        count = _HULL_CORNERS[part]
        fill_body(canvas, _HULL[part, :count], count, poses[0], camera, _RED)
    shrink(canvas, frame)
