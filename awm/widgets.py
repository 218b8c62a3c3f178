"""Things to touch in a notebook: browse reconstructions, turn V's latents.

Each function is one call whose result JupyterLab shows as a widget. A page exported from the
notebook has no kernel to answer a slider, so every widget brings a still picture along: whatever
cannot show the widget shows the picture instead. Pictures travel as small PNGs; nothing is drawn
by matplotlib while a slider moves.
"""

import html
from contextlib import contextmanager
from functools import lru_cache

import ipywidgets
import numpy as np
import torch

from awm import dataset, figures
from awm import vae as vision
from awm.config import Profile
from awm.errors import AwmError

#: How far sliders reach, in standard deviations of the prior, unless a frame asks for more.
REACH = 4.0
#: Their step. Binary fractions survive a browser's arithmetic: it sends a value back to the kernel,
#: as if someone had turned the slider, when its own rounding makes it another.
STEP = 1 / 8

_SCALE = 4  # screen pixels a frame's pixel
_SIDE = f"{64 * _SCALE}px"
_TRAVERSAL = np.linspace(-3, 3, 7)


def reconstruction_browser(rollouts, vae):
    """Choose a rollout and a frame; see it, what V keeps of it, and where the two differ.

    `rollouts` is a `Rollouts` and `vae` a `VAE`; either may be a profile or its name, which is
    then opened. If one is missing, the widget says what to run.
    """
    try:
        return ReconstructionBrowser(_open_rollouts(rollouts), _open_vae(vae))
    except AwmError as error:
        return Notice(str(error))


def latent_explorer(vae, rollouts=None, kl=None):
    """Turn each latent by hand and watch V's decoder draw.

    One slider a latent, the most informative first: by `kl` [z_size] nats, or measured on some
    frames of `rollouts`, which also let a dream start "from this frame". Both may be profiles,
    as in `reconstruction_browser`.
    """
    try:
        opened = None if rollouts is None else _open_rollouts(rollouts)
        return LatentExplorer(_open_vae(vae), opened, kl)
    except AwmError as error:
        return Notice(str(error))


