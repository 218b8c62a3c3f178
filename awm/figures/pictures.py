"""Frames side by side: what V sees, makes of it, and gets wrong, and where M looks.

Pictures are uint8 [64, 64, 3]. Every function returns a matplotlib Figure unless it says so.
"""

import numpy as np

from awm.errors import AwmError
from awm.figures.theme import (
    HEAT,
    INK,
    MUTED,
    VERMILION,
    bare,
    drawing,
    enlarge,
    figure,
    is_narrow,
    tint,
    width,
)


@drawing
def frame_grid(rows, titles=None, column_titles=None, notes=None):
    """Frames in rows: `rows` is a list of uint8 arrays [n, 64, 64, 3], each with its title.

    `notes` may hold a word for each picture of each row, written under it ([row][column]).
    """
    notes = notes or [None] * len(rows)
    fig, grid = _grid(len(rows), max(map(len, rows)), titles, column_titles, [*map(bool, notes)])
    for boxes, row, words in zip(grid, rows, notes, strict=True):
        for axes, picture, word in zip(boxes, row, words or [""] * len(row), strict=False):
            axes.imshow(picture)
            axes.text(32, 65.5, word, ha="center", va="top", fontsize=7.5, color=MUTED)
    return fig


def _grid(rows, columns, titles=None, column_titles=None, noted=(), label=0.95):
    """A figure and its bare, square axes [rows][columns], with titles at the left and above.

    `label` is the room for titles, inches: for a phone they stand above their rows. `noted` says
    which rows have a line of text below.
    """
    above = 0.17 if titles and is_narrow() else 0
    label = label if titles and not above else 0.05
    top = 0.25 if column_titles else 0.03
    side = (width() - label) / columns - 0.05
    steps = [above + side + (0.2 if n < len(noted) and noted[n] else 0.05) for n in range(rows)]
    height = top + sum(steps)
    fig = figure(height, "none")
    grid = []
    for i in range(rows):
        bottom = height - top - sum(steps[:i]) - above - side
        grid.append([])
        for j in range(columns):
            left = label + j * (side + 0.05)
            box = (left / width(), bottom / height, side / width(), side / height)
            axes = fig.add_axes(box)
            bare(axes)
            grid[-1].append(axes)
            if column_titles and i == 0:
                # Above the row's own title.
                style = {"loc": "center", "fontsize": 7.5, "weight": "normal"}
                axes.set_title(column_titles[j], pad=3 + 72 * above, **style)
        if titles and above:
            place = label / width(), (bottom + side + 0.04) / height
            title = titles[i].replace("\n", " ")
            fig.text(*place, title, ha="left", va="bottom", fontsize=8)
        elif titles:
            place = (label - 0.08) / width(), (bottom + side / 2) / height
            fig.text(*place, titles[i], ha="right", va="center", fontsize=8)
    return fig, grid


@drawing
def reconstruction_pairs(originals, reconstructions, titles=None):
    """Frames, what V makes of them, and where it errs; both are uint8 [n, 64, 64, 3].

    `titles` [n] stand above the columns. The number under a column is its squared error, summed
    over pixels and channels in [0, 1].
    """
    originals, reconstructions = np.asarray(originals), np.asarray(reconstructions)
    if originals.shape != reconstructions.shape:
        raise AwmError(
            f"There are {len(originals)} originals and {len(reconstructions)} reconstructions. "
            "Pass one reconstruction a frame."
        )
    errors = squared_error(originals, reconstructions)
    return frame_grid(
        [originals, reconstructions, error_picture(errors)],
        ["original", "reconstruction", "squared\nerror"],
        titles,
        [None, None, [f"{total:.1f}" for total in errors.sum(axis=(1, 2))]],
    )


def squared_error(original, reconstruction):
    """Squared difference of uint8 pictures [..., H, W, 3] in units of [0, 1], channels summed."""
    difference = (np.asarray(original, np.float32) - np.asarray(reconstruction, np.float32)) / 255
    return (difference**2).sum(axis=-1)


def error_picture(errors, most=0.5):
    """Squared errors [..., H, W] as uint8 [..., H, W, 3]: black is none, bright `most` or more."""
    # The root, so that the small errors that most of the picture has can be seen at all.
    return HEAT(np.sqrt(np.clip(errors / most, 0, 1)), bytes=True)[..., :3]


