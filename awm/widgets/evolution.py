"""A search for a controller, watched while it runs."""

import html
import threading

import ipywidgets
import numpy as np
from matplotlib.colors import to_hex

from awm import evolution, figures
from awm.config import Profile, get_profile
from awm.errors import AwmError
from awm.figures.theme import INK, tint
from awm.figures.timeline import Curves, Line, timeline_svg
from awm.widgets.panel import Panel, muted, or_notice

#: Seconds between two looks at a log.
INTERVAL = 2.0


@or_notice
def evolution_monitor(profile, name: str | None = None):
    """Follow an evolution by its log: population and validation, generation by generation.

    The log is looked at every two seconds until the search is over, from a thread, so that it is
    followed whether the search runs in another process or in this very notebook.

    Args:
        profile: whose searches.
        name: of the controller, as in `awm.names`; by default the latest search.
    """
    profile = get_profile(profile)
    names = evolution.searches(profile)
    if not names or (name is not None and name not in names):
        which = f"search {name!r}" if name else "search"
        raise AwmError(
            f"Profile {profile.name!r} has no {which} to watch yet. "
            f"Run `awm evolve --profile {profile.name}` or notebook 05, then this again."
        )
    return EvolutionMonitor(profile, name or names[0], names)


class EvolutionMonitor(Panel):
    """See `evolution_monitor`. `search` chooses; `plot` is the picture, `summary` says it in words.

    `refresh()` looks at the log at once; `close()` stops following it.
    """

    def __init__(self, profile: Profile, name: str, names: list[str]):
        self._profile, self._log, self._stamp = profile, [], None
        self._closed, self._thread, self._lock = threading.Event(), None, threading.Lock()
        self.search = ipywidgets.Dropdown(options=names, value=name, description="search")
        self.plot, self.summary = ipywidgets.HTML(), ipywidgets.HTML()
        self._show()
        self.search.observe(self._show, "value")
        legend = (
            "Best, mean and worst are the population's returns on a generation's tracks; "
            "validation is the distribution's mean, the agent, on tracks that stay the same."
        )
        super().__init__([self.search, self.plot, self.summary, muted(legend)])

    @property
    def over(self) -> bool:
        """Whether the search is finished: its last entry only validates, for want of candidates."""
        return bool(self._log) and "mean" not in self._log[-1]

    def refresh(self) -> None:
        """Read the log again if it has changed, and draw it."""
        with self._lock:
            self._refresh()

    def _refresh(self) -> None:
        name = self.search.value
        try:
            status = evolution.log_path(self._profile, name).stat()
            stamp = (name, status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            self._log, self._stamp = evolution.read_log(self._profile, name), stamp
        except (AwmError, OSError) as error:  # moved away, or damaged
            self.summary.value = html.escape(str(error))
            return
        self.plot.value = timeline_svg([_rows(name, self._log)], len(self._log), "gen.")
        self.summary.value = _in_words(self._log, self.over)

    def close(self) -> None:
        """Stop following the log, and take the widget away."""
        self._closed.set()
        super().close()

    def _show(self, _=None):
        self.refresh()
        if not self.over and (self._thread is None or not self._thread.is_alive()):
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def _follow(self):
        while not self._closed.wait(INTERVAL) and not self.over:
            self.refresh()

    def still(self):
        name = self.search.value
        return figures.controller_training({name: self._log}, x="generation"), (
            f"The search for {name}: returns of its population and of the distribution's mean "
            "against generations. In JupyterLab, the curves follow a search while it runs."
        )


def _rows(name: str, log: list[dict]) -> Curves:
    color = figures.model_color(name)
    lines = [
        ("best", "best", to_hex(tint(color, 0.45)), False),
        ("mean", "mean", to_hex(tint(color, 0.7)), False),
        ("worst", "worst", to_hex(tint(color, 0.45)), False),
        ("validation", "validation", color, True),
        ("real", "real track", INK, True),  # where the search itself is dreamt
    ]
    return Curves(
        tuple(
            Line(label, np.array([_number(entry.get(key)) for entry in log]), shade, dots=checked)
            for key, label, shade, checked in lines
            if any(entry.get(key) is not None for entry in log)
        ),
        height=240,
    )


def _number(value) -> float:
    return np.nan if value is None else float(value)


def _in_words(log: list[dict], over: bool) -> str:
    if not log:
        return "No generation is finished yet."
    checked = [entry for entry in log if entry.get("validation") is not None]
    best = max(checked, key=lambda entry: entry["validation"], default=None)
    found = (
        f" · best validation <b>{best['validation']:.0f}</b>, at generation {best['generation']}"
        if best
        else ""
    )
    state = "finished" if over else "going on, or interrupted"
    last = log[-1]
    return (
        f"generation {last['generation']} · {last['steps']:,} steps · "
        f"{last['seconds'] / 60:.0f} min{found} · {state}"
    )
