"""Things to touch in a notebook: frames, latents, dreams, attention, rollouts, a search.

Each function is one call whose result JupyterLab shows as a widget. A page exported from the
notebook has no kernel to answer a slider, so every widget brings a still picture along: whatever
cannot show the widget shows the picture instead. Where something has not been trained, a note in
the widget's place says what to run. Pictures travel as small PNGs; nothing is drawn by matplotlib
while a slider moves.
"""

from awm.widgets.attention import attention_viewer
from awm.widgets.dream import dream_player
from awm.widgets.evolution import evolution_monitor
from awm.widgets.inspector import inspector
from awm.widgets.latents import latent_explorer
from awm.widgets.panel import Notice, Panel
from awm.widgets.reconstruction import reconstruction_browser
from awm.widgets.rollout import rollout_player

__all__ = [
    "Notice",
    "Panel",
    "attention_viewer",
    "dream_player",
    "evolution_monitor",
    "inspector",
    "latent_explorer",
    "reconstruction_browser",
    "rollout_player",
]
