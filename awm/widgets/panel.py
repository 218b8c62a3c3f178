"""What every widget is: a box with a still picture, or a note of what is missing."""

import html
import re
from functools import wraps

import ipywidgets

from awm.errors import AwmError

#: Screen pixels a frame's pixel, and a frame's side.
SCALE = 4
SIDE = f"{64 * SCALE}px"


class Panel(ipywidgets.VBox):
    """A widget with a still picture, for where no kernel can answer.

    Each widget's `still()` is what an exported page shows in its place: (matplotlib Figure, alt
    text).
    """

    def _repr_mimebundle_(self, **options):
        figure, alt = self.still()
        png, metadata = figure._repr_png_()
        # A notebook prefers the widget's view to the picture; without a kernel there is no view.
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": alt, "image/png": png}, {
            "image/png": {**metadata, "alt": alt}
        }


class Notice(ipywidgets.VBox):
    """What is missing, and what to run, in the place of a widget."""

    def __init__(self, message: str):
        self.message = message
        self._html = (
            '<div role="note" style="border-left: 4px solid #d55e00; padding: .6em 1em; '
            f'background: #fdf3ec; color: #22272e">{html.escape(message)}</div>'
        )
        super().__init__([ipywidgets.HTML(self._html)])

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": self.message, "text/html": self._html}


def or_notice(make):
    """A function that makes a widget, or a `Notice` where it would raise an AwmError."""

    @wraps(make)
    def made(*arguments, **options):
        try:
            return make(*arguments, **options)
        except AwmError as error:
            return Notice(str(error))

    return made


def image(width: str = SIDE):
    """An empty picture of that width on the screen."""
    return ipywidgets.Image(format="png", layout={"width": width, "max_width": "100%"})


def titled(title: str, *below):
    """Widgets under a heading."""
    label = ipywidgets.HTML(f"<b>{title}</b>")
    return ipywidgets.VBox([label, *below], layout={"margin": "4px 12px 4px 0"})


def in_a_row(*widgets):
    """Widgets side by side, in several rows where the page is narrow."""
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap"})


def muted(text: str):
    """Small print; what stands between `backquotes` is a command."""
    text = re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return ipywidgets.HTML(
        f'<div style="font-size: 90%; opacity: .75; line-height: 1.5">{text}</div>'
    )
