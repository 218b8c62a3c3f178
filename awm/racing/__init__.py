"""The simulator: Gymnasium's CarRacing-v3 with 64×64 frames, fast or as Gymnasium draws them."""

import gymnasium

#: Gymnasium's own time limit for CarRacing-v3.
MAX_EPISODE_STEPS = 1000

FAST = "awm/CarRacing-v3"
REFERENCE = "awm/CarRacingReference-v3"


def register_environments() -> None:
    """Register both environments with Gymnasium; calling it twice does nothing."""
    for name, entry in (
        (FAST, "awm.racing.car_racing:FastCarRacing"),
        (REFERENCE, "awm.racing.reference:ReferenceCarRacing"),
    ):
        if name not in gymnasium.registry:
            gymnasium.register(name, entry, max_episode_steps=MAX_EPISODE_STEPS)
