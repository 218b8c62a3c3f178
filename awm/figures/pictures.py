"""Frames side by side: what V sees, makes of it, and gets wrong.

Pictures are uint8 [64, 64, 3]. Every function returns a matplotlib Figure unless it says so.
"""

import numpy as np

from awm.errors import AwmError
from awm.figures.theme import HEAT, INK, MUTED, VERMILION, WIDTH, bare, figure, tint


def frame_grid(rows, titles=None, column_titles=None, notes=None):
    """Frames in rows: `rows` is a list of uint8 arrays [n, 64, 64, 3], each with its title.

    `notes` may hold a word for each picture of each row, written under it ([row][column]).
    """
    rows = [np.asarray(row) for row in rows]
    columns = max(len(row) for row in rows)
    label = 0.95 if titles else 0.05
    side = (WIDTH - label) / columns
    under = [0.2 if notes and notes[i] else 0.05 for i in range(len(rows))]
    top = 0.25 if column_titles else 0.03
    height = top + len(rows) * (side - 0.05) + sum(under)
    fig = figure(height)
    fig.set_layout_engine("none")
    for i, row in enumerate(rows):
        bottom = height - top - (i + 1) * (side - 0.05) - sum(under[:i])
        for j, picture in enumerate(row):
            axes = fig.add_axes(
                (
                    (label + j * side) / WIDTH,
                    bottom / height,
                    (side - 0.05) / WIDTH,
                    (side - 0.05) / height,
                )
            )
            axes.imshow(picture)
            bare(axes)
            if column_titles and i == 0:
                axes.set_title(column_titles[j], loc="center", fontsize=7.5, weight="normal", pad=3)
            if notes and notes[i]:
                axes.text(0.5, -0.03, notes[i][j], transform=axes.transAxes, ha="center", va="top",
                          fontsize=7, color=MUTED)  # fmt: skip
        if titles:
            middle = bottom + (side - 0.05) / 2
            fig.text(
                (label - 0.08) / WIDTH, middle / height, titles[i], ha="right", va="center",
                fontsize=8,
            )  # fmt: skip
    return fig


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
    totals = errors.sum(axis=(1, 2))
    notes = [f"{total:.1f}" for total in totals]
    return frame_grid(
        [originals, reconstructions, error_picture(errors)],
        ["original", "reconstruction", "squared\nerror"],
        titles,
        notes=[None, None, notes],
    )


def squared_error(original, reconstruction):
    """Squared difference of uint8 pictures [..., H, W, 3] in units of [0, 1], channels summed."""
    difference = (np.asarray(original, np.float32) - np.asarray(reconstruction, np.float32)) / 255
    return (difference**2).sum(axis=-1)


def error_picture(errors, most=0.5):
    """Squared errors [..., H, W] as uint8 [..., H, W, 3]: black is none, bright `most` or more."""
    # The root, so that the small errors that most of the picture has can be seen at all.
    return HEAT(np.sqrt(np.clip(errors / most, 0, 1)), bytes=True)[..., :3]


def latent_traversal(images, dims=None, values=None, kl=None):
    """What each latent does: `images` uint8 [dims, steps, 64, 64, 3], one row a latent.

    `dims` are the latents' numbers, `values` [steps] what they were set to, `kl` [dims] the
    nats that each carries.
    """
    images = np.asarray(images)
    dims = range(len(images)) if dims is None else dims
    titles = [f"z{dim}" for dim in dims]
    if kl is not None:
        titles = [f"{title}\n{nats:.1f} nats" for title, nats in zip(titles, kl, strict=True)]
    columns = None if values is None else [_signed(value) for value in values]
    return frame_grid(list(images), titles, columns)


def laps(recordings, titles, moments=(-20, -10, 0, 10, 30)):
    """Laps that went wrong, a row each: the path on the road from above, and the crucial moments.

    `recordings` are those of `awm.rollout.record`, `titles` one a lap. Time zero is the last step
    that earned a tile before the longest time without one; a dot marks it on the path. `moments`
    are the steps before and after it whose frames are shown.
    """
    columns = len(moments) + 1
    label = 1.0
    side = (WIDTH - label) / columns
    height = 0.25 + len(recordings) * side
    fig = figure(height)
    fig.set_layout_engine("none")
    for i, (lap, title) in enumerate(zip(recordings, titles, strict=True)):
        zero = _last_tile_before_trouble(lap.rewards)
        bottom = height - 0.25 - (i + 1) * side
        boxes = [
            fig.add_axes(((label + j * side) / WIDTH, bottom / height,
                          (side - 0.05) / WIDTH, (side - 0.05) / height))
            for j in range(columns)
        ]  # fmt: skip
        road, path = np.concatenate([lap.road, lap.road[:1]]), lap.path
        boxes[0].plot(*road.T, color=tint(INK, 0.25), linewidth=3)
        boxes[0].plot(*path.T, color=INK, linewidth=0.8)
        boxes[0].plot(*path[zero], "o", color=VERMILION, markersize=4)
        boxes[0].set_aspect("equal", adjustable="datalim")
        bare(boxes[0])
        for axes, moment in zip(boxes[1:], moments, strict=True):
            bare(axes)
            if 0 <= zero + moment < len(lap.frames):
                axes.imshow(lap.frames[zero + moment])
            if i == 0:
                word = "last tile" if moment == 0 else f"{_signed(moment)} steps"
                axes.set_title(word, loc="center", fontsize=7.5, weight="normal", pad=3)
        fig.text((label - 0.08) / WIDTH, (bottom + side / 2) / height, title, ha="right",
                 va="center", fontsize=7.5)  # fmt: skip
    return fig


def _last_tile_before_trouble(rewards) -> int:
    """The step before the longest time in which no tile was earned."""
    tiles = np.flatnonzero(np.asarray(rewards) > 0)
    if not len(tiles):
        return 0
    waits = np.diff(np.append(tiles, len(rewards)))
    return int(tiles[waits.argmax()])


def _signed(value: float) -> str:
    """+1, −0.5, 0: with a minus sign, and no more digits than it takes."""
    return "0" if abs(value) < 1e-9 else f"{value:+.2g}".replace("-", "−")
