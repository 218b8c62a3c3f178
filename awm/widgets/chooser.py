"""Sliders for a rollout and a frame of it, and a button that plays the frames."""

from functools import lru_cache

import ipywidgets
import numpy as np

from awm.errors import AwmError
from awm.rollout import Recording

#: What sliders beside each other share.
WIDE = {"layout": {"width": "480px"}, "style": {"description_width": "85px"}}


class FrameChooser:
    """Choose a rollout and a frame; `changed` is called once for every new choice.

    Args:
        indices: the rollouts to choose from, all by default.
        called: what a frame is called.
        leave: how many frames at an episode's end cannot be chosen.
    """

    def __init__(self, rollouts, changed, indices=None, called: str = "frame", leave: int = 0):
        self._rollouts, self._changed, self._quiet = rollouts, changed, False
        self._leave = leave
        # Stepping through frames must not read the episode from disk each time.
        self._read = lru_cache(maxsize=2)(rollouts.episode)
        if indices is None:
            self.rollout = ipywidgets.IntSlider(
                0, 0, len(rollouts) - 1, description="rollout", **WIDE
            )
        else:
            self.rollout = ipywidgets.SelectionSlider(
                options=indices, description="rollout", **WIDE
            )
        # Past the first second, in which the camera still zooms in.
        last = self._last()
        self.frame = ipywidgets.IntSlider(min(60, last // 2), 0, last, description=called, **WIDE)
        self.play = play(self.frame)
        self.rollout.observe(self._other_rollout, "value")
        self.frame.observe(self._other_frame, "value")
        self.view = ipywidgets.VBox([self.rollout, ipywidgets.HBox([self.frame, self.play])])

    def episode(self):
        """The chosen rollout. AwmError if it is damaged."""
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
        frame = f"frame {self.frame.value} of {len(episode.frames) - 1}"
        if isinstance(episode, Recording):
            return frame
        who = f"{episode.driver} driver · track seed {episode.seed}"
        return f"rollout {index} · {split}{who} · {frame}"

    def _last(self) -> int:
        return max(0, len(self.episode().frames) - 1 - self._leave)

    def _other_rollout(self, _):
        self._quiet = True
        try:
            self.frame.max = self.play.max = self._last()
        except AwmError:
            pass  # `changed` meets it again, and has a place to say so
        finally:
            self._quiet = False
        self._changed()

    def _other_frame(self, _):
        if not self._quiet:
            self._changed()


def play(slider: ipywidgets.IntSlider) -> ipywidgets.Play:
    """Buttons that move a slider on, ten steps a second."""
    player = ipywidgets.Play(
        slider.value, slider.min, slider.max, interval=100, show_repeat=False,
        description="play frames",
    )  # fmt: skip
    ipywidgets.jslink((player, "value"), (slider, "value"))
    return player
