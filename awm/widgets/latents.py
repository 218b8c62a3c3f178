"""What each latent does: turn it by hand and watch V's decoder draw."""

import ipywidgets
import numpy as np

from awm import figures
from awm import vae as vision
from awm.widgets.chooser import FrameChooser
from awm.widgets.models import decode, encode, inference, open_rollouts, open_vae
from awm.widgets.panel import SCALE, Panel, image, in_a_row, or_notice, titled

#: How far sliders reach, in standard deviations of the prior, unless a frame asks for more.
REACH = 4.0
#: Their step. Binary fractions survive a browser's arithmetic: it sends a value back to the kernel,
#: as if someone had turned the slider, when its own rounding makes it another.
STEP = 1 / 8

_TRAVERSAL = np.linspace(-3, 3, 7)


@or_notice
def latent_explorer(vae, rollouts=None, kl=None):
    """Turn each latent by hand and watch V's decoder draw.

    One slider a latent, the most informative first: by `kl` [z_size] nats, or measured on some
    frames of `rollouts`, which also let a dream start "from this frame". Both may be profiles,
    as in `reconstruction_browser`.
    """
    opened = None if rollouts is None else open_rollouts(rollouts)
    return LatentExplorer(open_vae(vae), opened, kl)


class LatentExplorer(Panel):
    """See `latent_explorer`. `z` is the latent vector shown; `sliders` has one entry a latent."""

    def __init__(self, vae, rollouts=None, kl=None):
        self._vae = vae
        self._quiet = False
        self._rng = np.random.default_rng()
        if kl is None and rollouts is not None:
            kl = _information(vae, rollouts)
        self.kl = None if kl is None else np.asarray(kl, float)
        self.order = np.arange(vae.z_size) if kl is None else np.argsort(-self.kl, kind="stable")
        self.z = np.zeros(vae.z_size, np.float32)
        self.traversed = ipywidgets.Dropdown(
            options=[(f"z{dim}", int(dim)) for dim in self.order], description="traversal of",
            layout={"width": "170px"}, style={"description_width": "80px"},
        )  # fmt: skip
        self.traversed.observe(lambda _: None if self._quiet else self._draw(), "value")
        self.decoded = image()
        self.strip = image(f"{64 * len(_TRAVERSAL)}px")
        self._strip_title = ipywidgets.HTML()
        self.sliders = [self._slider(dim) for dim in range(vae.z_size)]

        self.random_dream = ipywidgets.Button(description="random dream", tooltip="z ~ N(0, I)")
        self.zero = ipywidgets.Button(description="zero", tooltip="the prior's mean")
        self.random_dream.on_click(lambda _: self.show(self._rng.standard_normal(len(self.z))))
        self.zero.on_click(lambda _: self.show(np.zeros(len(self.z))))
        buttons, pictures, rows = [self.random_dream, self.zero], [], []
        self._chooser = None
        if rollouts is not None:
            self._chooser = FrameChooser(rollouts, self._draw_original)
            self.original = image()
            self.from_frame = ipywidgets.Button(
                description="from this frame", tooltip="z is what V's encoder makes of the frame"
            )
            self.from_frame.on_click(lambda _: self.show(self._encoded()))
            buttons.insert(0, self.from_frame)
            pictures.append(titled("this frame", self.original))
            rows.append(self._chooser.view)
        pictures.append(titled("decoded from z", self.decoded))
        grid = ipywidgets.GridBox(
            [self.sliders[dim] for dim in self.order],
            layout={"grid_template_columns": "repeat(auto-fill, minmax(230px, 1fr))"},
        )
        if self._chooser is None:
            self._draw()
        else:
            self._draw_original()
            self.show(self._encoded())
        super().__init__(
            [
                *rows,
                ipywidgets.HBox(buttons),
                in_a_row(*pictures),
                ipywidgets.HBox([self.traversed, self._strip_title]),
                self.strip,
                grid,
            ]
        )

    def show(self, z):
        """Set all latents at once: `z` [z_size]. The picture is drawn once."""
        self._quiet = True
        try:
            self.z = np.array(z, np.float32)
            for slider, value in zip(self.sliders, self.z.tolist(), strict=True):
                reach = REACH
                while reach < abs(value):
                    reach *= 2
                if slider.max != reach:
                    with slider.hold_trait_notifications():
                        slider.min, slider.max = -reach, reach
                slider.value = round(value / STEP) * STEP
        finally:
            self._quiet = False
        self._draw()

    def _slider(self, dim: int):
        informative = self.kl is None or self.kl[dim] > vision.INFORMATIVE_NATS
        slider = ipywidgets.FloatSlider(
            value=0, min=-REACH, max=REACH, step=STEP, description=f"z{dim}",
            readout_format=".2f", layout={"width": "97%"},
            style={
                "description_width": "30px",
                "handle_color": figures.COLORS["V" if informative else "untrained"],
            },
        )  # fmt: skip
        if self.kl is not None:
            slider.tooltip = f"{self.kl[dim]:.2f} nats"

        def turn(change):
            # z may lie between steps; where its slider stands then is nobody's turn.
            unturned = abs(change["new"] - self.z[dim]) <= STEP / 2
            if not (self._quiet or unturned):
                self.z[dim] = change["new"]
                self._quiet = True
                self.traversed.value = dim
                self._quiet = False
                self._draw()

        slider.observe(turn, "value")
        return slider

    def _encoded(self):
        return encode(self._vae, self._chooser.picture()[None])[0][0]

    def _draw_original(self, _=None):
        self.original.value = figures.encode_png(self._chooser.picture(), SCALE)

    def _draw(self):
        # The picture and its neighbours along one latent, in one batch.
        dim = self.traversed.value
        around = np.repeat(self.z[None], 1 + len(_TRAVERSAL), axis=0)
        around[1:, dim] = _TRAVERSAL
        pictures = decode(self._vae, around)
        self.decoded.value = figures.encode_png(pictures[0], SCALE)
        self.strip.value = figures.encode_png(np.concatenate(pictures[1:], axis=1))
        nats = "" if self.kl is None else f", which carries {self.kl[dim]:.2f} nats"
        self._strip_title.value = f"the same with <b>z{dim}</b> from −3 to 3{nats}"

    def still(self):
        dims = self.order[:5]
        around = np.repeat(self.z[None, None], len(dims), axis=0).repeat(len(_TRAVERSAL), axis=1)
        for row, dim in enumerate(dims):
            around[row, :, dim] = _TRAVERSAL
        pictures = decode(self._vae, around.reshape(-1, len(self.z)))
        figure = figures.latent_traversal(
            pictures.reshape(*around.shape[:2], 64, 64, 3),
            dims,
            _TRAVERSAL,
            None if self.kl is None else self.kl[dims],
        )
        kind = "first" if self.kl is None else "most informative"
        return figure, (
            f"What V's decoder draws as each of the five {kind} latents goes from −3 to 3. "
            "In JupyterLab, a slider turns each of them."
        )


def _information(vae, rollouts, count: int = 256) -> np.ndarray:
    """Mean KL of each latent, nats [z_size], on about `count` frames spread over the rollouts."""
    episodes = np.unique(np.linspace(0, len(rollouts) - 1, 16).astype(int))
    each = -(-count // len(episodes))
    frames = []
    for index in episodes:
        seen = rollouts.episode(int(index)).frames
        frames.append(seen[np.unique(np.linspace(0, len(seen) - 1, each).astype(int))])
    with inference():
        mu, logvar = vae.encode(vision.to_input(np.concatenate(frames)))
        return vision.kl_divergence(mu, logvar).mean(0).numpy()
