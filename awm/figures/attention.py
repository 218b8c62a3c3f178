"""What M attends to: over the frame, over the entries of [z, a], over its own past.

Weights are a softmax: not negative, summing to one over what is attended to. Colours are relative
to even attention (1 / number of entries), so that figures of different width compare.
"""

import numpy as np

from awm.errors import AwmError
from awm.figures.pictures import frame_grid
from awm.figures.theme import (
    BLUE,
    LEVEL,
    MUTED,
    PALETTE,
    WEIGHT,
    bare,
    drawing,
    enlarge,
    figure,
    is_narrow,
    tint,
    width,
)

#: Pixels between the places of V's map. They lie in the middle of the frame, to within a pixel, and
#: together see all of it.
_STRIDE = 8


def _side(weights: np.ndarray, count: int) -> int:
    """Rows and columns of `count` maps of weights: 6 or 7, by V's encoder. AwmError if none are."""
    side = round((weights.size / count) ** 0.5)
    if side < 2 or side * side * count != weights.size:
        raise AwmError(
            f"Attention over {count} frames has n × n weights for each, not {list(weights.shape)}. "
            "Pass the weights of spatial attention, one map a frame."
        )
    return side


def overlay_attention(frames, weights, scale: int = 4) -> np.ndarray:
    """Frames, lit where M attends and dim elsewhere, for `save_gif` and `save_image`.

    `frames` uint8 [T, 64, 64, 3] (or one [64, 64, 3]) and `weights` [T, n, n] or [T, n · n] give
    uint8 [T, 64 scale, 64 scale, 3]. A place spreads over the pixels that it sees.
    """
    frames, weights = np.asarray(frames), np.asarray(weights, np.float32)
    if frames.ndim == 3:
        return overlay_attention(frames[None], weights[None], scale)[0]
    side = _side(weights, len(frames))
    large = enlarge(frames, scale).astype(np.float32)
    pixels = (np.arange(large.shape[1]) + 0.5) / scale
    field = 64 - _STRIDE * (side - 1)  # what a place sees
    centres = field / 2 + _STRIDE * np.arange(side)
    # A bell around each place, within what it sees. A pixel's light is the bells' weighted mean, so
    # that the frame's border, which few places see, is not darker for that.
    bells = np.exp(-0.5 * ((pixels[:, None] - centres) / (field / 4)) ** 2)
    bells /= bells.sum(axis=1, keepdims=True)
    light = np.einsum("yi,tij,xj->tyx", bells, weights.reshape(-1, side, side), bells)
    # The brightest place of a map keeps its colours, the rest fades.
    light = (light / light.max(axis=(1, 2), keepdims=True))[..., None]
    grey = large.mean(axis=-1, keepdims=True) * 0.3
    return np.round(grey + (large - grey) * light).astype(np.uint8)


@drawing
def attention_over_frame(frame, weights, titles=None):
    """Frames above the same frames lit by attention; returns a Figure.

    `frame` is uint8 [T, 64, 64, 3] with `weights` [T, n, n] or [T, n · n], or one [64, 64, 3] with
    [n, n] or [n · n], whose weights are then shown too, in percent.
    """
    lit = overlay_attention(frame, weights)
    if np.ndim(frame) == 4:
        return frame_grid([frame, lit], column_titles=titles)
    fig = figure(0.41 * width())
    axes = fig.subplots(1, 3)
    side = _side(np.asarray(weights), 1)
    share = np.reshape(weights, (side, side)) / np.sum(weights)
    most = max(share.max(), 4 / share.size)  # even attention is pale
    for one, picture, title in zip(
        axes, (frame, lit, share), ("frame", "attended", "weights"), strict=True
    ):
        one.imshow(picture, cmap=WEIGHT, vmin=0, vmax=most)
        bare(one)
        one.set_title(title, loc="center", weight="normal")
    for (i, j), value in np.ndenumerate(share):
        color = PALETTE["chalk" if value > 0.6 * most else "tyre"][0]  # the map is never dark
        axes[2].text(
            j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=7.5, color=color
        )
    axes[2].set_xlabel(f"percent; even: {100 / share.size:.1f}", fontsize=7.5, color=MUTED)
    return fig


@drawing
def attention_over_entries(weights, z_size: int = 32):
    """Attention over [z, a] in time: `weights` [T, 35], entries 0–31 of z, then the action.

    The weights step by step; on the right, their mean. Returns a Figure.
    """
    entries = np.shape(weights)[1]
    ticks = {n: f"z{n}" for n in range(0, z_size, 4)}
    ticks |= dict(zip(range(z_size, entries), ("steer", "gas", "brake"), strict=False))
    fig = _heat_map(weights, "entry of [z, a]", 4.6, ticks)
    for axes in fig.axes[:2]:
        axes.axhline(z_size - 0.5, color=MUTED, linewidth=0.8)
    return fig


@drawing
def attention_over_time(weights):
    """Attention over M's own past: `weights` [T, 32], the most recent hidden state last.

    The vertical axis counts steps back from now. Returns a Figure.
    """
    weights = np.asarray(weights)[:, ::-1]
    ticks = {n: str(n + 1) for n in (0, *range(7, weights.shape[1], 8))}
    return _heat_map(weights, "steps back", 3.2, ticks)


def _heat_map(weights, ylabel: str, height: float, ticks: dict[int, str]):
    """Weights [T, entries] with time to the right, and the mean of each entry beside it."""
    fig = figure(height)
    axes, side = fig.subplots(1, 2, sharey=True, gridspec_kw={"width_ratios": (5, 1)})
    relative = np.asarray(weights, float) * np.shape(weights)[1]
    most = max(2.0, float(np.quantile(relative, 0.998)))
    image = axes.imshow(relative.T, aspect="auto", cmap=WEIGHT, vmin=0, vmax=most)
    axes.set(xlabel="step", ylabel=ylabel)
    axes.set_yticks([*ticks], [*ticks.values()], fontsize=7.5)
    axes.grid(False)
    above = {"location": "top", "aspect": 50, "shrink": 0.5, "pad": 0.02, "anchor": (0, 0)}
    bar = fig.colorbar(image, ax=axes, **above)
    bar.set_label("attention, relative to even", fontsize=7.5)
    bar.ax.tick_params(labelsize=7.5)
    bar.outline.set_visible(False)
    style = {"color": tint(BLUE, 0.75), "label": "mean"}
    side.barh(range(relative.shape[1]), relative.mean(axis=0), 0.75, **style)
    side.axvline(1, **LEVEL)
    side.set(xlabel="mean" if is_narrow() else "mean (1: even)", xlim=(0, None))
    side.tick_params(axis="y", labelleft=False)
    side.grid(False, axis="y")
    return fig
