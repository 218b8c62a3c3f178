"""What happens along an episode: rows of curves or of weights over one axis of time.

The same rows are drawn twice: as SVG in a millisecond or two, for a page that moves a cursor over
it, and as a figure for a page that stands still.
"""

import base64
import html
import math
from dataclasses import dataclass

import numpy as np

from awm.errors import AwmError
from awm.figures.gallery import encode_png
from awm.figures.theme import FAINT, GRID, INK, MUTED, WEIGHT, panels

#: Pixels of the SVG: its width, and what stands beside and below the rows.
WIDTH, LEFT, RIGHT = 660, 118, 46
BOTTOM, _GAP = 22, 8
#: A row of so many pixels has levels inside; a smaller one says its extremes.
_TALL = 100


@dataclass(frozen=True)
class Line:
    """`values` [n], n at most the timeline's steps: a curve may end early. NaN is not drawn."""

    name: str
    values: np.ndarray
    color: str = INK
    dots: bool = False  #: also a dot for every value: what is measured now and then


@dataclass(frozen=True)
class Curves:
    """Lines over each other, between `limits` if given and else between their extremes."""

    lines: tuple[Line, ...]
    limits: tuple[float, float] | None = None
    height: int = 44

    def span(self) -> tuple[float, float]:
        """What the row reaches from and to."""
        if self.limits is not None:
            return self.limits
        values = np.concatenate([np.zeros(1), *(line.values for line in self.lines)])
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        return (low, high) if high > low else (low, low + 1)


@dataclass(frozen=True)
class Weights:
    """`weights` [steps, items] as a heat map, the first item on top; relative to even ones."""

    name: str
    weights: np.ndarray
    height: int = 112

    def picture(self) -> np.ndarray:
        """Colours uint8 [items, steps, 3]; white is nothing, dark is three times even and more."""
        relative = np.asarray(self.weights, float).T * np.shape(self.weights)[1]
        return WEIGHT(np.clip(relative / 3, 0, 1), bytes=True)[..., :3]


def x_of(step: float, steps: int) -> float:
    """Where a step lies in the SVG, pixels from the left."""
    return LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, steps - 1)


def height_of(rows) -> int:
    """How high the SVG of these rows is, in pixels."""
    return sum(row.height + _GAP for row in rows) + BOTTOM


def timeline_svg(rows, steps: int, xlabel: str = "step") -> str:
    """Rows of `Curves` and `Weights` over `steps` steps, as SVG."""
    parts, top = [], 4
    for row in rows:
        draw = _weights_svg if isinstance(row, Weights) else _curves_svg
        parts.append(draw(row, steps, top))
        top += row.height + _GAP
    for step in _ticks(steps):
        x = x_of(step, steps)
        parts.append(_text(x, top + 8, str(step), MUTED, "middle"))
    parts.append(_text(WIDTH - RIGHT + 6, top + 8, xlabel, MUTED))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height_of(rows)}" '
        'style="display: block; background: white; font: 11px sans-serif">'
        f"{''.join(parts)}</svg>"
    )


def timeline(rows, steps: int, xlabel: str = "step"):
    """The same as a Figure."""
    if not rows:
        raise AwmError("There is nothing to draw over time. Pass rows of curves or weights.")
    heights = [row.height for row in rows]
    fig, grid = panels(
        len(rows), 1, 0.6 + sum(heights) / 75, sharex=True, gridspec_kw={"height_ratios": heights}
    )
    for axes, row in zip(grid[:, 0], rows, strict=True):
        if isinstance(row, Weights):
            axes.imshow(row.picture(), aspect="auto", extent=(0, steps - 1, 0, 1))
            axes.set(yticks=[], ylabel=row.name)
            continue
        for line in row.lines:
            axes.plot(line.values, color=line.color, linewidth=1, label=line.name)
        low, high = row.span()
        axes.set(ylim=(low - 0.05 * (high - low), high + 0.05 * (high - low)))
        axes.tick_params(labelsize=6.5)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)
    axes.set(xlabel=xlabel, xlim=(0, steps - 1))
    return fig


