"""A rollout as it was driven, and what V keeps of its frames."""

import math

import numpy as np

from awm import figures
from awm.data.rollouts import open_rollouts
from awm.figures.theme import BLUE, GREEN, INK, ORANGE, VERMILION
from awm.figures.timeline import Curves, Line, timeline
from awm.models.vae import to_frames
from awm.training import vae
from awm.widgets.panel import Panel, Picture, Timeline, in_a_row, or_notice
from awm.worlds.lanes import Recording

#: How many latents have a curve.
_LATENTS = 6


class ReconstructionBrowser(Panel):
    """Choose a frame; see it, what V's 32 numbers keep of it, and where the two differ.

    What survives is all that M and C ever see.

    Args:
        profile: a `Workspace`, a profile or its name.
    """

    def __init__(self, profile):
        super().__init__(profile)
        self.choose(open_rollouts(self.ws))
        self.v = vae.load(self.ws)
        titles = ("original", "reconstruction", "squared error")
        self.pictures = self.original, self.reconstruction, self.error = [*map(Picture, titles)]
        self.lay_out(self.chooser, in_a_row(*self.pictures), self.summary)

    def _reconstruct(self, frames: np.ndarray) -> np.ndarray:
        return to_frames(self.v.decode(self.encode(frames)[0]))

    def _draw(self):
        reconstruction = self._reconstruct(self.seen[None])[0]
        errors = figures.squared_error(self.seen, reconstruction)
        shown = self.seen, reconstruction, figures.error_picture(errors)
        for picture, pixels in zip(self.pictures, shown, strict=True):
            picture.draw(pixels)
        self.summary.value = (
            f"<b>squared error {errors.sum():.1f}</b>, summed over 64 × 64 × 3 values in [0, 1]"
            f"<br>{self.describe()}"
        )

    def still(self):
        steps = np.unique(np.linspace(0, len(self.episode.frames) - 1, 6, dtype=int))
        frames, titles = self.episode.frames[steps], [f"frame {step}" for step in steps]
        return figures.reconstruction_pairs(frames, self._reconstruct(frames), titles), (
            f"Frames of rollout {self.rollout.value}, their reconstructions by V, and the error."
        )


class RolloutPlayer(Panel):
    """Play a rollout: what was driven, what it earned, and the latents that V makes of it.

    Args:
        profile: a `Workspace`, a profile or its name. Without its V there are no latents.
        recording: an agent's drive (`awm.worlds.lanes.record`), to play instead of its rollouts.
    """

    def __init__(self, profile, recording: Recording | None = None):
        super().__init__(profile)
        self.choose(recording or open_rollouts(self.ws))
        self.v = self.optional(vae.load)
        self.picture, self.curves = Picture("frame"), Timeline("frame")
        self.picture.children += (self.summary,)
        self.lay_out(self.chooser, in_a_row(self.picture, self.curves))

    def _draw(self):
        episode, t = self.episode, self.frame.value
        # The picture goes out before V encodes a whole rollout that was not shown before.
        self.picture.draw(self.seen)
        self.curves.draw(self.rollout.value, t, len(episode.frames), self._rows)
        done = "the end"
        if t < len(episode.actions):
            done = "steering {:+.2f} · gas {:.2f} · brake {:.2f}".format(*episode.actions[t])
            done += f"<br>reward {episode.rewards[t]:+.2f}"
        so_far = f"return so far <b>{episode.rewards[:t].sum():.1f}</b>"
        lines = f"{done}<br>{so_far}<br>{self.describe().replace(' · ', '<br>')}"
        self.summary.value = f'<div style="line-height: 1.5">{lines}</div>'

    def _rows(self) -> list[Curves]:
        episode = self.episode
        steer, gas, brake = np.asarray(episode.actions).T
        # Leaving the field costs 100 at once, which would flatten all else.
        reward = np.maximum(episode.rewards, self.ws.profile.mdn_rnn.smallest_reward)
        rows = [
            Curves((Line("steering", steer, BLUE),), (-1, 1)),
            Curves((Line("gas", gas, GREEN), Line("brake", brake, VERMILION)), (0, 1)),
            Curves((Line("reward", reward, INK),)),
            Curves((Line("return", np.cumsum(episode.rewards), INK),)),
        ]
        if self.v is None:
            return rows
        z = self.encode(episode.frames)[0].numpy()
        reach = max(3.0, math.ceil(np.abs(z).max()))
        most = np.argsort(-z.std(axis=0), kind="stable")[:_LATENTS]
        lines = [Line(f"z{dim}", z[:, dim], ORANGE) for dim in most]
        return rows + [Curves((line,), (-reach, reach), 26) for line in lines]

    def still(self):
        return timeline(self._rows(), len(self.episode.frames), "frame"), (
            f"Actions, rewards and the latents that move most along rollout {self.rollout.value}."
        )


reconstruction_browser = or_notice(ReconstructionBrowser)
rollout_player = or_notice(RolloutPlayer)