class Panel(ipywidgets.VBox):
    """A widget with a still picture, `still()`, for where no kernel can answer."""

    def still(self):
        """What an exported page shows in the widget's place: (matplotlib Figure, alt text)."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options):
        figure, alt = self.still()
        png, metadata = figure._repr_png_()
        # A notebook prefers the widget's view to the picture; without a kernel there is no view.
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": alt, "image/png": png}, {
            "image/png": {**metadata, "alt": alt}
        }


class Notice(ipywidgets.VBox):
    """What is missing, and what to run, in the place of a widget."""

    def __init__(self, message: str):
        self.message = message
        self._html = (
            '<div role="note" style="border-left: 4px solid #d55e00; padding: .6em 1em; '
            f'background: #fdf3ec; color: #22272e">{html.escape(message)}</div>'
        )
        super().__init__([ipywidgets.HTML(self._html)])

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        return {**bundle, "text/plain": self.message, "text/html": self._html}


class ReconstructionBrowser(Panel):
    """See `reconstruction_browser`. `rollout` and `frame` are its sliders."""

    def __init__(self, rollouts, vae):
        self._vae = vae
        self._chooser = _FrameChooser(rollouts, self._draw)
        self.rollout, self.frame = self._chooser.rollout, self._chooser.frame
        self.original, self.reconstruction, self.error = (_image(_SIDE) for _ in range(3))
        self.summary = ipywidgets.HTML()
        pictures = [
            _titled("original", self.original),
            _titled("reconstruction", self.reconstruction),
            _titled("squared error", self.error),
        ]
        self._draw()
        super().__init__(
            [
                self._chooser.view,
                ipywidgets.HBox(pictures, layout={"flex_flow": "row wrap"}),
                self.summary,
            ]
        )

    def _draw(self, _=None):
        try:
            frame = self._chooser.picture()
        except AwmError as error:  # a damaged episode; the others can still be seen
            self.summary.value = html.escape(str(error))
            return
        picture = _reconstruct(self._vae, frame[None])[0]
        errors = figures.squared_error(frame, picture)
        self.original.value = figures.encode_png(frame, _SCALE)
        self.reconstruction.value = figures.encode_png(picture, _SCALE)
        self.error.value = figures.encode_png(figures.error_picture(errors), _SCALE)
        self.summary.value = (
            f"<b>squared error {errors.sum():.1f}</b>, summed over 64 × 64 × 3 values in [0, 1]"
            f"<br>{html.escape(self._chooser.describe())}"
        )

    def still(self):
        episode = self._chooser.episode()
        steps = np.unique(np.linspace(0, len(episode.frames) - 1, 6).astype(int))
        frames = episode.frames[steps]
        figure = figures.reconstruction_pairs(
            frames, _reconstruct(self._vae, frames), [f"frame {step}" for step in steps]
        )
        return figure, (
            f"Frames of rollout {self.rollout.value}, their reconstructions by V, and the squared "
            "error. In JupyterLab, sliders choose the rollout and the frame."
        )


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
        self._turned = int(self.order[0])
        self.decoded = _image(_SIDE)
        self.strip = _image(f"{64 * len(_TRAVERSAL)}px")
        self._strip_title = ipywidgets.HTML()
        self.sliders = [self._slider(dim) for dim in range(vae.z_size)]

        self.random_dream = ipywidgets.Button(description="random dream", tooltip="z ~ N(0, I)")
        self.zero = ipywidgets.Button(description="zero", tooltip="the prior's mean")
        self.random_dream.on_click(lambda _: self.show(self._rng.standard_normal(len(self.z))))
        self.zero.on_click(lambda _: self.show(np.zeros(len(self.z))))
        buttons, pictures, rows = [self.random_dream, self.zero], [], []
        self._chooser = None
        if rollouts is not None:
            self._chooser = _FrameChooser(rollouts, self._draw_original)
            self.original = _image(_SIDE)
            self.from_frame = ipywidgets.Button(
                description="from this frame", tooltip="z is what V's encoder makes of the frame"
            )
            self.from_frame.on_click(lambda _: self.show(self._encoded()))
            buttons.insert(0, self.from_frame)
            pictures.append(_titled("this frame", self.original))
            rows.append(self._chooser.view)
        pictures.append(_titled("decoded from z", self.decoded))
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
                ipywidgets.HBox(pictures, layout={"flex_flow": "row wrap"}),
                self._strip_title,
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
                self._turned = dim
                self._draw()

        slider.observe(turn, "value")
        return slider

    def _encoded(self):
        with _inference():
            return self._vae.encode(vision.to_input(self._chooser.picture()[None]))[0][0].numpy()

    def _draw_original(self, _=None):
        self.original.value = figures.encode_png(self._chooser.picture(), _SCALE)

    def _draw(self):
        # The picture and its neighbours along the latent last turned, in one batch.
        around = np.repeat(self.z[None], 1 + len(_TRAVERSAL), axis=0)
        around[1:, self._turned] = _TRAVERSAL
        pictures = _decode(self._vae, around)
        self.decoded.value = figures.encode_png(pictures[0], _SCALE)
        self.strip.value = figures.encode_png(np.concatenate(pictures[1:], axis=1))
        nats = "" if self.kl is None else f", which carries {self.kl[self._turned]:.2f} nats"
        self._strip_title.value = (
            f"the same with <b>z{self._turned}</b> from −3 to 3{nats} "
            "(turn another slider to see another latent)"
        )

    def still(self):
        dims = self.order[:5]
        around = np.repeat(self.z[None, None], len(dims), axis=0).repeat(len(_TRAVERSAL), axis=1)
        for row, dim in enumerate(dims):
            around[row, :, dim] = _TRAVERSAL
        pictures = _decode(self._vae, around.reshape(-1, len(self.z)))
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


class _FrameChooser:
    """Sliders for a rollout and a frame of it; `changed` is called once for every new choice."""

    def __init__(self, rollouts, changed):
        self._rollouts, self._changed, self._quiet = rollouts, changed, False
        # Stepping through frames must not read the episode from disk each time.
        self._read = lru_cache(maxsize=2)(rollouts.episode)
        wide = {"layout": {"width": "480px"}, "style": {"description_width": "55px"}}
        self.rollout = ipywidgets.IntSlider(0, 0, len(rollouts) - 1, description="rollout", **wide)
        # Past the first second, in which the camera still zooms in.
        last = len(self._read(0).frames) - 1
        self.frame = ipywidgets.IntSlider(min(60, last // 2), 0, last, description="frame", **wide)
        self.play = ipywidgets.Play(
            self.frame.value, 0, last, interval=100, show_repeat=False, description="play frames"
        )
        ipywidgets.jslink((self.play, "value"), (self.frame, "value"))
        self.rollout.observe(self._other_rollout, "value")
        self.frame.observe(self._other_frame, "value")
        self.view = ipywidgets.VBox([self.rollout, ipywidgets.HBox([self.frame, self.play])])

    def episode(self):
        return self._read(self.rollout.value)

    def picture(self) -> np.ndarray:
        """The chosen frame, uint8 [64, 64, 3]."""
        return self.episode().frames[self.frame.value]

    def describe(self) -> str:
        """Who drove, on which track, and which split the rollout belongs to."""
        episode, index = self.episode(), self.rollout.value
        splits = [
            name
            for name in ("train", "validation", "test")
            if index in self._rollouts.indices(name)
        ]
        split = f"{splits[0]} split · " if splits else ""
        return (
            f"rollout {index} · {split}{episode.driver} driver · track seed {episode.seed} · "
            f"frame {self.frame.value} of {len(episode.frames) - 1}"
        )

    def _other_rollout(self, _):
        self._quiet = True
        try:
            self.frame.max = self.play.max = len(self.episode().frames) - 1
        except AwmError:
            pass  # `changed` meets it again, and has a place to say so
        finally:
            self._quiet = False
        self._changed()

    def _other_frame(self, _):
        if not self._quiet:
            self._changed()


def _open_rollouts(rollouts):
    if isinstance(rollouts, str | Profile):
        rollouts = dataset.open_rollouts(rollouts)
    if rollouts is None or not len(rollouts):
        raise AwmError("There are no rollouts to look at. Run `awm collect` or notebook 01 first.")
    return rollouts


def _open_vae(vae):
    if isinstance(vae, str | Profile):
        vae = vision.load(vae)
    if vae is None:
        raise AwmError("There is no V to look at. Run `awm train vae` or notebook 02 first.")
    return vae


@contextmanager
def _inference():
    """No gradients and one thread: threads that wait for a busy core make one frame take 150 ms."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def _information(vae, rollouts, count: int = 256) -> np.ndarray:
    """Mean KL of each latent, nats [z_size], on about `count` frames spread over the rollouts."""
    episodes = np.unique(np.linspace(0, len(rollouts) - 1, 16).astype(int))
    each = -(-count // len(episodes))
    frames = []
    for index in episodes:
        seen = rollouts.episode(int(index)).frames
        frames.append(seen[np.unique(np.linspace(0, len(seen) - 1, each).astype(int))])
    with _inference():
        mu, logvar = vae.encode(vision.to_input(np.concatenate(frames)))
        return vision.kl_divergence(mu, logvar).mean(0).numpy()


def _decode(vae, z: np.ndarray) -> np.ndarray:
    """Latents [n, z_size] as frames uint8 [n, 64, 64, 3]."""
    with _inference():
        return vision.to_frames(vae.decode(torch.from_numpy(np.asarray(z, np.float32))))


def _reconstruct(vae, frames: np.ndarray) -> np.ndarray:
    """What V keeps of frames uint8 [n, 64, 64, 3]: decoded from the posterior's mean."""
    with _inference():
        mu, _ = vae.encode(vision.to_input(np.ascontiguousarray(frames)))
        return vision.to_frames(vae.decode(mu))


def _image(width: str):
    return ipywidgets.Image(format="png", layout={"width": width, "max_width": "100%"})


def _titled(title: str, image):
    label = ipywidgets.HTML(f"<b>{title}</b>")
    return ipywidgets.VBox([label, image], layout={"margin": "4px 12px 4px 0"})