def _curves_svg(row: Curves, steps: int, top: float) -> str:
    low, high = row.span()
    right, bottom = WIDTH - RIGHT, top + row.height

    def y_of(value):
        return bottom - row.height * (value - low) / (high - low)

    parts = [
        f'<rect x="{LEFT}" y="{top}" width="{right - LEFT}" height="{row.height}" '
        f'fill="none" stroke="{GRID}"/>'
    ]
    if low < 0 < high:
        parts.append(f'<path d="M{LEFT},{y_of(0):.1f}H{right}" stroke="{FAINT}"/>')
    marks = _levels(low, high) if row.height >= _TALL else (low, high)
    for value in marks:
        y = min(max(y_of(value), top + 5), bottom - 5)
        parts.append(_text(right + 6, y, _number(value), MUTED, size=9))
        if row.height >= _TALL:
            parts.append(f'<path d="M{LEFT},{y_of(value):.1f}H{right}" stroke="{GRID}"/>')
    for n, line in enumerate(row.lines):
        values = np.asarray(line.values, float)
        known = np.isfinite(values)
        x = x_of(np.flatnonzero(known), steps)
        y = y_of(np.clip(values[known], low, high))
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{line.color}" stroke-width="1.4"/>'
        )
        if line.dots and points:
            dots = points.replace(" ", "h0M")
            parts.append(
                f'<path d="M{dots}h0" stroke="{line.color}" stroke-width="6" '
                'stroke-linecap="round"/>'
            )
        middle = top + row.height / 2 + 13 * (n - (len(row.lines) - 1) / 2)
        parts.append(_text(LEFT - 8, middle, line.name, line.color, "end"))
    return "".join(parts)


def _weights_svg(row: Weights, steps: int, top: float) -> str:
    picture = base64.b64encode(encode_png(row.picture())).decode()
    half = (x_of(1, steps) - LEFT) / 2
    return (
        f'<image x="{LEFT - half:.1f}" y="{top}" width="{WIDTH - RIGHT - LEFT + 2 * half:.1f}" '
        f'height="{row.height}" preserveAspectRatio="none" style="image-rendering: pixelated" '
        f'href="data:image/png;base64,{picture}"/>'
        + _text(LEFT - 8, top + row.height / 2, row.name, INK, "end")
    )


def bars_svg(values, names, color: str, width: int = 360, height: int = 256) -> str:
    """Weights [n] as upright bars relative to even ones (the dashed level), as SVG.

    `names` [n] stand below the bars; an empty name is left out.
    """
    values = np.asarray(values, float) * len(values)
    most = max(3.0, float(values.max()))
    base, each = height - 40, (width - 8) / len(values)
    parts = [
        f'<path d="M4,{base * (1 - 1 / most):.1f}H{width - 4}" stroke="{FAINT}" '
        f'stroke-dasharray="4 3"/><path d="M4,{base}H{width - 4}" stroke="{FAINT}"/>'
    ]
    for i, (value, name) in enumerate(zip(values.tolist(), names, strict=True)):
        x, tall = 4 + i * each, base * value / most
        parts.append(
            f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{0.8 * each:.1f}" '
            f'height="{tall:.1f}" fill="{color}"/>'
        )
        if name:
            middle = x + 0.4 * each
            parts.append(
                f'<text transform="translate({middle:.1f},{base + 5}) rotate(-90)" fill="{MUTED}" '
                f'font-size="9" text-anchor="end" dominant-baseline="central">{name}</text>'
            )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'style="display: block; background: white; font: 11px sans-serif">{"".join(parts)}</svg>'
    )


def _text(x, y, text: str, color: str, anchor: str = "start", size: int = 11) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{color}" font-size="{size}" text-anchor="{anchor}" '
        f'dominant-baseline="central">{html.escape(text)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _levels(low: float, high: float) -> list[float]:
    """A few round values between two."""
    span = high - low
    every = next(e * 10.0**p for p in range(-9, 9) for e in (1, 2, 5) if span <= 6 * e * 10.0**p)
    return [n * every for n in range(math.ceil(low / every), math.floor(high / every) + 1)]


def _ticks(steps: int, most: int = 6) -> range:
    """At most so many round steps from 0."""
    every = next(e * 10**p for p in range(9) for e in (1, 2, 5) if steps <= most * e * 10**p)
    return range(0, steps, every)
