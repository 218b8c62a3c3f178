"""What every widget is: controls, pictures that answer them, a still, and what is missing."""

import html
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache, partial, wraps
from typing import Any

import ipywidgets
import numpy as np
import torch

from awm import figures
from awm.data.rollouts import Episode, Rollouts
from awm.errors import AwmError
from awm.figures import timeline
from awm.figures.theme import INK
from awm.figures.timeline import Svg
from awm.store import Workspace
from awm.worlds.lanes import Recording, one_thread


class Panel(ipywidgets.VBox):
    """A widget over the results of a workspace, with a still picture for where no kernel answers.

    A subclass makes its controls by `control` and `choose`, and ends with `lay_out`. What they are
    set to is drawn by `_draw`; `still` is what an exported page shows instead.
    """

    v: Any = None  #: the workspace's V, where a panel loads it

    def __init__(self, profile: Any):
        super().__init__()
        self.ws = Workspace.open(profile)
        self.summary = ipywidgets.HTML()
        self._missing: list[str] = []
        self._held = False

    def _draw(self) -> None:
        raise NotImplementedError

    def still(self) -> tuple[Any, str]:
        """A matplotlib Figure or an `Svg`, and what it shows."""
        raise NotImplementedError

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What drawing runs in."""
        # Of several threads one would wait for a busy core: a frame could then take 150 ms.
        with one_thread(), torch.inference_mode():
            yield

    def optional(self, load: Callable, *arguments):
        """What `load` finds in the workspace, or None; what is missing is said under the panel."""
        try:
            return load(self.ws, *arguments)
        except AwmError as error:
            self._missing.append(str(error))

    def control(self, kind: type, react: Callable[[], Any] | None = None, **traits):
        """A control; when its value changes, `react` is attempted, or all is drawn again."""
        layout = {"width": "480px", "max_width": "100%"}
        wide = {"layout": layout, "style": {"description_width": "100px"}}
        made = kind(**wide | traits)
        made.observe(lambda _: self._held or self.attempt(react or self._draw), "value")
        return made

    def button(self, name: str, tip: str, act: Callable[[], Any]) -> ipywidgets.Button:
        """A button that does something."""
        made = ipywidgets.Button(description=name, tooltip=tip, layout={"width": "auto"})
        made.on_click(lambda _: self.attempt(act))
        return made

    @contextmanager
    def held(self) -> Iterator[None]:
        """No control reacts to what changes inside."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    def choose(self, rollouts: Rollouts | Recording, to_step: bool = False) -> None:
        """Make `rollout`, `frame` and `play`, which choose a frame; `chooser` holds them.

        Args:
            rollouts: what to choose from, or the recording of one episode.
            to_step: only frames that a step follows, of rollouts that no model was trained on.
        """
        if isinstance(rollouts, Recording):
            splits, read = {}, lambda _: rollouts
        else:
            names = ("test", "validation", "train")
            splits = {int(i): name for name in names for i in rollouts.indices(name)}
            read = rollouts.episode
        held_out = [i for i, name in splits.items() if name != "train"]
        self._splits, self._last = splits, 2 if to_step else 1
        # Stepping through frames must not read the episode from disk each time.
        self._read = lru_cache(2)(read)
        options = held_out if to_step else sorted(splits) or [0]
        another = {"options": options, "description": "rollout"}
        self.rollout = self.control(ipywidgets.SelectionSlider, self._other_rollout, **another)
        self.frame = self.control(ipywidgets.IntSlider, lambda: self.chosen(), description="frame")
        self.play = ipywidgets.Play(show_repeat=False, description="play frames")
        ipywidgets.jslink((self.play, "value"), (self.frame, "value"))
        self._set_range()
        with self.held():  # past the first second, in which the camera still zooms in
            self.frame.value = self.play.value = min(60, self.frame.max // 2)
        row = ipywidgets.HBox([self.frame, self.play])
        self.chooser = ipywidgets.VBox([self.rollout, row])

    def chosen(self) -> None:
        """Another rollout or frame was chosen."""
        self.redraw()

    def _other_rollout(self) -> None:
        self._set_range()
        self.chosen()

    def _set_range(self) -> None:
        # A damaged episode is met again when it is drawn, where there is a place to say so.
        with self.held(), suppress(AwmError):
            self.frame.max = self.play.max = max(0, len(self.episode.frames) - self._last)

    @property
    def episode(self) -> Episode | Recording:
        """The chosen rollout. AwmError if it is damaged."""
        return self._read(self.rollout.value)

    @property
    def seen(self) -> np.ndarray:
        """The chosen frame, uint8 `[64, 64, 3]`."""
        return self.episode.frames[self.frame.value]

    def describe(self) -> str:
        """Which rollout and frame is chosen, who drove, on which track; as HTML."""
        episode, index = self.episode, self.rollout.value
        text = f"frame {self.frame.value} of {len(episode.frames) - 1}"
        if isinstance(episode, Episode):
            who = f"{episode.driver} driver · track seed {episode.seed}"
            text = f"rollout {index} · {self._splits[index]} split · {who} · {text}"
        return html.escape(text)

    def encode(self, frames: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames uint8 `[n, 64, 64, 3]` as codes' means `[n, z]` and V's maps."""
        # Whole rollouts on two cores, each with one of torch's threads.
        parts = np.array_split(frames, 2 if len(frames) > 64 else 1)
        with ThreadPoolExecutor(2) as pool:
            columns = zip(*pool.map(partial(self.v.encode_frames, batch=32), parts), strict=True)
            mu, _, maps = (torch.from_numpy(np.concatenate(column)) for column in columns)
        return mu, maps

    def attempt(self, act: Callable[[], Any]) -> None:
        """Draw, or do something else; what is wrong with that is said in the summary's place."""
        try:
            with self.computing():
                act()
        except AwmError as error:  # such as a damaged episode; the others can still be seen
            self.summary.value = html.escape(str(error))

    def redraw(self) -> None:
        """Draw what the controls are set to."""
        self.attempt(self._draw)

    def lay_out(self, *rows) -> None:
        """Draw for the first time, and show these widgets."""
        self.redraw()
        self.children = [*rows, *map(muted, self._missing)]

    def _repr_mimebundle_(self, **options) -> Any:
        with self.computing():
            return with_still(super()._repr_mimebundle_(**options), self.still)


def with_still(shown: Any, still: Callable[[], tuple[Any, str]]) -> Any:
    """How a widget shows itself, and a still picture: for where no kernel answers."""
    bundle, about = shown if isinstance(shown, tuple) else (shown, {})
    # A notebook prefers the widget's view to the picture; without a kernel there is no view.
    try:
        picture, words = still()
    except AwmError as error:
        return {**bundle, "text/plain": str(error)}
    if isinstance(picture, Svg):
        kind, drawn, metadata = "image/svg+xml", picture._repr_svg_(), {}
    else:
        kind, (drawn, metadata) = "image/png", picture._repr_png_()
    words += " In JupyterLab, it answers to controls."
    return {**bundle, "text/plain": words, kind: drawn}, {**about, kind: {**metadata, "alt": words}}


class Notice(ipywidgets.HTML):
    """What is missing, and what to run, in the place of a widget."""

    def __init__(self, message: str):
        self.message = message
        style = "border-left: 4px solid #d55e00; padding: .6em 1em; background: #fdf3ec"
        text = html.escape(message)
        super().__init__(f'<div role="note" style="{style}; color: {INK}">{text}</div>')

    def _repr_mimebundle_(self, **options) -> Any:
        bundle: Any = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": self.message, "text/html": self.value}


def or_notice(make: Callable) -> Callable:
    """`make`, which makes a widget, with a `Notice` where it would raise an AwmError."""

    @wraps(make)
    def made(*arguments, **options):
        try:
            return make(*arguments, **options)
        except AwmError as error:
            return Notice(str(error))

    return made


class Picture(ipywidgets.VBox):
    """A picture under its title, so many pixels wide on the screen."""

    def __init__(self, title: str = "", width: int = 256):
        layout = {"width": f"{width}px", "max_width": "100%"}
        self.image = ipywidgets.Image(format="png", layout=layout)
        self.title = ipywidgets.HTML(f"<b>{title}</b>")
        super().__init__([self.title, self.image], layout={"margin": "4px 12px 4px 0"})

    def draw(self, pixels: np.ndarray, scale: int = 4) -> None:
        """Show uint8 `[H, W, 3]`, each pixel a square of `scale`."""
        self.image.value = figures.encode_png(pixels, scale)


class Timeline(ipywidgets.Box):
    """Rows of `awm.figures.timeline` under a cursor, which alone moves with the frames."""

    def __init__(self, xlabel: str = "step"):
        width = f"{timeline.WIDTH}px"
        here = {"grid_area": "1 / 1", "margin": "0", "width": width}
        self.plot, self.cursor = (ipywidgets.HTML(layout=here) for _ in range(2))
        self.xlabel, self.shown = xlabel, None
        layout = {"display": "grid", "max_width": "100%", "overflow": "auto hidden"}
        super().__init__([self.plot, self.cursor], layout=layout)

    def draw(self, what: Any, step: int, steps: int, make: Callable[[], list]) -> None:
        """The cursor at a step of so many, over the rows that `make` makes of `what` anew."""
        if self.shown != what:
            rows = make()
            self.tall = timeline.height_of(rows) - timeline.BOTTOM
            self.plot.value = timeline.timeline(rows, steps, self.xlabel)
            self.shown = what
        self.cursor.value = (
            f'<div style="margin-left: {timeline.x_of(step, steps) - 1:.1f}px; width: 2px; '
            f'height: {self.tall}px; background: {INK}; opacity: .7"></div>'
        )


def in_a_row(*widgets) -> ipywidgets.HBox:
    """Widgets side by side, in several rows where the page is narrow."""
    return ipywidgets.HBox(widgets, layout={"flex_flow": "row wrap"})


def muted(text: str) -> ipywidgets.HTML:
    """Small print; what stands between `backquotes` is a command."""
    text = re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return ipywidgets.HTML(f'<div style="font-size: 90%; opacity: .75">{text}</div>')
