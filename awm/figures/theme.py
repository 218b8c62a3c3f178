"""One look for every figure: colours, type and sizes.

Importing `awm.figures` makes this matplotlib's current style, so a figure that a notebook
draws by hand looks like the rest. The colours are near Okabe and Ito's, which people with any
common colour vision tell apart; each stands at least 3:1 against the page, in the light and in
the dark.
"""

import io
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.rcsetup import cycler

from awm.ids import SEEN, Memory

#: Inches: the report's column, and a phone's. Every figure is as wide, so that type is one size
#: throughout.
WIDTH, NARROW = 7.0, 3.5
#: Pixels an inch in saved files: twice what the column shows, for dense screens.
DPI = 200

#: Colours by the name of their CSS property: on white, and on the report's dark page. The first
#: three are the page's own.
PALETTE = {
    "paper": ("#ffffff", "#14181c"),
    "ink": ("#22272e", "#dde2e6"),
    "muted": ("#59636d", "#9aa5af"),
    "faint": ("#c3cad0", "#4b555f"),
    "grid": ("#e8ebee", "#262d34"),
    "blue": ("#0072b2", "#4ba3e0"),
    "green": ("#009e73", "#2fbf95"),
    "vermilion": ("#d55e00", "#f0803c"),
    "pink": ("#c05f96", "#d986b5"),
    "orange": ("#bd8100", "#dba52e"),
    "grey": ("#858d94", "#9aa3ab"),
    "sky": ("#3f93c6", "#86ccf4"),
    "violet": ("#6a51a3", "#a493e6"),
    "brown": ("#8a6d3b", "#bb9a66"),
    "salmon": ("#cc7a56", "#f2bda4"),
    "olive": ("#5b6b53", "#9db38f"),
    # Of a frame, which is no brighter at night.
    "grass": ("#7dc77a", "#7dc77a"),
    "road": ("#6e7276", "#6e7276"),
    "chalk": ("#fdfdfd", "#fdfdfd"),
    "car": ("#d3272e", "#d3272e"),
    "tyre": ("#1d1f21", "#1d1f21"),
}


def _light(names: str) -> list[str]:
    return [PALETTE[name][0] for name in names.split()]


PAPER, INK, MUTED, FAINT, GRID = _light("paper ink muted faint grid")
BLUE, GREEN, VERMILION, PINK, ORANGE = _light("blue green vermilion pink orange")
GREY, SKY, VIOLET, BROWN, SALMON, OLIVE = _light("grey sky violet brown salmon olive")
GRASS, ROAD, CHALK, CAR, TYRE = _light("grass road chalk car tyre")

#: Colour of what C sees beside z, by its kind (`awm.ids.SEEN`), the same in every figure.
COLORS = {
    "V": ORANGE,
    "pair": BROWN,
    "untrained": GREY,
    "plain": BLUE,
    "feature": GREEN,
    "spatial": VERMILION,
    "temporal": PINK,
    "wide": SKY,
    "even": SALMON,
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

matplotlib.rcParams.update(
    {  # pyright: ignore
        "figure.figsize": (WIDTH, 3.2),
        "figure.constrained_layout.use": True,
        "savefig.dpi": DPI,
        "savefig.facecolor": "white",
        # Every point of a curve stays in its SVG, where the report's script reads it.
        "path.simplify": False,
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
        "image.interpolation": "none",
    }
)


def model_color(who) -> str:
    """The colour of a kind of M, a `Memory` or an `Agent`; violet for a kind that has none."""
    return COLORS.get(getattr(getattr(who, "memory", who), "kind", who), VIOLET)


def model_label(who) -> str:
    """How legends call a kind of M, a `Memory` or an `Agent`; any other word stays as it is."""
    return Memory(who).label if who in SEEN else getattr(who, "label", who)


#: Every tint that was made, as its colour and share: the page mixes it anew from its own colours.
TINTS: dict[str, tuple[str, float]] = {}


def tint(color: str, share: float = 0.15) -> str:
    """`color` mixed into white: `share` 1 is the colour itself, 0 is white."""
    mixed = to_hex(tuple(1 - share * (1 - channel) for channel in to_rgb(color)))  # pyright: ignore
    TINTS[mixed] = to_hex(color), share
    return mixed


def stylesheet() -> str:
    """The palette as CSS properties, which follow the page into the dark."""
    lines = (f"--{name}: light-dark({light}, {dark});" for name, (light, dark) in PALETTE.items())
    return ":root { " + " ".join(list(lines)[3:]) + " }"


class Canvas(Figure):
    """A matplotlib figure outside of pyplot's registry, as wide as the column or a phone.

    Notebooks show it exactly once when it is a cell's last value, and nothing has to close it.
    """

    #: Draws the same for a phone; None if nobody knows how (see `drawing`).
    narrow: "Callable[[], Canvas] | None" = None

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, dpi=DPI, format="png")
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


_width = ContextVar("width", default=WIDTH)


def width() -> float:
    """Inches of the figure that is being drawn."""
    return _width.get()


def is_narrow() -> bool:
    """Whether it is being drawn for a phone."""
    return width() < WIDTH


def drawing(draw):
    """A function that draws a `Canvas`, which then knows how to be drawn again for a phone.

    `figures.save` keeps both as SVG.
    """

    @wraps(draw)
    def drawn(*arguments, **options):
        def narrow():
            token = _width.set(NARROW)
            try:
                return draw(*arguments, **options)
            finally:
                _width.reset(token)

        fig = draw(*arguments, **options)
        fig.narrow = narrow
        return fig

    return drawn


def figure(height: float, layout: Any = "constrained") -> Canvas:
    """An empty figure of the column's width and that height in inches."""
    if layout == "none":  # saving would restore a mere "none" as the default, which moves axes
        layout = PlaceHolderLayoutEngine(adjust_compatible=True, colorbar_gridspec=True)
    return Canvas(figsize=(width(), height), layout=layout)


def panels(rows: int, columns: int, height: float, **options):
    """A figure and its axes: (Figure, axes [rows, columns]); `options` as in `subplots`.

    For a phone a single row stands as a column, each panel nearly as high as the row.
    """
    if is_narrow() and rows == 1 < columns:
        fig = figure(0.85 * columns * height)
        return fig, fig.subplots(columns, 1, squeeze=False, **options).T
    fig = figure(height)
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def legend(fig, columns: int, *handles) -> None:
    """A legend above all axes, in at most so many columns: as many as fit."""
    for count in range(columns, 0, -1):
        shown = fig.legend(*handles, loc="outside upper left", ncols=count)
        if count == 1 or shown.get_window_extent().width <= fig.bbox.width:
            return
        shown.remove()


def bare(axes) -> None:
    """No ticks, grid or frame: for axes that hold a picture."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def note(axes, text, place, offset, **style) -> None:
    """Small print, `offset` points from a place in the axes."""
    style = {"fontsize": 7.5, "color": MUTED, "va": "bottom", **style}
    axes.annotate(text, place, offset, textcoords="offset points", **style)


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel of [..., H, W, 3] as a square of `scale` pixels."""
    return picture.repeat(scale, axis=-3).repeat(scale, axis=-2)
