"""The report's figures: one theme, diagrams, plots, and the place where pictures are saved.

fig = figures.vae_losses(vae.manifest["history"])
figures.save(fig, "vae_loss", caption="What V learned, and when.")
"""

from awm.figures.attention import (
    attention_over_entries,
    attention_over_frame,
    attention_over_time,
    overlay_attention,
)
from awm.figures.diagrams import dream_training, mdp, rollout, world_model
from awm.figures.gallery import captions, encode_png, enlarge, save, save_gif, save_image
from awm.figures.pictures import (
    error_picture,
    frame_grid,
    laps,
    latent_traversal,
    reconstruction_pairs,
    squared_error,
)
from awm.figures.plots import (
    controller_training,
    data_coverage,
    dream_and_reality,
    dream_errors,
    dream_rounds,
    dream_temperatures,
    kl_per_dimension,
    learning_curves,
    likelihood_gains,
    mdn_rnn_learning_curves,
    probes,
    returns_comparison,
    routes,
    tracks,
    vae_losses,
)
from awm.figures.theme import COLORS, LABELS, figure, model_color, model_label, panels, use_theme

__all__ = [
    "COLORS",
    "LABELS",
    "attention_over_entries",
    "attention_over_frame",
    "attention_over_time",
    "captions",
    "controller_training",
    "data_coverage",
    "dream_and_reality",
    "dream_errors",
    "dream_rounds",
    "dream_temperatures",
    "dream_training",
    "encode_png",
    "enlarge",
    "error_picture",
    "figure",
    "frame_grid",
    "kl_per_dimension",
    "laps",
    "latent_traversal",
    "learning_curves",
    "likelihood_gains",
    "mdn_rnn_learning_curves",
    "mdp",
    "model_color",
    "model_label",
    "overlay_attention",
    "panels",
    "probes",
    "reconstruction_pairs",
    "returns_comparison",
    "rollout",
    "routes",
    "save",
    "save_gif",
    "save_image",
    "squared_error",
    "tracks",
    "use_theme",
    "vae_losses",
    "world_model",
]

use_theme()
