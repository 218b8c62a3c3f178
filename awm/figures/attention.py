"""What M attends to: over the frame, over the entries of [z, a], over its own past.

Weights are a softmax: not negative, summing to one over what is attended to. Colours are relative
to even attention (1 / number of entries), so that figures of different width compare.
"""

import numpy as np

from awm.errors import AwmError
from awm.figures.theme import BLUE, INK, MUTED, WEIGHT, WIDTH, bare, figure, tint

#: Where the cells of V's third convolution lie in the frame: three 4×4 convolutions of stride 2
#: make one cell see 22 pixels, every 8 pixels, the first around pixel 10.5.
_STRIDE, _CENTRE, _FIELD = 8, 10.5, 22


def overlay_attention(frames, weights, scale: int = 4) -> np.ndarray:
    """Frames, lit where M attends and dim elsewhere, for `save_gif` and `save_image`.

    `frames` uint8 [T, 64, 64, 3] (or one [64, 64, 3]) and `weights` [T, 6, 6] or [T, 36] give
    uint8 [T, 64 scale, 64 scale, 3]. A cell spreads over the pixels that it sees.
    """
    frames = np.asarray(frames)
    weights = np.asarray(weights, np.float32)
    single = frames.ndim == 3
    if single:
        frames, weights = frames[None], weights[None]
    if weights.size != len(frames) * 36:
        raise AwmError(
            f"Attention over a frame has 6 × 6 weights, not {list(weights.shape[1:])}. "
            "Pass the weights of attention='spatial', one map a frame."
        )
    light = _spread(weights.reshape(-1, 6, 6), frames.shape[1] * scale, scale)
    # Even attention is 1. The brightest place of a map keeps its colours, the rest fades.
    light = (light / light.max(axis=(1, 2), keepdims=True))[..., None]
    large = frames.repeat(scale, axis=1).repeat(scale, axis=2).astype(np.float32)
    grey = large.mean(axis=-1, keepdims=True) * 0.3
    lit = np.round(grey + (large - grey) * light).astype(np.uint8)
    return lit[0] if single else lit


def attention_over_frame(frame, weights, titles=None):
    """Frames above the same frames lit by attention; returns a Figure.

    `frame` is uint8 [64, 64, 3] with `weights` [6, 6], or [n, 64, 64, 3] with [n, 6, 6].
    """
    frames, weights = np.asarray(frame), np.asarray(weights, float)
    if frames.ndim == 3:
        frames, weights = frames[None], weights[None]
    lit = overlay_attention(frames, weights)
    weights = weights.reshape(-1, 6, 6)
    count = len(frames)
    if count == 1:
        fig = figure(2.85)
        axes = fig.subplots(1, 3)
        pictures = [(frames[0], "frame"), (lit[0], "attended"), (None, "weights")]
        for one, (picture, title) in zip(axes, pictures, strict=True):
            if picture is None:
                _cells(fig, one, weights[0])
            else:
                one.imshow(picture)
                bare(one)
            one.set_title(title, loc="center", weight="normal")
        return fig
    fig = figure(2 * WIDTH / count + (0.25 if titles else 0.1))
    grid = fig.subplots(2, count)
    fig.get_layout_engine().set(w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)
    for j in range(count):
        for i, picture in enumerate((frames[j], lit[j])):
            grid[i, j].imshow(picture)
            bare(grid[i, j])
        if titles:
            grid[0, j].set_title(titles[j], loc="center", weight="normal", fontsize=7.5, pad=3)
    return fig


def attention_over_entries(weights, z_size: int = 32):
    """Attention over [z, a] in time: `weights` [T, 35], entries 0–31 of z, then the action.

    Above, the weights step by step; on the right, their mean. Returns a Figure.
    """
    weights = np.asarray(weights, float)
    names = ["steer", "gas", "brake"]
    entries = weights.shape[1]
    fig, axes, side = _map(weights, "entry of [z, a]", 4.6)
    ticks = [*range(0, z_size, 4), *range(z_size, entries)]
    labels = [f"z{i}" for i in range(0, z_size, 4)] + names[: entries - z_size]
    axes.set_yticks(ticks, labels, fontsize=6.5)
    for one in (axes, side):
        one.axhline(z_size - 0.5, color=INK, linewidth=0.8)
    return fig


def attention_over_time(weights):
    """Attention over M's own past: `weights` [T, 32], the most recent hidden state last.

    The vertical axis counts steps back from now. Returns a Figure.
    """
    weights = np.asarray(weights, float)[:, ::-1]
    fig, axes, _ = _map(weights, "steps back", 3.2)
    steps = weights.shape[1]
    ticks = [0, *range(7, steps, 8)]
    axes.set_yticks(ticks, [str(tick + 1) for tick in ticks], fontsize=7)
    return fig


def _spread(weights: np.ndarray, size: int, scale: int) -> np.ndarray:
    """Cells [T, 6, 6] as light on the frame's pixels [T, size, size]; even attention gives 1."""
    pixels = (np.arange(size) + 0.5) / scale
    centres = _CENTRE + 0.5 + _STRIDE * np.arange(6)
    # A bell around each cell, within what it sees. A pixel's light is the bells' weighted mean, so
    # that the frame's border, which few cells see, is not darker for that.
    bells = np.exp(-0.5 * ((pixels[:, None] - centres) / (_FIELD / 4)) ** 2)
    bells /= bells.sum(axis=1, keepdims=True)
    return 36 * np.einsum("yi,tij,xj->tyx", bells, weights, bells)


def _cells(fig, axes, weights: np.ndarray) -> None:
    share = weights / weights.sum()
    most = max(share.max(), 4 / share.size)  # even attention is pale
    axes.imshow(share, cmap=WEIGHT, vmin=0, vmax=most)
    bare(axes)
    for (i, j), value in np.ndenumerate(share):
        axes.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=7,
                  color="white" if value > 0.6 * most else INK)  # fmt: skip
    axes.set_xlabel("percent; even: 2.8", fontsize=7.5, color=MUTED)


def _map(weights: np.ndarray, ylabel: str, height: float):
    """A heat map [T, entries] with time to the right, and the mean of each entry beside it."""
    fig = figure(height)
    axes, side = fig.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": (5, 1)})
    entries = weights.shape[1]
    relative = weights * entries
    image = axes.imshow(
        relative.T, aspect="auto", cmap=WEIGHT, vmin=0,
        vmax=max(2.0, float(np.quantile(relative, 0.998))), interpolation="nearest",
    )  # fmt: skip
    axes.set(xlabel="step", ylabel=ylabel)
    axes.grid(False)
    bar = fig.colorbar(
        image, ax=axes, location="top", aspect=50, shrink=0.5, pad=0.02, anchor=(0, 0)
    )
    bar.set_label("attention, relative to even", fontsize=7.5)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    side.barh(range(entries), relative.mean(axis=0), color=tint(BLUE, 0.75), height=0.75)
    side.axvline(1, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    side.set_xlabel("mean (1: even)")
    side.tick_params(axis="y", labelleft=False)
    side.grid(False, axis="y")
    side.set_xlim(left=0)
    return fig, axes, side
