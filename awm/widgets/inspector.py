"""All widgets on one page, a profile at a time: what `make app` shows."""

import ipywidgets

from awm import config, dataset
from awm.widgets.attention import attention_viewer
from awm.widgets.dream import dream_player
from awm.widgets.evolution import EvolutionMonitor, evolution_monitor
from awm.widgets.latents import latent_explorer
from awm.widgets.panel import muted
from awm.widgets.reconstruction import reconstruction_browser
from awm.widgets.rollout import rollout_player

#: Title, what to look for, and the widget of a profile, for each tab.
TABS = (
    (
        "rollouts",
        "What was driven, what it earned, and the latents that V makes of it.",
        rollout_player,
    ),
    (
        "reconstructions",
        "V passes a frame through 32 numbers. What survives is all that M and C ever see.",
        lambda profile: reconstruction_browser(profile, profile),
    ),
    (
        "latents",
        "Turn the 32 numbers by hand, the most informative first; V does not use the grey ones.",
        lambda profile: latent_explorer(profile, profile),
    ),
    (
        "dreams",
        "M goes on alone from a real frame, with the actions that were really taken.",
        dream_player,
    ),
    (
        "attention",
        "What an attentive M looks at before each step.",
        attention_viewer,
    ),
    (
        "evolution",
        "The search for a controller, followed while it runs.",
        evolution_monitor,
    ),
)


class Inspector(ipywidgets.VBox):
    """See `inspector`. `profile` chooses; a widget is made when its tab is first opened."""

    def __init__(self, profile: str):
        self.profile = ipywidgets.ToggleButtons(
            options=list(config.PROFILES), value=profile, description="profile"
        )
        self.tabs = ipywidgets.Tab(
            [ipywidgets.VBox() for _ in TABS], titles=[title for title, _, _ in TABS]
        )
        self.tabs.selected_index = 0
        self._open()
        self.profile.observe(self._empty, "value")
        self.tabs.observe(self._open, "selected_index")
        super().__init__([self.profile, self.tabs])

    @property
    def shown(self):
        """The widget in the open tab, or the `Notice` in its place."""
        return self.tabs.children[self.tabs.selected_index].children[-1]

    def _open(self, _=None):
        index = self.tabs.selected_index
        if index is None or self.tabs.children[index].children:
            return
        _, prose, make = TABS[index]
        self.tabs.children[index].children = [muted(prose), make(self.profile.value)]

    def _empty(self, _):
        for tab in self.tabs.children:
            for widget in tab.children:
                if isinstance(widget, EvolutionMonitor):
                    widget.close()
            tab.children = []
        self._open()


def inspector(profile: str | None = None):
    """Everything there is to look at, in tabs, for a profile that the reader chooses.

    Args:
        profile: the name to begin with; by default the first that has rollouts.
    """
    names = [config.default_profile(), *reversed(config.PROFILES)]
    if profile is None:
        collected = (n for n in names if dataset.path_of(config.get_profile(n)).exists())
        profile = next(collected, names[0])
    return Inspector(config.get_profile(profile).name)
