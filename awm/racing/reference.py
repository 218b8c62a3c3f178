"""The yardstick: the frames that Gymnasium itself draws, cropped and resized to 64×64."""

import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d.car_racing import CarRacing

from awm.racing.resize import FRAME_SIZE, to_frame


class ReferenceCarRacing(CarRacing):
    """Gymnasium's CarRacing; only the observation is another: its top 84 rows, as `[64, 64, 3]`.

    Takes every option of Gymnasium's `CarRacing`. Slow (about 80 steps/s a core) and exact:
    the scores that the report claims are measured on these frames.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.observation_space = spaces.Box(0, 255, (FRAME_SIZE, FRAME_SIZE, 3), np.uint8)

    def _render(self, mode: str):
        picture = super()._render(mode)
        return to_frame(picture) if mode == "state_pixels" and picture is not None else picture
