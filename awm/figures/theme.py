"""One look for every figure: colours, type and sizes.

Importing `awm.figures` makes this matplotlib's current style, so a figure that a notebook
draws by hand looks like the rest. The colours are Okabe and Ito's, which people with any
common colour vision tell apart; orange is darkened until it stands 3:1 against white.
"""

import io
import re

import matplotlib
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

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

#: Colour of a model, the same in every figure: what C sees beside z.
COLORS = {
    "V": ORANGE,
    "untrained": GREY,
    "none": BLUE,
    "feature": GREEN,
    "spatial": VERMILION,
    "temporal": PINK,
    "wide": SKY,
}

#: How a model is called in legends.
LABELS = {
    "V": "V alone",
    "untrained": "untrained M",
    "none": "plain M",
    "feature": "M, feature attention",
    "spatial": "M, spatial attention",
    "temporal": "M, temporal attention",
    "wide": "wider plain M",
}

#: Colour of each part of the agent in the diagrams.
PARTS = {"environment": "#5b6b53", "V": ORANGE, "M": BLUE, "C": VIOLET, "attention": VERMILION}

_OTHERS = ("#4c5fb0", VIOLET, "#8a6d3b", "#3b7f8a", "#a33b3b", INK)

#: Weights of attention and errors: dark is nothing, light is much.
HEAT = LinearSegmentedColormap.from_list(
    "awm-heat", ["#10151c", "#3a1f5d", "#8c2369", "#d9503f", "#f9a03f", "#fff3c4"]
)
#: Weights on a white page: white is nothing, dark is much.
WEIGHT = LinearSegmentedColormap.from_list(
    "awm-weight", ["#ffffff", "#dbe9f4", "#8fbfe0", "#2f7fb8", "#0b3d66"]
)

THEME = {
    "figure.figsize": (WIDTH, 3.2),
    "figure.dpi": 100,
    "figure.facecolor": "white",
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
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(
        color=[BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, VIOLET, GREY]
    ),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
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


def use_theme() -> None:
    """Make this matplotlib's style; importing `awm.figures` does it once."""
    matplotlib.rcParams.update(THEME)


def model_color(name: str) -> str:
    """The colour of a model or controller; names like "spatial-noise" take their model's.

    A name that is none of ours (a driver, a published agent) gets a colour of its own that
    is the same in every figure.
    """
    if name in COLORS:
        return COLORS[name]
    stem = name.removeprefix("M-").partition("-")[0]
    return COLORS.get(stem, _OTHERS[sum(name.encode()) % len(_OTHERS)])


def model_label(name: str) -> str:
    """How legends call a model or controller: `spatial-seed1` is "M, spatial attention, seed 1".

    Names that are none of ours stay as they are.
    """
    stem, _, rest = name.partition("-")
    if stem not in LABELS:
        return name
    rest = re.sub(r"(?<=[a-z])(?=\d)", " ", rest.replace("-", ", ")).replace("tau ", "τ = ")
    return LABELS[stem] + (f", {rest}" if rest else "")


def tint(color: str, share: float = 0.15) -> tuple[float, float, float]:
    """`color` mixed into white: `share` 1 is the colour itself, 0 is white."""
    return tuple(1 - share * (1 - channel) for channel in to_rgb(color))


class Canvas(Figure):
    """A matplotlib figure outside of pyplot's registry.

    Notebooks show it exactly once when it is a cell's last value, and nothing has to close it.
    """

    def _repr_png_(self):
        buffer = io.BytesIO()
        self.savefig(buffer, dpi=DPI, format="png")
        width, height = (round(100 * inches) for inches in self.get_size_inches())
        return buffer.getvalue(), {"width": width, "height": height}


def figure(height: float, width: float = WIDTH) -> Canvas:
    """An empty figure of that size in inches."""
    return Canvas(figsize=(width, height), layout="constrained")


def panels(rows: int, columns: int, height: float, width: float = WIDTH, **options):
    """A figure and its axes: (Figure, axes [rows, columns]); `options` as in `subplots`."""
    fig = figure(height, width)
    return fig, fig.subplots(rows, columns, squeeze=False, **options)


def bare(axes) -> None:
    """No ticks, grid or frame: for axes that hold a picture."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
