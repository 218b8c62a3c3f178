"""What V keeps of a frame, and what it loses."""

import html

import ipywidgets
import numpy as np

from awm import figures
from awm.errors import AwmError
from awm.widgets.chooser import FrameChooser
from awm.widgets.models import open_rollouts, open_vae, reconstruct
from awm.widgets.panel import SCALE, Panel, image, in_a_row, or_notice, titled


@or_notice
def reconstruction_browser(rollouts, vae):
    """Choose a rollout and a frame; see it, what V keeps of it, and where the two differ.

    `rollouts` is a `Rollouts` and `vae` a `VAE`; either may be a profile or its name, which is
    then opened. If one is missing, the widget says what to run.
    """
    return ReconstructionBrowser(open_rollouts(rollouts), open_vae(vae))


class ReconstructionBrowser(Panel):
    """See `reconstruction_browser`. `rollout` and `frame` are its sliders."""

    def __init__(self, rollouts, vae):
        self._vae = vae
        self._chooser = FrameChooser(rollouts, self._draw)
        self.rollout, self.frame = self._chooser.rollout, self._chooser.frame
        self.original, self.reconstruction, self.error = (image() for _ in range(3))
        self.summary = ipywidgets.HTML()
        pictures = [
            titled("original", self.original),
            titled("reconstruction", self.reconstruction),
            titled("squared error", self.error),
        ]
        self._draw()
        super().__init__(
            [
                self._chooser.view,
                in_a_row(*pictures),
                self.summary,
            ]
        )

    def _draw(self, _=None):
        try:
            frame = self._chooser.picture()
        except AwmError as error:  # a damaged episode; the others can still be seen
            self.summary.value = html.escape(str(error))
            return
        picture = reconstruct(self._vae, frame[None])[0]
        errors = figures.squared_error(frame, picture)
        self.original.value = figures.encode_png(frame, SCALE)
        self.reconstruction.value = figures.encode_png(picture, SCALE)
        self.error.value = figures.encode_png(figures.error_picture(errors), SCALE)
        self.summary.value = (
            f"<b>squared error {errors.sum():.1f}</b>, summed over 64 × 64 × 3 values in [0, 1]"
            f"<br>{html.escape(self._chooser.describe())}"
        )

    def still(self):
        episode = self._chooser.episode()
        steps = np.unique(np.linspace(0, len(episode.frames) - 1, 6).astype(int))
        frames = episode.frames[steps]
        figure = figures.reconstruction_pairs(
            frames, reconstruct(self._vae, frames), [f"frame {step}" for step in steps]
        )
        return figure, (
            f"Frames of rollout {self.rollout.value}, their reconstructions by V, and the squared "
            "error. In JupyterLab, sliders choose the rollout and the frame."
        )
