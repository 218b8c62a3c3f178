"""Attentive World Models: V, M and C on CarRacing-v3, with and without attention."""

import gymnasium

from awm.racing import MAX_EPISODE_STEPS, register_environments

__version__ = "0.2.0"

DREAM = "awm/DreamCarRacing-v0"

register_environments()
if DREAM not in gymnasium.registry:
    gymnasium.register(
        DREAM,
        "awm.worlds.environments:DreamCarRacing",
        vector_entry_point="awm.worlds.environments:DreamVectorEnv",
        max_episode_steps=MAX_EPISODE_STEPS,
    )
