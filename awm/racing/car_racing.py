"""CarRacing-v3 with Gymnasium's physics, bit for bit, and frames that are drawn the fast way."""

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d import car_dynamics, car_racing
from gymnasium.envs.box2d.car_dynamics import SIZE, WHEEL_R, WHEEL_W
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, SCALE, ZOOM
from gymnasium.error import InvalidAction

from awm.errors import AwmError
from awm.racing import physics, raster, track
from awm.racing.physics import (
    ANGLE,
    HULL,
    NEW_LAP,
    OMEGA,
    PHASE,
    REWARD,
    SPIN,
    VISITED,
    VX,
    VY,
    X,
    Y,
)
from awm.racing.resize import FRAME_SIZE

_DT = 1.0 / car_racing.FPS
_POSE = np.array([X, Y, ANGLE])

_HULL = (
    car_dynamics.HULL_POLY1,
    car_dynamics.HULL_POLY2,
    car_dynamics.HULL_POLY3,
    car_dynamics.HULL_POLY4,
)


def _car_shapes():
    """The car's convex parts in units of the world, as `raster.draw` takes them."""
    parts = np.zeros((len(_HULL), 8, 2))
    for part, corners in zip(parts, _HULL, strict=True):
        part[: len(corners)] = np.array(corners) * SIZE
    wheel = np.array([(1, 1), (1, -1), (-1, -1), (-1, 1)]) * (WHEEL_W * SIZE, WHEEL_R * SIZE)
    return parts, np.array([len(corners) for corners in _HULL]), wheel


def _grass() -> np.ndarray:
    """Grass squares `[400, 4, 2]`."""
    polygons = []
    for i in range(-20, 20, 2):
        for j in range(-20, 20, 2):
            x, y = GRASS_DIM * i, GRASS_DIM * j
            far_x, far_y = x + GRASS_DIM, y + GRASS_DIM
            polygons.append([(far_x, y), (x, y), (x, far_y), (far_x, far_y)])
    return np.array(polygons)


_CAR = _car_shapes()
_GRASS = _grass()


