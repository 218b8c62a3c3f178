"""M dreams on from a real frame, beside what really happened after the same actions."""

import html
from dataclasses import dataclass

import ipywidgets
import numpy as np
import torch
from torch import Tensor

from awm import config, figures, mdn_rnn
from awm import vae as vision
from awm.errors import AwmError
from awm.figures.theme import INK
from awm.figures.timeline import Curves, Line
from awm.map_head import through_frames
from awm.widgets.chooser import WIDE, FrameChooser, play
from awm.widgets.models import encode, held_out, inference, open_ms, open_rollouts, open_vae
from awm.widgets.panel import SCALE, Panel, image, in_a_row, muted, or_notice, titled
from awm.widgets.timeline import Timeline

#: How many real steps M sees before it dreams, and how many it may then dream.
WARM_UP, HORIZON = 32, 128
#: How many of the last steps are dreamt again, with the same noise, at another temperature.
_AGAIN = 24


@or_notice
def dream_player(profile, kind: str = "none"):
    """Let M dream on from a frame of a held-out rollout, and compare with what happened.

    M sees up to 32 real steps, then only its own samples and the recorded actions. Choose the
    rollout, the frame at which the dream begins, the M and the temperature; play or step.
    A spatially attentive M looks at its own dream, decoded: 3 ms a step, where others need 0.2.

    Args:
        profile: whose rollouts, V and Ms; those that are not trained are named.
        kind: the M to begin with, one of `awm.config.ATTENTIONS`, if it is trained.
    """
    rollouts, vae = open_rollouts(profile), open_vae(profile)
    ms, missing = open_ms(profile, config.ATTENTIONS)
    return DreamPlayer(rollouts, vae, ms, kind, missing)


@dataclass(frozen=True)
class Moment:
    """A dream between two steps: z `[1, z]`, M's state, and what M expected of the last step."""

    z: Tensor
    state: mdn_rnn.State
    reward: float = 0.0
    end: float = 0.0  #: probability that the episode was over


class Dreaming:
    """One dream, moment by moment, with noise that is drawn beforehand.

    Args:
        begin: the moment at which M is left alone.
        actions: `[steps, 3]`, what is done in the dream.
        seed: of the noise.
    """

    def __init__(self, vae, m, begin: Moment, actions: np.ndarray, seed: int):
        self._vae, self._m, self._actions = vae, m, torch.from_numpy(np.array(actions))
        generator = torch.Generator().manual_seed(seed)
        shape = (len(actions), 1, vae.z_size)
        self._choice = torch.rand(shape, generator=generator)
        self._noise = torch.randn(shape, generator=generator)
        self.moments = [begin]

    def at(self, step: int, temperature: float) -> Moment:
        """The moment after so many steps; what is not dreamt yet is dreamt at `temperature`."""
        with inference():
            while len(self.moments) <= step:
                self.moments.append(self._next(temperature))
        return self.moments[step]

    def forget(self, step: int) -> None:
        """Keep no more than so many steps."""
        del self.moments[step + 1 :]

    def _next(self, temperature: float) -> Moment:
        now, t = self.moments[-1], len(self.moments) - 1
        frame_map = through_frames(self._vae, now.z) if self._m.needs_map else None
        state, _ = self._m.step(now.z, self._actions[t : t + 1], now.state, frame_map)
        expected = self._m.predict(state.h)
        z = expected.pick(self._choice[t], self._noise[t], temperature)
        return Moment(z, state, float(expected.reward), float(torch.sigmoid(expected.done_logit)))


