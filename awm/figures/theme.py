"""One look for every figure: colours, type and sizes.

Importing `awm.figures` makes this matplotlib's current style, so a figure that a notebook
draws by hand looks like the rest. The colours are Okabe and Ito's, which people with any
common colour vision tell apart; orange is darkened until it stands 3:1 against white.
"""

import io
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

from awm.ids import SEEN, Memory

#: Inches. Every figure has the report's column width, so that type is one size throughout.
WIDTH = 7.0
#: Pixels an inch in saved files: twice what the column shows, for dense screens.
DPI = 200

INK = "#22272e"
MUTED = "#667079"
FAINT = "#c9cfd5"
GRID = "#e8ebee"

BLUE = "#0072b2"
GREEN = "#009e73"
VERMILION = "#d55e00"
PINK = "#c05f96"
ORANGE = "#c98a00"
GREY = "#858d94"
SKY = "#4a9fd0"
VIOLET = "#6a51a3"

#: Colour of what C sees beside z, by its kind (`awm.ids.SEEN`), the same in every figure.
COLORS = {
    "V": ORANGE,
    "pair": "#8a6d3b",
    "untrained": GREY,
    "plain": BLUE,
    "feature": GREEN,
    "spatial": VERMILION,
    "temporal": PINK,
    "wide": SKY,
    "even": "#e59a7b",
}

#: Weights of attention and errors: dark is nothing, light is much.
HEAT = LinearSegmentedColormap.from_list(
    "awm-heat", ["#10151c", "#3a1f5d", "#8c2369", "#d9503f", "#f9a03f", "#fff3c4"]
)
#: Weights on a white page: white is nothing, dark is much.
WEIGHT = LinearSegmentedColormap.from_list(
    "awm-weight", ["#ffffff", "#dbe9f4", "#8fbfe0", "#2f7fb8", "#0b3d66"]
)

#: Style of a line that marks a level.
LEVEL = {"color": MUTED, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 1}

THEME: dict[str, Any] = {
    "figure.figsize": (WIDTH, 3.2),
    "figure.constrained_layout.use": True,
    "savefig.dpi": DPI,
    "savefig.facecolor": "white",
    # Matplotlib ships these fonts: a figure is the same on every machine.
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "mathtext.fontset": "stix",
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=[BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, VIOLET, GREY]),
    "grid.color": GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.handlelength": 1.6,
    "image.interpolation": "nearest",
}

matplotlib.rcParams.update(THEME)  # pyright: ignore


def model_color(who) -> str:
    """The colour of a kind of M, a `Memory` or an `Agent`; violet for a kind that has none."""
    return COLORS.get(getattr(getattr(who, "memory", who), "kind", who), VIOLET)


def model_label(who) -> str:
    """How legends call a kind of M, a `Memory` or an `Agent`; any other word stays as it is."""
    return Memory(who).label if who in SEEN else getattr(who, "label", who)


def tint(color: str, share: float = 0.15) -> str:
    """`color` mixed into white: `share` 1 is the colour itself, 0 is white."""
    return to_hex(tuple(1 - share * (1 - channel) for channel in to_rgb(color)))  # pyright: ignore


class Canvas(Figure):
    """A matplotlib figure of the column's width outside of pyplot's registry.

    Notebooks show it exactly once when it is a cell's last value, and nothing has to close it.
    """

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, dpi=DPI, format="png")
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


def figure(height: float, layout: Any = "constrained") -> Canvas:
    """An empty figure of the column's width and that height in inches."""
    return Canvas(figsize=(WIDTH, height), layout=layout)


def panels(rows: int, columns: int, height: float, **options):
    """A figure and its axes: (Figure, axes [rows, columns]); `options` as in `subplots`."""
    fig = figure(height)
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def bare(axes) -> None:
    """No ticks, grid or frame: for axes that hold a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def note(axes, text, place, offset, **style) -> None:
    """Small print, `offset` points from a place in the axes."""
    style = {"fontsize": 7.2, "color": MUTED, "va": "bottom", **style}
    axes.annotate(text, place, offset, textcoords="offset points", **style)


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel of [..., H, W, 3] as a square of `scale` pixels."""
    return picture.repeat(scale, axis=-3).repeat(scale, axis=-2)
