"""A rollout as it was driven: what was seen, done and earned, and what V made of it."""

import html
import math
from dataclasses import dataclass

import ipywidgets
import numpy as np

from awm import figures
from awm.config import Profile
from awm.errors import AwmError
from awm.figures.theme import BLUE, GREEN, INK, ORANGE, VERMILION
from awm.figures.timeline import Curves, Line, timeline
from awm.mdn_rnn import SMALLEST_REWARD
from awm.rollout import Recording
from awm.widgets.chooser import FrameChooser
from awm.widgets.models import encode, open_rollouts, open_vae
from awm.widgets.panel import SCALE, Panel, image, in_a_row, muted, or_notice, titled
from awm.widgets.timeline import Timeline

#: How many latents have a curve.
_LATENTS = 6


@or_notice
def rollout_player(rollouts, vae=None):
    """Play a rollout; actions, rewards and latents are curves, and a cursor keeps to the frame.

    Args:
        rollouts: a `Rollouts`, or a profile or its name; or an agent's drive, a `Recording`.
        vae: a `VAE`, or a profile or its name; by default V of the profile, if `rollouts` is one.
            Without it there are no latents, and the widget says what to run.
    """
    if vae is None and isinstance(rollouts, str | Profile):
        vae = rollouts
    rollouts = open_rollouts(_One(rollouts) if isinstance(rollouts, Recording) else rollouts)
    try:
        return RolloutPlayer(rollouts, open_vae(vae))
    except AwmError as error:
        return RolloutPlayer(rollouts, None, missing=str(error))


@dataclass(frozen=True)
class _One:
    """A recording in the place of rollouts."""

    recording: Recording

    def __len__(self) -> int:
        return 1

    def indices(self, split: str) -> tuple:
        return ()

    def episode(self, index: int) -> Recording:
        return self.recording


class RolloutPlayer(Panel):
    """See `rollout_player`. `rollout`, `frame` and `play` choose; `seen` is the frame."""

    def __init__(self, rollouts, vae=None, missing: str = ""):
        self._vae, self._drawn = vae, None
        self._chooser = FrameChooser(rollouts, self._draw)
        self.rollout, self.frame = self._chooser.rollout, self._chooser.frame
        self.play = self._chooser.play
        self.seen, self.curves, self.summary = image(), Timeline(), ipywidgets.HTML()
        self._draw()
        below = [muted(f"No latents are shown. {missing}")] if missing else []
        super().__init__(
            [
                self._chooser.view,
                in_a_row(titled("frame", self.seen, self.summary), self.curves),
                *below,
            ]
        )

    def _draw(self, _=None):
        try:
            episode, t = self._chooser.episode(), self.frame.value
        except AwmError as error:  # a damaged episode; the others can still be seen
            self.summary.value = html.escape(str(error))
            return
        # The picture goes out before V encodes a whole rollout that was not shown before.
        self.seen.value = figures.encode_png(episode.frames[t], SCALE)
        if self._drawn != self.rollout.value:
            self._drawn = self.rollout.value
            self.curves.draw(self._rows(episode), len(episode.frames), "frame")
        self.curves.move(t)
        done = "the end"
        if t < len(episode.actions):
            steer, gas, brake = episode.actions[t]
            done = (
                f"steering {steer:+.2f} · gas {gas:.2f} · brake {brake:.2f}<br>"
                f"reward {episode.rewards[t]:+.2f}"
            )
        described = html.escape(self._chooser.describe()).replace(" · ", "<br>")
        self.summary.value = (
            f'<div style="line-height: 1.5">{done}<br>'
            f"return so far <b>{episode.rewards[:t].sum():.1f}</b><br>{described}</div>"
        )

    def _rows(self, episode) -> list[Curves]:
        steer, gas, brake = np.asarray(episode.actions).T
        # Leaving the field costs 100 at once, which would flatten all else.
        reward = np.maximum(episode.rewards, SMALLEST_REWARD)
        rows = [
            Curves((Line("steering", steer, BLUE),), (-1, 1)),
            Curves((Line("gas", gas, GREEN), Line("brake", brake, VERMILION)), (0, 1)),
            Curves((Line("reward", reward, INK),)),
            Curves((Line("return", np.cumsum(episode.rewards), INK),)),
        ]
        if self._vae is None:
            return rows
        z, _ = encode(self._vae, episode.frames)
        reach = max(3.0, math.ceil(np.abs(z).max()))
        most = np.argsort(-z.std(axis=0), kind="stable")[:_LATENTS]
        return rows + [
            Curves((Line(f"z{dim}", z[:, dim], ORANGE),), (-reach, reach), 26) for dim in most
        ]

    def still(self):
        episode = self._chooser.episode()
        return timeline(self._rows(episode), len(episode.frames), "frame"), (
            f"Actions, rewards and the latents that move most along rollout {self.rollout.value}. "
            "In JupyterLab, the rollout plays and a cursor keeps to the frame."
        )