@drawing
def latent_traversal(images, dims, values, kl):
    """What each latent does: `images` uint8 [dims, steps, 64, 64, 3], one row a latent.

    `dims` are the latents' numbers, `values` [steps] what they were set to, `kl` [dims] the
    nats that each carries.
    """
    titles = [f"z{dim}\n{nats:.1f} nats" for dim, nats in zip(dims, kl, strict=True)]
    return frame_grid(images, titles, [_signed(value) for value in values])


@drawing
def attention_over_frame(frames, weights, titles=None):
    """Frames [T, 64, 64, 3] above the same lit by attention; `weights` [T, n, n] or [T, n · n]."""
    return frame_grid([frames, overlay_attention(frames, weights)], column_titles=titles)


def overlay_attention(frames, weights, scale: int = 4) -> np.ndarray:
    """Frames, lit where M attends and dim elsewhere, for `save_gif` and `save_image`.

    `frames` uint8 [T, 64, 64, 3] (or one [64, 64, 3]) and `weights` [T, n, n] or [T, n · n] give
    uint8 [T, 64 scale, 64 scale, 3]. A place of V's map, of 6 × 6 or 7 × 7, spreads over the pixels
    that it sees.
    """
    frames, weights = np.asarray(frames), np.asarray(weights, np.float32)
    if frames.ndim == 3:
        return overlay_attention(frames[None], weights[None], scale)[0]
    side = round((weights.size / len(frames)) ** 0.5)
    if side < 2 or side * side * len(frames) != weights.size:
        raise AwmError(
            f"Attention over {len(frames)} frames has n × n weights for each, not "
            f"{list(weights.shape)}. Pass the weights of spatial attention, one map a frame."
        )
    large = enlarge(frames, scale).astype(np.float32)
    seen = bells(side, large.shape[1])
    light = np.einsum("iy,tij,jx->tyx", seen, weights.reshape(-1, side, side), seen)
    # The brightest place of a map keeps its colours, the rest fades.
    light = (light / light.max(axis=(1, 2), keepdims=True))[..., None]
    grey = large.mean(axis=-1, keepdims=True) * 0.3
    return np.round(grey + (large - grey) * light).astype(np.uint8)


def bells(side: int, pixels: int) -> np.ndarray:
    """What each row, or column, of V's map sees of a frame that many pixels wide, [side, pixels].

    A bell around each place, within what it sees. A pixel's light is the bells' weighted mean, so
    that the frame's border, which few places see, is not darker for that.
    """
    # Places lie 8 pixels apart, in the middle of the frame, to within a pixel, and see all of it.
    field = 64 - 8 * (side - 1)
    centres = field / 2 + 8 * np.arange(side)
    at = (np.arange(pixels) + 0.5) * 64 / pixels
    seen = np.exp(-0.5 * ((at - centres[:, None]) / (field / 4)) ** 2)
    return seen / seen.sum(axis=0)


@drawing
def laps(recordings, titles):
    """Laps that went wrong, a row each: the path on the road from above, and the crucial moments.

    `recordings` have `frames`, `rewards`, `path` and `road`; `titles` is one a lap. Time zero is
    the last step that earned a tile before the longest time without one; a dot marks it on the
    path.
    """
    moments = (-20, -10, 0, 10, 30)  # steps after it whose frames are shown
    above = ["", *("last tile" if at == 0 else f"{_signed(at)} steps" for at in moments)]
    fig, grid = _grid(len(recordings), len(above), titles, above, label=1.0)
    for (plan, *boxes), lap in zip(grid, recordings, strict=True):
        zero = last_tile_before_trouble(lap.rewards)
        plan.plot(*np.concatenate([lap.road, lap.road[:1]]).T, color=tint(INK, 0.25), linewidth=3)
        plan.plot(*lap.path.T, color=INK, linewidth=0.8)
        plan.plot(*lap.path[zero], "o", color=VERMILION, markersize=4)
        plan.set_aspect("equal", adjustable="datalim")
        for axes, moment in zip(boxes, moments, strict=True):
            if 0 <= zero + moment < len(lap.frames):
                axes.imshow(lap.frames[zero + moment])
    return fig


def last_tile_before_trouble(rewards) -> int:
    """The step before the longest time in which no tile was earned."""
    tiles = np.flatnonzero(np.asarray(rewards) > 0)
    waits = np.diff(np.append(tiles, len(rewards)))
    return int(tiles[waits.argmax()]) if len(tiles) else 0


def _signed(value: float) -> str:
    """+1, −0.5, 0: with a minus sign, and no more digits than it takes."""
    return "0" if abs(value) < 1e-9 else f"{value:+.2g}".replace("-", "−")
