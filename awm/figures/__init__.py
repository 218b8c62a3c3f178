"""The report's figures: one theme, diagrams, plots, and the place where pictures are saved.

figures.save(workspace.images, figures.kl_per_dimension(kl), "vae_kl_per_dimension", z_size=32)
"""

from awm.figures.curves import controller_training as controller_training
from awm.figures.curves import dream_and_reality as dream_and_reality
from awm.figures.curves import dream_errors as dream_errors
from awm.figures.curves import dream_rounds as dream_rounds
from awm.figures.curves import dream_temperatures as dream_temperatures
from awm.figures.curves import mdn_rnn_learning_curves as mdn_rnn_learning_curves
from awm.figures.curves import routes as routes
from awm.figures.curves import vae_losses as vae_losses
from awm.figures.diagrams import dream_training as dream_training
from awm.figures.diagrams import mdp as mdp
from awm.figures.diagrams import rollout as rollout
from awm.figures.diagrams import world_model as world_model
from awm.figures.gallery import captions as captions
from awm.figures.gallery import encode_png as encode_png
from awm.figures.gallery import save as save
from awm.figures.gallery import save_gif as save_gif
from awm.figures.gallery import save_image as save_image
from awm.figures.pictures import attention_over_frame as attention_over_frame
from awm.figures.pictures import error_picture as error_picture
from awm.figures.pictures import frame_grid as frame_grid
from awm.figures.pictures import laps as laps
from awm.figures.pictures import latent_traversal as latent_traversal
from awm.figures.pictures import overlay_attention as overlay_attention
from awm.figures.pictures import reconstruction_pairs as reconstruction_pairs
from awm.figures.pictures import squared_error as squared_error
from awm.figures.plots import altered_worlds as altered_worlds
from awm.figures.plots import attention_over_entries as attention_over_entries
from awm.figures.plots import attention_over_time as attention_over_time
from awm.figures.plots import data_coverage as data_coverage
from awm.figures.plots import equal_terms as equal_terms
from awm.figures.plots import kl_per_dimension as kl_per_dimension
from awm.figures.plots import likelihood_gains as likelihood_gains
from awm.figures.plots import probes as probes
from awm.figures.plots import returns_comparison as returns_comparison
from awm.figures.plots import tracks as tracks
from awm.figures.theme import COLORS as COLORS
from awm.figures.theme import figure as figure
from awm.figures.theme import model_color as model_color
from awm.figures.theme import model_label as model_label
from awm.figures.theme import panels as panels
