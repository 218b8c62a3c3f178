"""The real track: frames → V → z, M → h, and the simulator in every lane."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from awm.errors import AwmError
from awm.models.controller import act
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import VAE, to_input
from awm.racing import MAX_EPISODE_STEPS
from awm.racing.car_racing import FastCarRacing
from awm.racing.fleet import FINISHED, GOES_ON, LEFT_FIELD, Fleet
from awm.racing.reference import ReferenceCarRacing
from awm.worlds import altered
from awm.worlds.lanes import one_thread

FRAMES = ("fast", "reference")

#: Frames that V encodes at a time. Fewer read its weights more often (8 cost 8 % more), more
#: idle with the last episodes.
_GROUP = 16


class Perception:
    """V and, if there is one, M, stepping a fixed number of lanes.

    The encoder, nearly all of a step's cost, works in groups of a few lanes; when lanes fall idle,
    groups are left out.

    Args:
        m: None for a controller that sees z alone.
        forgetful: begin every step from M's initial state (see `awm.study.faults`).
        pair: without an M, let C see the z before, too; of an episode's first frame it is z itself.
    """

    def __init__(
        self, v: VAE, m: MDNRNN | None, lanes: int, forgetful: bool = False, pair: bool = False
    ):
        self.v, self.m, self.lanes, self.forgetful = v, m, lanes, forgetful
        self.group = min(lanes, _GROUP)
        if lanes % self.group:
            raise AwmError(f"The number of lanes must be a multiple of {_GROUP}, not {lanes}.")
        self.state = m.initial_state(lanes) if m else None
        self.z = torch.zeros(lanes, v.z_size)
        self.before = torch.zeros(lanes, v.z_size) if pair else None
        self._fresh = torch.ones(lanes, dtype=torch.bool)
        needs_map = m is not None and m.needs_map
        self.feature_map = torch.zeros(lanes, *v.map_shape) if needs_map else None
        self._gathered = np.zeros((lanes, 64, 64, 3), np.uint8)

    def observe(self, frames: np.ndarray, active: Sequence[int]) -> Tensor:
        """C's inputs [z, h] of the frames `[lanes, 64, 64, 3]`; z is the posterior's mean."""
        count, index = len(active), slice(None)
        if count < self.lanes:
            index = list(active)
            self._gathered[:count] = frames[index]
            frames = self._gathered
        parts = [
            self.v.encode(to_input(frames[i : i + self.group]), self.feature_map is not None)
            for i in range(0, count, self.group)
        ]
        if self.before is not None:
            self.before[index] = self.z[index]
        self.z[index] = torch.cat([part[0] for part in parts])[:count]
        if self.before is not None:
            self.before[self._fresh] = self.z[self._fresh]
            self._fresh[index] = False
            return torch.cat([self.z, self.before], dim=1)
        if self.feature_map is not None:
            self.feature_map[index] = torch.cat([part[2] for part in parts])[:count]
        return self.z if self.m is None else torch.cat([self.z, self.state.h], dim=1)

    def advance(self, action: Tensor) -> Tensor | None:
        """M's step from what was observed; returns the attention weights, if any."""
        if self.m is None:
            return None
        if self.forgetful:
            self.state = self.m.initial_state(self.lanes)
        self.state, weights = self.m.step(self.z, action, self.state, self.feature_map)
        return weights

    def forget(self, lane: int) -> None:
        """A new episode begins in a lane."""
        self._fresh[lane] = True
        if self.state is not None:
            self.state.forget(lane)


