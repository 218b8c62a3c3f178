"""Things to touch in a notebook: frames, latents, dreams, attention, rollouts, a search.

Each is one call whose result JupyterLab shows as a widget. A page exported from the notebook has no
kernel to answer a slider, so every widget brings a still picture along: whatever cannot show the
widget shows the picture instead. Where something has not been trained, a note in its place says
what to run. Pictures travel as small PNGs; nothing is drawn by matplotlib while a slider moves.
"""

from awm.widgets.attention import attention_viewer as attention_viewer
from awm.widgets.demos import Demonstration as Demonstration
from awm.widgets.demos import dream_player as dream_player
from awm.widgets.evolution import evolution_monitor as evolution_monitor
from awm.widgets.frames import reconstruction_browser as reconstruction_browser
from awm.widgets.frames import rollout_player as rollout_player
from awm.widgets.inspector import inspector as inspector
from awm.widgets.latents import latent_explorer as latent_explorer
from awm.widgets.panel import Notice as Notice
from awm.widgets.panel import Panel as Panel