class FastCarRacing(car_racing.CarRacing):
    """`CarRacing-v3` with observations uint8 `[64, 64, 3]`, about two orders of magnitude faster.

    The same seed and actions give the same track, rewards, termination and truncation as
    Gymnasium's environment, bit for bit. The frame shows what `awm/CarRacingReference-v3` shows,
    to within one of 255 levels on average. Options are Gymnasium's own. With
    `render_mode="rgb_array"` or `"human"`, `render()` draws Gymnasium's full window; Gymnasium's
    own car then drives, at its pace, because that is what its window can draw.

    Args:
        frame: where to draw, uint8 `[64, 64, 3]`; every observation is then this same array. By
            default each observation is an array of its own.

    Raises:
        AwmError: for a `render_mode` that CarRacing does not have.
    """

    def __init__(self, render_mode: str | None = None, *args, frame=None, **kwargs):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise AwmError(
                f"CarRacing has no render_mode {render_mode!r}. "
                f"Choose one of {', '.join(self.metadata['render_modes'])}, or leave it out."
            )
        super().__init__(render_mode, *args, **kwargs)
        self.observation_space = spaces.Box(0, 255, (FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        self._window = render_mode in ("human", "rgb_array")
        self._frame = frame
        self._drawn = None
        self._samples = np.empty((raster.SAMPLES_Y, raster.SAMPLES_X), np.uint32)
        self._planes = np.empty((3, raster.ROWS, raster.COLUMNS), np.float32)
        self._poses = np.empty((5, 3))
        self._phases = np.empty(4)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """As Gymnasium's `CarRacing.reset`: a new track, the car on its first tile."""
        if self._window:
            return super().reset(seed=seed, options=options)
        gymnasium.Env.reset(self, seed=seed)
        self.reward = self.prev_reward = 0.0
        self.tile_visited_count = 0
        self.t = 0.0
        self.new_lap = False
        if self.domain_randomize:
            self._reinit_colors((options or {}).get("randomize", True))
        laid_out = track.lay_out(track.draw_checkpoints(self.np_random))
        while len(laid_out) == 0:  # Gymnasium too draws again when a track does not close
            laid_out = track.lay_out(track.draw_checkpoints(self.np_random))
        self.track = [tuple(point) for point in laid_out.tolist()]
        tiles, polygons, kinds = track.polygons(laid_out)
        self._state = physics.place_car(*self.track[0][1:4])
        self._tiles = physics.lay_road(tiles)
        self.car = CarView(self._state, self._tiles)
        self._prepare_drawing(polygons, kinds)
        return self.step(None)[0], {}

    def step(self, action):
        """As Gymnasium's `CarRacing.step`; None, for the first step of all, leaves the controls."""
        if self._window:
            return super().step(action)
        steer, gas, brake = (0.0, 0.0, 0.0) if action is None else self._controls(action)
        state = self._state
        tally = state.tally
        tally[REWARD] = self.reward
        physics.step(
            state, self._tiles, self.lap_complete_percent, action is not None, steer, gas, brake
        )
        self.reward = float(tally[REWARD])
        self.tile_visited_count = int(tally[VISITED])
        self.new_lap = bool(tally[NEW_LAP])
        self.t += _DT
        self.state = self._render("state_pixels")
        if action is None:
            return self.state, 0, False, False, {}
        self.reward -= 0.1
        step_reward, self.prev_reward = self.reward - self.prev_reward, self.reward
        terminated, info = False, {}
        if self.tile_visited_count == len(self.track) or self.new_lap:
            terminated, info["lap_finished"] = True, True
        x, y = state.bodies[HULL, X], state.bodies[HULL, Y]
        if abs(x) > PLAYFIELD or abs(y) > PLAYFIELD:
            terminated, info["lap_finished"] = True, False
            step_reward = -100
        return self.state, step_reward, terminated, False, info

    def _controls(self, action) -> tuple[float, float, float]:
        if self.continuous:
            return -float(action[0]), float(action[1]), float(action[2])
        if not self.action_space.contains(action):
            raise InvalidAction(
                f"{action!r} is not an action. Take one of {self.action_space}: "
                "0 nothing, 1 and 2 steer, 3 gas, 4 brake."
            )
        return (
            -0.6 * (action == 1) + 0.6 * (action == 2),
            0.2 * (action == 3),
            0.8 * (action == 4),
        )

    def _destroy(self):
        if self._window:  # without one there is nothing in Box2D's world
            super()._destroy()

    def _prepare_drawing(self, polygons: np.ndarray, kinds: np.ndarray) -> None:
        """Colours for the road's polygons; a tile's number in `kinds`, -1 white, -2 red."""
        tint = 0.01 * (kinds % 3) * 255
        colours = self.road_color + np.where(kinds >= 0, tint, 0.0)[:, None]
        colours[kinds == -1] = 255
        colours[kinds == -2] = (255, 0, 0)
        self._road, self._road_colours = polygons, colours
        self._polygon_of_tile = np.flatnonzero(kinds >= 0)
        self._painted = 0
        self._prepare_ground()

    def _prepare_window_drawing(self) -> None:
        """The same from what Gymnasium's window draws.

        Gymnasium's contact listener repaints a tile that is touched by writing into its colour,
        so each tile gets a row of our array for its colour.
        """
        self._road = np.array([polygon for polygon, _ in self.road_poly], np.float64)
        self._road_colours = np.array([colour for _, colour in self.road_poly], np.float64)
        tile = iter(self.road)
        for n, (polygon, colour) in enumerate(self.road_poly):
            if isinstance(colour, np.ndarray):  # a tile; borders have tuples
                row = self._road_colours[n]
                next(tile).color = row
                self.road_poly[n] = (polygon, row)
        self._drawn = self.road_poly
        self._prepare_ground()

    def _prepare_ground(self) -> None:
        self._ground = np.array([PLAYFIELD, *self.bg_color], np.float64)
        self._grass_colours = np.tile(np.float64(self.grass_color), (len(_GRASS), 1))

    def _render(self, mode: str):
        if mode != "state_pixels":
            return super()._render(mode)
        if self.car is None:
            return None
        poses, phases = self._poses, self._phases
        if self._window:
            if self._drawn is not self.road_poly:
                self._prepare_window_drawing()
            for i, body in enumerate((self.car.hull, *self.car.wheels)):
                x, y = body.position
                poses[i] = x, y, body.angle
            phases[:] = [wheel.phase for wheel in self.car.wheels]
        else:
            poses[:] = self._state.bodies[:, _POSE]
            phases[:] = self._state.wheels[:, PHASE]
            painted = self._tiles.painted
            if self._painted != np.count_nonzero(painted):
                self._road_colours[self._polygon_of_tile[painted]] = self.road_color
                self._painted = np.count_nonzero(painted)
        frame = self._frame
        if frame is None:
            frame = np.empty((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        raster.draw(
            self._samples,
            self._planes,
            frame,
            self._ground,
            _GRASS,
            self._grass_colours,
            self._road,
            self._road_colours,
            _CAR,
            poses,
            phases,
            0.1 * SCALE * max(1 - self.t, 0) + ZOOM * SCALE * min(self.t, 1),
        )
        return frame


class BodyView:
    """A body of the compiled car, to be read as one of Box2D's."""

    def __init__(self, row: np.ndarray):
        self._row = row

    @property
    def position(self) -> tuple[float, float]:
        return float(self._row[X]), float(self._row[Y])

    @property
    def angle(self) -> float:
        return float(self._row[ANGLE])

    @property
    def linearVelocity(self) -> tuple[float, float]:
        return float(self._row[VX]), float(self._row[VY])

    @property
    def angularVelocity(self) -> float:
        return float(self._row[SPIN])


class WheelView(BodyView):
    """A wheel of the compiled car: `omega`, `phase`, the `tiles` it touches, its `joint`."""

    def __init__(self, state: physics.Car, road: physics.Road, k: int):
        super().__init__(state.bodies[k + 1])
        self._hull, self._wheel = state.bodies[HULL], state.wheels[k]
        self._touching = road.touching[k]
        self.joint = JointView(self)

    @property
    def omega(self) -> float:
        return float(self._wheel[OMEGA])

    @property
    def phase(self) -> float:
        return float(self._wheel[PHASE])

    @property
    def gas(self) -> float:
        return float(self._wheel[physics.GAS])

    @property
    def tiles(self) -> list[int]:
        return np.flatnonzero(self._touching).tolist()


class JointView:
    """The joint between the hull and a wheel."""

    def __init__(self, wheel: WheelView):
        self._wheel = wheel

    @property
    def angle(self) -> float:
        return float(self._wheel._row[ANGLE] - self._wheel._hull[ANGLE])


class CarView:
    """The compiled car under the names of Gymnasium's `Car`, for drivers and telemetry."""

    def __init__(self, state: physics.Car, road: physics.Road):
        self.hull = BodyView(state.bodies[HULL])
        self.wheels = [WheelView(state, road, k) for k in range(4)]