class Environments:
    """A Gymnasium environment in each lane, with the interface of a `Fleet`: slow and exact.

    Args:
        make: what opens an environment.
    """

    def __init__(self, lanes: int, make):
        self.make = make
        self.frames = np.zeros((lanes, 64, 64, 3), np.uint8)
        self.tiles = np.zeros(lanes, np.int64)
        self.envs: dict[int, FastCarRacing | ReferenceCarRacing] = {}  # as lanes are begun

    def begin(self, lane: int, seed: int) -> None:
        if lane not in self.envs:
            self.envs[lane] = self.make()
        self.frames[lane], _ = self.envs[lane].reset(seed=seed)
        self.tiles[lane] = self.envs[lane].tile_visited_count

    def step(self, actions: np.ndarray, active: Sequence[int]):
        rewards, ended = np.zeros(len(self.tiles)), np.full(len(self.tiles), GOES_ON)
        for lane in active:
            env = self.envs[lane]
            self.frames[lane], rewards[lane], over, _, info = env.step(actions[lane])
            self.tiles[lane] = env.tile_visited_count
            if over:
                ended[lane] = FINISHED if info.get("lap_finished", False) else LEFT_FIELD
        return rewards, ended

    @property
    def tracks(self) -> list:
        envs = (self.envs.get(lane) for lane in range(len(self.tiles)))
        return [env.track if env else [] for env in envs]

    def position(self, lane: int) -> tuple[float, float]:
        x, y = self.envs[lane].car.hull.position
        return float(x), float(y)

    def picture(self, lane: int) -> np.ndarray:
        """Gymnasium's own picture, uint8 `[400, 600, 3]`."""
        return self.envs[lane].render()


class TrackWorld:
    """The track as a world of lanes (`awm.worlds.lanes.World`).

    `simulator` is a `Fleet` or `Environments`.

    Args:
        v, m, forgetful, pair: as for `Perception`.
        frames: `"fast"`, or `"reference"` for Gymnasium's own.
        window: let the simulator draw Gymnasium's full picture, which is slow.
        alteration: of `awm.worlds.altered`, what is in the way of seeing.
        steps: of an episode, at most.

    Raises:
        AwmError: for frames or an alteration that there are not.
    """

    def __init__(
        self,
        v: VAE,
        m: MDNRNN | None,
        lanes: int,
        frames: str = "fast",
        forgetful: bool = False,
        window: bool = False,
        pair: bool = False,
        alteration: str | None = None,
        steps: int = MAX_EPISODE_STEPS,
    ):
        if frames not in FRAMES:
            raise AwmError(f"There are no {frames!r} frames. Choose one of: {', '.join(FRAMES)}.")
        altered.check(alteration)
        slow = window or frames == "reference"
        if slow and alteration == "colours":
            raise AwmError("Colours are altered on the fast frames only.")
        self.lanes, self.alteration = lanes, alteration
        self.perception = Perception(v, m, lanes, forgetful, pair)
        env = ReferenceCarRacing if frames == "reference" else FastCarRacing
        mode = "rgb_array" if window else None
        make = partial(env, render_mode=mode)
        self.simulator = Environments(lanes, make) if slow else Fleet(lanes)
        self.steps = steps
        self.finished = np.zeros(lanes, bool)
        self.attention: Tensor | None = None

    @property
    def tiles(self) -> np.ndarray:
        return self.simulator.tiles

    def begin(self, lane: int, seed: int) -> None:
        if self.alteration == "colours":
            self.simulator.begin(lane, seed, altered.colours(seed))
        else:
            self.simulator.begin(lane, seed)
        self.finished[lane] = False
        self.perception.forget(lane)

    def observe(self, active: Sequence[int]) -> Tensor:
        return self.perception.observe(
            altered.alter(self.simulator.frames, self.alteration), active
        )

    def step(self, action: Tensor, active: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        self.attention = self.perception.advance(action)
        rewards, how = self.simulator.step(action.numpy(), active)
        self.finished = how == FINISHED
        return rewards, how != GOES_ON

    def frame(self, lane: int) -> np.ndarray:
        return altered.alter(self.simulator.frames[lane : lane + 1], self.alteration)[0].copy()

    def result(self, lane: int) -> tuple[float, bool]:
        share = self.simulator.tiles[lane] / len(self.simulator.tracks[lane])
        return float(share), bool(self.finished[lane])


class AgentDriver:
    """An agent as a driver for data collection (`awm.data.rollouts.record`)."""

    def __init__(self, v: VAE, m: MDNRNN | None, layer: np.ndarray):
        self.v, self.m, self.layer = v, m, torch.from_numpy(layer)[None]

    def reset(self, env, rng: np.random.Generator) -> None:
        self.perception = Perception(self.v, self.m, lanes=1)

    @torch.inference_mode()
    def act(self, env, frame: np.ndarray) -> np.ndarray:
        with one_thread():
            action = act(self.layer, self.perception.observe(frame[None], [0]))
            self.perception.advance(action)
        return action[0].numpy()
