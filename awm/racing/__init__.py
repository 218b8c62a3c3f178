"""The simulator: Gymnasium's CarRacing-v3 with 64×64 frames, fast or as Gymnasium draws them."""

import os
import tempfile
from pathlib import Path

import gymnasium
from numba.core import config as numba_config

#: Gymnasium's own time limit for CarRacing-v3.
MAX_EPISODE_STEPS = 1000

# Compiled code is kept beside the source. Where that cannot be written to, and nothing else is set,
# it is kept among the temporary files: numba itself would refuse to import.
if not numba_config.CACHE_DIR and not os.access(Path(__file__).parent, os.W_OK):
    user = os.environ.get("USER", "user")
    numba_config.CACHE_DIR = str(Path(tempfile.gettempdir(), f"awm-numba-{user}"))

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
