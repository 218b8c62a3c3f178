"""What each latent does: turn it by hand and watch V's decoder draw."""

from functools import partial

import ipywidgets
import numpy as np
import torch

from awm import figures
from awm.data.rollouts import open_rollouts
from awm.models.vae import to_frames
from awm.training import vae
from awm.widgets.panel import Panel, Picture, in_a_row, or_notice

#: How far sliders reach, in standard deviations of the prior, unless a frame asks for more.
REACH = 4.0
#: Their step. Binary fractions survive a browser's arithmetic: it sends a value back to the kernel,
#: as if someone had turned the slider, when its own rounding makes it another.
STEP = 1 / 8

_TRAVERSAL = np.linspace(-3, 3, 7)


class LatentExplorer(Panel):
    """Turn V's latents by hand, the most informative first; V does not use the grey ones.

    `sliders` has one entry a latent, `z` `[z_size]` is the vector shown, and `traversed` the latent
    whose range is shown. A frame's code can be the start.

    Args:
        profile: a `Workspace`, a profile or its name. Without its rollouts z begins at zero.
    """

    def __init__(self, profile):
        super().__init__(profile)
        self.v, self._rng = vae.load(self.ws), np.random.default_rng()
        self.kl = np.array(self.v.manifest["kl_per_latent"])
        self.order = np.argsort(-self.kl, kind="stable").tolist()
        self.z = np.zeros(self.v.z_size, np.float32)
        options = [(f"z{dim}", dim) for dim in self.order]
        self.traversed = self.control(ipywidgets.Dropdown, options=options, description="latent")
        self.original, self.decoded = Picture("this frame"), Picture("decoded from z")
        self.strip = Picture(width=64 * len(_TRAVERSAL))
        self.sliders = [self._slider(dim) for dim in range(self.v.z_size)]
        tip = "z is what V's encoder makes of the frame"
        self.from_frame = self.button("from this frame", tip, self._from_frame)
        self.random_dream = self.button("random dream", "z ~ N(0, I)", self._random)
        self.zero = self.button("zero", "the prior's mean", lambda: self.show(0 * self.z))
        buttons, pictures = [self.random_dream, self.zero], [self.decoded, self.strip]
        if rollouts := self.optional(open_rollouts):
            self.choose(rollouts)
            buttons, pictures = [self.from_frame, *buttons], [self.original, *pictures]
            self.attempt(self.chosen)
            self.attempt(self._from_frame)
        columns = {"grid_template_columns": "repeat(auto-fill, minmax(230px, 1fr))"}
        grid = ipywidgets.GridBox([self.sliders[dim] for dim in self.order], layout=columns)
        above = [self.chooser, self.summary] if rollouts else []
        self.lay_out(*above, in_a_row(*buttons), in_a_row(*pictures), self.traversed, grid)

    def chosen(self):
        self.original.draw(self.seen)
        self.summary.value = self.describe()

    def show(self, z: np.ndarray) -> None:
        """Set all latents at once; the picture is drawn once."""
        self.z = np.array(z, np.float32)
        with self.held():
            for slider, value in zip(self.sliders, self.z.tolist(), strict=True):
                reach = REACH
                while reach < abs(value):
                    reach *= 2
                with slider.hold_trait_notifications():
                    slider.min, slider.max = -reach, reach
                slider.value = round(value / STEP) * STEP
        self.redraw()

    def _from_frame(self):
        self.show(self.encode(self.seen[None])[0][0].numpy())

    def _random(self):
        self.show(self._rng.standard_normal(len(self.z)))

    def _slider(self, dim: int):
        color = figures.COLORS["V" if dim in self.v.informative else "untrained"]
        return self.control(
            ipywidgets.FloatSlider, partial(self._turn, dim), min=-REACH, max=REACH, step=STEP,
            description=f"z{dim}", tooltip=f"{self.kl[dim]:.2f} nats", layout={"width": "97%"},
            style={"description_width": "30px", "handle_color": color},
        )  # fmt: skip

    def _turn(self, dim: int):
        value = self.sliders[dim].value
        # z may lie between steps; where its slider stands then is nobody's turn.
        if abs(value - self.z[dim]) > STEP / 2:
            self.z[dim] = value
            with self.held():
                self.traversed.value = dim
            self.redraw()

    def _decode(self, dims: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Frames of z, and of z with some latents from −3 to 3 `[dims, 7, 64, 64, 3]`."""
        z = np.repeat(self.z[None], 1 + len(dims) * len(_TRAVERSAL), axis=0)
        around = z[1:].reshape(len(dims), len(_TRAVERSAL), -1)
        for row, dim in enumerate(dims):
            around[row, :, dim] = _TRAVERSAL
        frames = to_frames(self.v.decode(torch.from_numpy(z)))
        return frames[0], frames[1:].reshape(len(dims), len(_TRAVERSAL), *frames.shape[1:])

    def _draw(self):
        dim = self.traversed.value
        picture, (strip,) = self._decode([dim])
        self.decoded.draw(picture)
        self.strip.draw(np.concatenate(strip, axis=1), 1)
        self.strip.title.value = (
            f"the same with <b>z{dim}</b> from −3 to 3, which carries {self.kl[dim]:.2f} nats"
        )

    def still(self):
        dims = self.order[:5]
        pictures = self._decode(dims)[1]
        return figures.latent_traversal(pictures, dims, _TRAVERSAL, self.kl[dims]), (
            "What V's decoder draws as each of the five most informative latents goes from −3 to 3."
        )


latent_explorer = or_notice(LatentExplorer)