class DreamPlayer(Panel):
    """See `dream_player`.

    `rollout`, `frame`, `kind` and `temperature` choose the dream; `step` and `play` move in it, and
    `one_step`, `reset` and `again` (the same dream with other noise) are buttons.
    """

    def __init__(self, rollouts, vae, ms: dict, kind: str = "none", missing: str = ""):
        self._vae, self._ms, self._seed, self._quiet = vae, ms, 0, False
        self._chooser = FrameChooser(
            rollouts, self._begin, held_out(rollouts), called="from frame", leave=1
        )
        self.rollout, self.frame = self._chooser.rollout, self._chooser.frame
        self._chooser.play.layout.display = "none"  # it would begin a dream a frame
        self.kind = ipywidgets.ToggleButtons(
            options=[(figures.model_label(name), name) for name in ms],
            value=kind if kind in ms else next(iter(ms)), style={"button_width": "auto"},
        )  # fmt: skip
        # Steps of an eighth: a browser's arithmetic leaves binary fractions alone.
        self.temperature = ipywidgets.FloatSlider(
            1.0, min=0.125, max=2.0, step=0.125, description="temperature",
            readout_format=".3f", **WIDE,
        )  # fmt: skip
        self.step = ipywidgets.IntSlider(0, 0, 1, description="step", **WIDE)
        self.play = play(self.step)
        self.one_step, self.reset, self.again = (
            ipywidgets.Button(description=name, tooltip=tip, layout={"width": "auto"})
            for name, tip in (
                ("step", "dream one step"),
                ("reset", "back to the real frame"),
                ("other noise", "the same beginning, another dream"),
            )
        )
        self.real, self.dreamt = image(), image()
        self.curves, self.summary = Timeline(), ipywidgets.HTML()
        self._begin()
        self.kind.observe(self._begin, "value")
        self.temperature.observe(self._reheat, "value")
        self.step.observe(lambda _: None if self._quiet else self._draw(), "value")
        self.one_step.on_click(lambda _: self._move(min(self.step.value + 1, self.step.max)))
        self.reset.on_click(lambda _: self._move(0))
        self.again.on_click(self._other_noise)
        buttons = [self.play, self.one_step, self.reset, self.again]
        super().__init__(
            [
                self.kind,
                self._chooser.view,
                self.temperature,
                ipywidgets.HBox([self.step, *buttons], layout={"flex_flow": "row wrap"}),
                in_a_row(
                    titled("reality", self.real),
                    titled("dream", self.dreamt),
                    titled("reward", self.curves, self.summary),
                ),
                *([muted(missing)] if missing else []),
            ]
        )

    def _begin(self, _=None):
        """A dream from the chosen frame; back to its first moment."""
        try:
            self._episode = self._chooser.episode()
        except AwmError as error:  # a damaged episode; the others can still be dreamt
            self.summary.value = html.escape(str(error))
            return
        self._steps = min(HORIZON, len(self._episode.actions) - self.frame.value)
        self._dream = self._dream_from(self.frame.value)
        self._quiet = True
        try:
            self.step.max = self.play.max = self._steps
            self.step.value = 0
        finally:
            self._quiet = False
        self._draw()

    def _dream_from(self, start: int) -> Dreaming:
        m, first = self._ms[self.kind.value], max(0, start - WARM_UP)
        mu, maps = encode(self._vae, self._episode.frames[first : start + 1])
        z, maps = torch.from_numpy(mu), torch.from_numpy(maps)
        actions = np.asarray(self._episode.actions, np.float32)
        real = torch.from_numpy(actions[first:start])
        with inference():
            state = m.initial_state(1)
            for t in range(len(real)):
                frame_map = maps[t : t + 1] if m.needs_map else None
                state, _ = m.step(z[t : t + 1], real[t : t + 1], state, frame_map)
        ahead = actions[start : start + self._steps]
        return Dreaming(self._vae, m, Moment(z[-1:], state), ahead, self._seed)

    def _reheat(self, _):
        self._dream.forget(max(0, self.step.value - _AGAIN))
        self._draw()

    def _other_noise(self, _):
        self._seed += 1
        self._begin()

    def _move(self, step: int):
        if self.step.value != step:
            self.step.value = step  # which draws

    def _draw(self):
        t, start = self.step.value, self.frame.value
        now = self._dream.at(t, self.temperature.value)
        with inference():
            picture = vision.to_frames(self._vae.decode(now.z))[0]
        self.real.value = figures.encode_png(self._episode.frames[start + t], SCALE)
        self.dreamt.value = figures.encode_png(picture, SCALE)
        real = self._episode.rewards[start : start + self._steps]
        real = np.maximum(real, mdn_rnn.SMALLEST_REWARD)  # as M learns them
        expected = np.array([moment.reward for moment in self._dream.moments[1:]])
        color = figures.model_color(self.kind.value)
        rows = [
            Curves((Line("real reward", real, INK), Line("M expects", expected, color)), height=72),
            Curves(
                (Line("real sum", np.cumsum(real), INK), Line("M's sum", expected.cumsum(), color)),
                height=72,
            ),
        ]
        self.curves.draw(rows, self._steps, "step")
        self.curves.move(max(0, t - 1))
        self.summary.value = (
            f"after {t} steps M expected <b>{expected[:t].sum():.1f}</b>, "
            f"the road gave <b>{real[:t].sum():.1f}</b>"
            f" · M takes this for the end with {100 * now.end:.1f} %<br>"
            f"{html.escape(self._chooser.describe())}"
        )

    def still(self):
        steps = np.unique(np.linspace(0, min(self._steps, 48), 7, dtype=int))
        self._dream.at(int(steps[-1]), self.temperature.value)
        z = torch.cat([self._dream.moments[step].z for step in steps])
        with inference():
            dreamt = vision.to_frames(self._vae.decode(z))
        figure = figures.frame_grid(
            [self._episode.frames[self.frame.value + steps], dreamt],
            ["driven", f"dreamt,\nτ = {self.temperature.value:g}"],
            [f"+{step}" for step in steps],
        )
        return figure, (
            f"Frames of rollout {self.rollout.value} as it was driven, and as "
            f"{figures.model_label(self.kind.value)} dreams it from the same frame with the same "
            "actions. In JupyterLab, the dream plays, and its beginning, M and temperature can be "
            "chosen."
        )
