"""Draw what the camera sees, straight to 64×64, the way Gymnasium's window would shrink to it.

Gymnasium fills polygons in a 1000×800 window, shrinks it to 96×96 and the reference frame takes
the upper 84 rows of that, area-resized to 64×64. Here the same polygons are filled at 2×2 samples
for each of the 96×84 pixels, in the same order and with the same rounding of their corners, and
averaged with the same weights. The window itself is never drawn.

Colours are packed into one uint32 of three 10-bit fields, so that adding four samples adds all
three channels at once.
"""

import numpy as np
from numba import njit

from awm.racing.resize import FRAME_SIZE, VISIBLE_ROWS, area_weights

WINDOW_WIDTH, WINDOW_HEIGHT = 1000, 800
COLUMNS = 96
ROWS = VISIBLE_ROWS
SAMPLES_X, SAMPLES_Y = 2 * COLUMNS, 2 * ROWS
#: Window pixels between neighbouring samples.
STEP_X = WINDOW_WIDTH / SAMPLES_X
STEP_Y = WINDOW_HEIGHT / (2 * 96)

#: pygame's smoothscale truncates twice: a flat colour v comes back as v - 2.
TRUNCATION = 2.0
#: gfxdraw's anti-aliased outline widens every polygon by a fraction of a window pixel.
OUTLINE = 0.25

#: No visible point is further from the car than this, in window pixels: from (500, 600) to a
#: corner at the top.
REACH = float(np.hypot(500, 600))
#: The longest diagonal of a polygon that may be skipped when out of sight: a grass square's.
LARGEST = 24.0


