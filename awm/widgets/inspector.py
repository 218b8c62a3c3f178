"""All widgets on one page, a profile at a time: what `make app` shows."""

import ipywidgets

from awm import stages
from awm.config import PRESETS
from awm.store import Workspace
from awm.widgets.attention import attention_viewer
from awm.widgets.demos import dream_player
from awm.widgets.evolution import evolution_monitor
from awm.widgets.frames import reconstruction_browser, rollout_player
from awm.widgets.latents import latent_explorer
from awm.widgets.panel import muted, or_notice

TABS = {
    "rollouts": rollout_player,
    "reconstructions": reconstruction_browser,
    "latents": latent_explorer,
    "dreams": dream_player,
    "attention": attention_viewer,
    "evolution": evolution_monitor,
}


class Inspector(ipywidgets.VBox):
    """Everything there is to look at, in tabs; `profile` chooses whose.

    A widget is made when its tab is first opened.

    Args:
        profile: a `Workspace`, a profile or its name, to begin with; by default the first that has
            rollouts.
    """

    def __init__(self, profile=None):
        here = Workspace.open(profile)
        if profile is None:
            names = here.profile.name, *reversed(PRESETS)
            there = (Workspace.open(name, here.root) for name in names)
            here = next((ws for ws in there if ws.find(stages.rollouts(ws.profile).name)), here)
        self._root = here.root
        own = (path.parent.name for path in sorted(here.root.glob("data/*/profile.json")))
        self.profile = ipywidgets.ToggleButtons(
            options=[*PRESETS, *own], value=here.profile.name, description="profile"
        )
        pages = [ipywidgets.VBox() for _ in TABS]
        self.tabs = ipywidgets.Tab(pages, titles=[*TABS], selected_index=0)
        self._open()
        self.profile.observe(self._empty, "value")
        self.tabs.observe(self._open, "selected_index")
        super().__init__([self.profile, self.tabs])

    @property
    def shown(self) -> ipywidgets.VBox:
        """The widget in the open tab, or the `Notice` in its place."""
        return self.tabs.children[self.tabs.selected_index].children[-1]

    def _open(self, _=None):
        page = self.tabs.selected_index
        if page is None or self.tabs.children[page].children:
            return
        make = [*TABS.values()][page]
        prose = muted(str(make.__doc__).splitlines()[0])
        ws = Workspace.open(self.profile.value, self._root)
        self.tabs.children[page].children = [prose, make(ws)]

    def _empty(self, _):
        for tab in self.tabs.children:
            for widget in tab.children:
                widget.close()  # which ends what follows a search
            tab.children = []
        self._open()


inspector = or_notice(Inspector)
