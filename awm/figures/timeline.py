"""What happens along an episode: rows of curves or of weights over one axis of time, as SVG.

SVG, because it takes a millisecond or two: a widget moves a cursor over it, and a page that stands
still shows the same picture.
"""

import base64
import html
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from awm.errors import AwmError
from awm.figures.gallery import encode_png
from awm.figures.theme import FAINT, GRID, INK, MUTED, WEIGHT

#: Pixels of the SVG: its width, and what stands beside and below the rows.
WIDTH, LEFT, RIGHT = 660, 118, 46
BOTTOM, _GAP = 22, 8
#: A row of so many pixels has levels inside; a smaller one says its extremes.
_TALL = 100


class Svg(str):
    """A picture in SVG; a notebook draws it."""

    def _repr_svg_(self) -> str:
        return str(self)


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

    def draw(self, steps: int, top: float) -> str:
        values = np.concatenate([[0.0], *(line.values for line in self.lines)])
        low, high = self.limits or (float(np.nanmin(values)), float(np.nanmax(values)))
        high = high if high > low else low + 1
        right, bottom = WIDTH - RIGHT, top + self.height

        def level(value):
            return bottom - self.height * (value - low) / (high - low)

        frame = {"width": right - LEFT, "height": self.height, "fill": "none", "stroke": GRID}
        parts = [_tag("rect", x=LEFT, y=top, **frame)]
        if low < 0 < high:
            parts.append(_tag("path", d=f"M{LEFT},{level(0):.1f}H{right}", stroke=FAINT))
        tall = self.height >= _TALL
        for value in _round(low, high) if tall else (low, high):
            y = min(max(level(value), top + 5), bottom - 5)
            number = f"{value:.3g}".replace("-", "−")
            parts.append(_text(right + 6, y, number, MUTED, font_size=9))
            if tall:
                parts.append(_tag("path", d=f"M{LEFT},{level(value):.1f}H{right}", stroke=GRID))
        for n, line in enumerate(self.lines):
            values = np.asarray(line.values, float)
            known = np.flatnonzero(np.isfinite(values))
            x, y = x_of(known, steps), level(np.clip(values[known], low, high))
            points = [f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True)]
            pen = {"fill": "none", "stroke": line.color}
            parts.append(_tag("polyline", points=" ".join(points), stroke_width=1.4, **pen))
            if line.dots and points:
                dots = "".join(f"M{point}h0" for point in points)
                parts.append(_tag("path", d=dots, stroke_width=6, stroke_linecap="round", **pen))
            middle = top + self.height / 2 + 13 * (n - (len(self.lines) - 1) / 2)
            parts.append(_text(LEFT - 8, middle, line.name, line.color, text_anchor="end"))
        return "".join(parts)


@dataclass(frozen=True)
class Weights:
    """`weights` [steps, items] as a heat map, the first item on top; relative to even ones."""

    name: str
    weights: np.ndarray
    height: int = 112

    def draw(self, steps: int, top: float) -> str:
        # White is nothing, dark is three times even and more.
        relative = np.asarray(self.weights, float).T * np.shape(self.weights)[1]
        pixels = WEIGHT(np.clip(relative / 3, 0, 1), bytes=True)[..., :3]
        picture = "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode()
        half = (x_of(1, steps) - LEFT) / 2
        place = {"x": LEFT - half, "y": top, "width": WIDTH - RIGHT - LEFT + 2 * half}
        style = {"preserveAspectRatio": "none", "style": "image-rendering: pixelated"}
        image = _tag("image", href=picture, height=self.height, **place, **style)
        return image + _text(LEFT - 8, top + self.height / 2, self.name, INK, text_anchor="end")


def x_of(step, steps: int):
    """Where a step lies in the SVG, pixels from the left."""
    return LEFT + (WIDTH - LEFT - RIGHT) * step / max(1, steps - 1)


def height_of(rows) -> int:
    """How high the SVG of these rows is, in pixels."""
    return sum(row.height + _GAP for row in rows) + BOTTOM


def timeline(rows, steps: int, xlabel: str = "step") -> Svg:
    """Rows of `Curves` and `Weights` over `steps` steps."""
    if not rows:
        raise AwmError("There is nothing to draw over time. Pass rows of curves or weights.")
    parts, top = [], 4
    for row in rows:
        parts.append(row.draw(steps, top))
        top += row.height + _GAP
    for step in _round(0, max(1, steps - 1)):
        parts.append(_text(x_of(step, steps), top + 8, f"{step:.0f}", MUTED, text_anchor="middle"))
    parts.append(_text(WIDTH - RIGHT + 14, top + 8, xlabel, MUTED))
    return _svg(WIDTH, height_of(rows), parts)


def bars(values, names, color: str, width: int = 360, height: int = 256) -> Svg:
    """Weights [n] as upright bars relative to even ones (the dashed level).

    `names` [n] stand below the bars; an empty name is left out.
    """
    values = np.asarray(values, float) * len(values)
    base, each = height - 40, (width - 8) / len(values)
    scale = base / max(3.0, float(values.max()))
    across = {"stroke": FAINT, "d": f"M4,{base - scale:.1f}H{width - 4}"}
    parts = [_tag("path", stroke_dasharray="4 3", **across)]
    parts.append(_tag("path", **across | {"d": f"M4,{base}H{width - 4}"}))
    for i, (tall, name) in enumerate(zip((values * scale).tolist(), names, strict=True)):
        x = 4 + i * each
        parts.append(_tag("rect", x=x, y=base - tall, width=0.8 * each, height=tall, fill=color))
        upright = f"translate({x + 0.4 * each:.1f},{base + 5}) rotate(-90)"
        style = {"font_size": 9, "text_anchor": "end", "transform": upright}
        parts.append(_text(0, 0, name, MUTED, **style))
    return _svg(width, height, parts)


def _round(low: float, high: float) -> list[float]:
    """A few round values between two."""
    values = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [float(value) for value in values if low <= value <= high]


def _svg(width: int, height: int, parts: list[str]) -> Svg:
    style = "display: block; background: white; font: 11px sans-serif"
    size = {"width": width, "height": height, "xmlns": "http://www.w3.org/2000/svg"}
    return Svg(_tag("svg", "".join(parts), style=style, **size))


def _text(x, y, text: str, color: str, **style) -> str:
    style = {"x": x, "y": y, "fill": color, "dominant_baseline": "central", **style}
    return _tag("text", html.escape(text), **style)


def _tag(name: str, inside: str = "", **attributes) -> str:
    """An element of SVG; numbers are rounded to tenths of a pixel."""
    written = "".join(
        f' {key.replace("_", "-")}="{f"{value:.1f}" if isinstance(value, float) else value}"'
        for key, value in attributes.items()
    )
    return f"<{name}{written}>{inside}</{name}>"