def _sparse(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First source index and the (at most 3) weights of each target cell."""
    first = np.argmax(weights > 0, axis=1)
    taken = first[:, None] + np.arange(3)
    padded = np.pad(weights, ((0, 0), (0, 3)))
    return first.astype(np.int64), np.take_along_axis(padded, taken, axis=1)


_ROW_FIRST, _ROW_WEIGHTS = _sparse(area_weights(ROWS, FRAME_SIZE))


@njit(cache=True, inline="always")
def pack(red, green, blue):
    """Three channel values of 0 to 255 in the three 10-bit fields of a uint32."""
    return np.uint32(red) | (np.uint32(green) << np.uint32(10)) | (np.uint32(blue) << np.uint32(20))


@njit(cache=True)
def fill_polygon(samples, corners, count, colour, outline):
    """Fill a convex polygon.

    `corners` float64 `[count, 2]` are window coordinates with y upwards, truncated to whole
    pixels as pygame does. `samples` uint32 `[SAMPLES_Y, SAMPLES_X]` has the top row first.
    """
    low, high = 1e9, -1e9
    for i in range(count):
        y = np.trunc(corners[i, 1])
        low, high = min(low, y), max(high, y)
    # Row r samples the window's row floor((r + 1/2) STEP_Y) from the top, 799 minus that upwards.
    first = max(0, int(np.ceil((WINDOW_HEIGHT - 1 - high) / STEP_Y - 0.5)))
    last = min(SAMPLES_Y - 1, int(np.floor((WINDOW_HEIGHT - low) / STEP_Y - 0.5)))
    for row in range(first, last + 1):
        y = WINDOW_HEIGHT - 1 - np.floor((row + 0.5) * STEP_Y)
        left, right = 1e9, -1e9
        for i in range(count):
            j = i + 1 if i + 1 < count else 0
            x1, y1 = np.trunc(corners[i, 0]), np.trunc(corners[i, 1])
            x2, y2 = np.trunc(corners[j, 0]), np.trunc(corners[j, 1])
            if (y1 <= y <= y2) or (y2 <= y <= y1):
                if y1 == y2:
                    left, right = min(left, x1, x2), max(right, x1, x2)
                else:
                    x = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
                    left, right = min(left, x), max(right, x)
        if right < left:
            continue
        # The pixels left..right are painted, that is, the interval [left, right + 1).
        begin = max(0, int(np.ceil((left - outline) / STEP_X - 0.5)))
        end = min(SAMPLES_X, int(np.ceil((right + 1 + outline) / STEP_X - 0.5)))
        for column in range(begin, end):
            samples[row, column] = colour


@njit(cache=True)
def fill_world(samples, polygons, colours, camera, outline):
    """Fill quadrilaterals of the world, `[n, 4, 2]` in its units, as far as they are in sight."""
    x0, y0, cosine, sine, zoom = camera
    reach = REACH / zoom + LARGEST
    corners = np.empty((4, 2))
    for n in range(polygons.shape[0]):
        dx, dy = polygons[n, 0, 0] - x0, polygons[n, 0, 1] - y0
        if dx * dx + dy * dy > reach * reach:
            continue
        for i in range(4):
            dx, dy = polygons[n, i, 0] - x0, polygons[n, i, 1] - y0
            corners[i, 0] = (dx * cosine - dy * sine) * zoom + WINDOW_WIDTH / 2
            corners[i, 1] = (dx * sine + dy * cosine) * zoom + WINDOW_HEIGHT / 4
        colour = pack(int(colours[n, 0]), int(colours[n, 1]), int(colours[n, 2]))
        fill_polygon(samples, corners, 4, colour, outline)


@njit(cache=True)
def fill_body(samples, shape, count, pose, camera, colour):
    """Fill one convex part of the car, `shape` `[count, 2]` in the frame of a body at `pose`."""
    x0, y0, cosine, sine, zoom = camera
    x, y, angle = pose
    c, s = np.cos(angle), np.sin(angle)
    corners = np.empty((count, 2))
    for i in range(count):
        dx = shape[i, 0] * c - shape[i, 1] * s + x - x0
        dy = shape[i, 0] * s + shape[i, 1] * c + y - y0
        corners[i, 0] = (dx * cosine - dy * sine) * zoom + WINDOW_WIDTH / 2
        corners[i, 1] = (dx * sine + dy * cosine) * zoom + WINDOW_HEIGHT / 4
    fill_polygon(samples, corners, count, colour, 0.0)


@njit(cache=True)
def shrink(samples, planes, frame):
    """Average the samples into `planes` float32 `[3, ROWS, 96]`, then into `frame` uint8."""
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
def draw(samples, planes, frame, ground, grass, grass_colours, road, road_colours, car, poses,
         phases, zoom):  # fmt: skip
    """Draw one frame.

    `ground` is half the side of the field (black lies beyond) and the colour inside, float64
    `[4]`; `grass` `[m, 4, 2]` with `grass_colours` `[m, 3]` and `road` `[n, 4, 2]` with
    `road_colours` `[n, 3]` are quadrilaterals, back to front. `car` is the hull's parts
    (`[parts, 8, 2]`, corner counts `[parts]`) and the wheel's `[4, 2]`. `poses` `[5, 3]` are x, y
    and angle of the hull and the four wheels, `phases` `[4]` the wheels' rotation in radians.
    `samples` and `planes` are scratch; `frame` uint8 `[64, 64, 3]` is written.
    """
    hull_parts, hull_counts, wheel = car
    angle = -poses[0, 2]
    camera = (poses[0, 0], poses[0, 1], np.cos(angle), np.sin(angle), zoom)
    side, colour = ground[0], pack(int(ground[1]), int(ground[2]), int(ground[3]))
    if max(abs(poses[0, 0]), abs(poses[0, 1])) + REACH / zoom < side:
        samples[:] = colour
    else:
        samples[:] = 0
        corners = np.empty((4, 2))
        for i in range(4):
            dx = (side if i == 0 or i == 3 else -side) - poses[0, 0]
            dy = (side if i < 2 else -side) - poses[0, 1]
            corners[i, 0] = (dx * camera[2] - dy * camera[3]) * zoom + WINDOW_WIDTH / 2
            corners[i, 1] = (dx * camera[3] + dy * camera[2]) * zoom + WINDOW_HEIGHT / 4
        fill_polygon(samples, corners, 4, colour, OUTLINE)
    fill_world(samples, grass, grass_colours, camera, OUTLINE)
    fill_world(samples, road, road_colours, camera, OUTLINE)

    half_width, radius = wheel[0, 0], wheel[0, 1]
    stripe = np.empty((4, 2))
    for w in range(4):
        fill_body(samples, wheel, 4, poses[w + 1], camera, pack(0, 0, 0))
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
        fill_body(samples, stripe, 4, poses[w + 1], camera, pack(77, 77, 77))
    for part in range(hull_parts.shape[0]):
        shape, count = hull_parts[part], hull_counts[part]
        fill_body(samples, shape[:count], count, poses[0], camera, pack(204, 0, 0))
    shrink(samples, planes, frame)
