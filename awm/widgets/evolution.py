"""A search for a controller, watched while it runs."""

import threading
from contextlib import nullcontext

import ipywidgets
import numpy as np

from awm import figures
from awm.errors import AwmError
from awm.evolution import search
from awm.figures.theme import INK, tint
from awm.figures.timeline import Curves, Line, timeline
from awm.ids import Agent
from awm.widgets.panel import Panel, muted, or_notice

#: Seconds between two looks at a log.
INTERVAL = 2.0

_LEGEND = (
    "Best, mean and worst are the population's returns on a generation's tracks; validation is the "
    "distribution's mean, the agent, on tracks that stay the same."
)


class EvolutionMonitor(Panel):
    """Follow the search for a controller by its log, generation by generation, while it runs.

    The log is looked at every two seconds until the search is over, from a thread, so that it is
    followed whether the search runs in another process or in this very notebook. `search` chooses
    another; `close()` stops following.

    Args:
        profile: a `Workspace`, a profile or its name.
        agent: whose search to watch first; by default the latest.
    """

    computing = nullcontext  # type: ignore  # a thread must not change what torch does in others

    def __init__(self, profile, agent: Agent | None = None):
        super().__init__(profile)
        found = search.searches(self.ws)
        if not found or agent not in (None, *found):
            name = self.ws.profile.name
            raise AwmError(
                f"Profile {name!r} has no search for {agent or 'a controller'} to watch yet. Run "
                f"`awm evolve {agent or Agent()} --profile {name}` or notebook 05, then this again."
            )
        self._closed, self._log, self._thread = threading.Event(), [], threading.Thread()
        options, first = [(each.label, each) for each in found], agent or found[0]
        self.search = self.control(
            ipywidgets.Dropdown, self._show, options=options, value=first, description="search"
        )
        self.plot = ipywidgets.HTML()
        self.lay_out(self.search, self.plot, self.summary, muted(_LEGEND))
        self._show()

    @property
    def over(self) -> bool:
        """Whether the search is finished: its last entry only validates, for want of candidates."""
        return bool(self._log) and "mean" not in self._log[-1]

    def _draw(self):
        agent = self.search.value
        log = self._log = search.log_of(self.ws, agent)
        if not log:
            self.summary.value = "No generation is finished yet."
            return
        self.plot.value = timeline([_curves(agent, log)], len(log), "gen.")
        last, best = log[-1], search.best_validated(log)
        self.summary.value = (
            f"generation {last['generation']} · {last['steps']:,} steps · "
            f"{last['seconds'] / 60:.0f} min · best validation <b>{best['validation']:.0f}</b>, "
            f"at generation {best['generation']} · "
            f"{'finished' if self.over else 'going on, or interrupted'}"
        )

    def close(self):
        """Stop following the log, and take the widget away."""
        self._closed.set()
        super().close()

    def _show(self):
        self.redraw()
        if not self.over and not self._thread.is_alive():
            self._thread = threading.Thread(target=self._follow, daemon=True)
            self._thread.start()

    def _follow(self):
        while not self._closed.wait(INTERVAL) and not self.over:
            self.redraw()

    def still(self):
        agent = self.search.value
        return figures.controller_training({agent: self._log}, x="generation"), (
            f"The search for {agent.label}: returns of its population and of the distribution's "
            "mean against generations."
        )


def _curves(agent: Agent, log: list[dict]) -> Curves:
    color = figures.model_color(agent)
    lines = []
    for key, shade in (
        ("best", tint(color, 0.45)),
        ("mean", tint(color, 0.7)),
        ("worst", tint(color, 0.45)),
        ("validation", color),
        ("real", INK),  # where the search itself is dreamt
    ):
        values = np.array([entry.get(key) for entry in log], float)
        if np.isfinite(values).any():
            name = "real track" if key == "real" else key
            lines.append(Line(name, values, shade, dots=key in ("validation", "real")))
    return Curves(tuple(lines), height=240)


evolution_monitor = or_notice(EvolutionMonitor)
