"""The dream as a Gymnasium environment: `awm/DreamCarRacing-v0`, alone or as a vector.

    import awm, gymnasium
    env = gymnasium.make("awm/DreamCarRacing-v0", world_model="quick", temperature=1.0)
    envs = gymnasium.make_vec("awm/DreamCarRacing-v0", num_envs=256, world_model="quick")

The observation is what C sees, [z, h], and the action CarRacing's own.
"""

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from awm.config import Profile
from awm.errors import AwmError
from awm.ids import Memory
from awm.racing import MAX_EPISODE_STEPS
from awm.store import Workspace
from awm.worlds import dream
from awm.worlds.dream import DreamSource, DreamWorld

_ACTIONS = spaces.Box(np.float32([-1, 0, 0]), np.float32([1, 1, 1]))
_SEEDS = 2**31

WorldModel = DreamSource | Workspace | Profile | str | None


class DreamCarRacing(gymnasium.Env):
    """One dream. It ends when M's end head says so; Gymnasium's time limit is CarRacing's.

    Args:
        world_model: a profile, whose V and M dream, or an `awm.worlds.dream.DreamSource`.
        memory: which M of the profile, `"plain"` or, for example, `"temporal-1"`.
        temperature: of M's samples.
        render_mode: `"rgb_array"` lets `render` return the dreamt frame, uint8 `[64, 64, 3]`.

    Raises:
        AwmError: if V, M or what else the dream needs is missing or does not fit.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}

    def __init__(
        self,
        world_model: WorldModel = None,
        memory: str = "plain",
        temperature: float = 1.0,
        render_mode: str | None = None,
    ):
        self.render_mode = _render_mode(render_mode)
        self._dream = _dream(world_model, memory, 1, temperature)
        self.observation_space = _observations(self._dream)
        self.action_space = _ACTIONS

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._dream.begin(0, int(self.np_random.integers(_SEEDS)))
        return self._dream.observe()[0].numpy(), {}

    def step(self, action):
        rewards, ended = self._dream.step(torch.as_tensor(np.asarray(action, np.float32))[None])
        return self._dream.observe()[0].numpy(), float(rewards[0]), bool(ended[0]), False, {}

    def render(self):
        return self._dream.frame(0) if self.render_mode else None


class DreamVectorEnv(VectorEnv):
    """Many dreams in one batch, a dream that has ended beginning anew with the next step.

    Args: as for `DreamCarRacing`; `max_episode_steps` truncates, as in Gymnasium's time limit.
    """

    metadata = {**DreamCarRacing.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        num_envs: int = 1,
        world_model: WorldModel = None,
        memory: str = "plain",
        temperature: float = 1.0,
        render_mode: str | None = None,
        max_episode_steps: int = MAX_EPISODE_STEPS,
    ):
        self.num_envs, self.render_mode = num_envs, _render_mode(render_mode)
        self.max_episode_steps = max_episode_steps
        self._dream = _dream(world_model, memory, num_envs, temperature)
        self.single_observation_space = _observations(self._dream)
        self.single_action_space = _ACTIONS
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(_ACTIONS, num_envs)
        self._over = np.zeros(num_envs, bool)
        self._age = np.zeros(num_envs, np.int64)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._restart(range(self.num_envs))
        return self._dream.observe().numpy(), {}

    def _restart(self, lanes) -> None:
        for lane in lanes:
            self._dream.begin(lane, int(self.np_random.integers(_SEEDS)))
        self._age[list(lanes)] = 0
        self._over[list(lanes)] = False

    def step(self, actions):
        fresh = np.flatnonzero(self._over).tolist()
        rewards, terminated = self._dream.step(torch.as_tensor(np.asarray(actions, np.float32)))
        self._age += 1
        truncated = (self._age >= self.max_episode_steps) & ~terminated
        if fresh:  # their last step was the end; this one begins, and earns nothing
            self._restart(fresh)
            rewards[fresh], terminated[fresh], truncated[fresh] = 0.0, False, False
        self._over = terminated | truncated
        return self._dream.observe().numpy(), rewards, terminated, truncated, {}

    def render(self):
        return tuple(map(self._dream.frame, range(self.num_envs))) if self.render_mode else None


def _dream(world_model: WorldModel, memory: str, lanes: int, temperature: float) -> DreamWorld:
    if not isinstance(world_model, DreamSource):
        world_model = dream.load(Workspace.open(world_model), Memory.parse(memory))
    return DreamWorld(world_model, lanes, temperature)


def _render_mode(mode: str | None) -> str | None:
    if mode not in (None, *DreamCarRacing.metadata["render_modes"]):
        raise AwmError(f"A dream has no render_mode {mode!r}. Use 'rgb_array' or None.")
    return mode


def _observations(world: DreamWorld) -> spaces.Box:
    size = world.source.v.z_size + world.source.m.hidden_size
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)
