"""CarRacing-v3 with Gymnasium's physics, bit for bit, and frames that are drawn the fast way."""

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d import car_racing
from gymnasium.error import InvalidAction

from awm.errors import AwmError
from awm.racing import physics, raster
from awm.racing.fleet import FINISHED, GOES_ON, Fleet, zoom
from awm.racing.physics import ANGLE, HULL, OMEGA, PHASE, SPIN, VX, VY, X, Y
from awm.racing.resize import FRAME_SIZE


class FastCarRacing(car_racing.CarRacing):
    """`CarRacing-v3` with observations uint8 `[64, 64, 3]`, about two orders of magnitude faster.

    The same seed and actions give the same track, rewards, termination and truncation as
    Gymnasium's environment, bit for bit. The frame shows what `awm/CarRacingReference-v3` shows,
    to within one of 255 levels on average. Options are Gymnasium's own. With
    `render_mode="rgb_array"` or `"human"`, `render()` draws Gymnasium's full window; Gymnasium's
    own car then drives, at its pace, because that is what its window can draw.

    Raises:
        AwmError: for a `render_mode` that CarRacing does not have.
    """

    def __init__(self, render_mode: str | None = None, *args, **kwargs):
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise AwmError(
                f"CarRacing has no render_mode {render_mode!r}. "
                f"Choose one of {', '.join(self.metadata['render_modes'])}, or leave it out."
            )
        super().__init__(render_mode, *args, **kwargs)
        self.observation_space = spaces.Box(0, 255, (FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        self._window = render_mode in ("human", "rgb_array")
        self._canvas = raster.canvas() if self._window else None
        self._fleet = None if self._window else Fleet(1, self.lap_complete_percent)
        self._drawn = None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """As Gymnasium's `CarRacing.reset`: a new track, the car on its first tile."""
        if self._window:
            return super().reset(seed=seed, options=options)
        gymnasium.Env.reset(self, seed=seed)
        if self.domain_randomize:
            self._reinit_colors((options or {}).get("randomize", True))
        fleet = self._fleet
        colours = np.array([self.road_color, self.bg_color, self.grass_color])
        fleet.place(0, self.np_random, colours)
        self.track = fleet.tracks[0]
        self.car = CarView(fleet.car(0), fleet.road(0))
        self.t, self.prev_reward = 0.0, 0.0
        return self._seen(), {}

    def step(self, action):
        """As Gymnasium's `CarRacing.step`; None leaves the controls, and earns nothing."""
        if self._window:
            return super().step(action)
        controls = None if action is None else self._controls(action)
        rewards, ended = self._fleet.step(controls, [0])
        if action is not None:
            self.prev_reward = self._fleet.reward(0)
        how = int(ended[0])
        info = {} if how == GOES_ON else {"lap_finished": how == FINISHED}
        return self._seen(), float(rewards[0]), how != GOES_ON, False, info

    def _seen(self) -> np.ndarray:
        fleet = self._fleet
        self.t += physics.DT
        self.reward, self.new_lap = fleet.reward(0), fleet.new_lap(0)
        self.tile_visited_count = int(fleet.tiles[0])
        self.state = fleet.frames[0].copy()
        return self.state

    def _controls(self, action) -> np.ndarray:
        if self.continuous:
            return np.asarray(action, np.float64)[None]
        if not self.action_space.contains(action):
            raise InvalidAction(
                f"{action!r} is not an action. Take one of {self.action_space}: "
                "0 nothing, 1 and 2 steer, 3 gas, 4 brake."
            )
        steer = 0.6 * (action == 1) - 0.6 * (action == 2)
        return np.array([(steer, 0.2 * (action == 3), 0.8 * (action == 4))])

    def _destroy(self):
        if self._window:  # without one there is nothing in Box2D's world
            super()._destroy()

    def _render(self, mode: str):
        """Our frame of what Gymnasium's car does, while its window is open."""
        if mode != "state_pixels":
            return super()._render(mode)
        if self.car is None:
            return None
        if self._drawn is not self.road_poly:
            self._listen_to_paint()
        bodies = (self.car.hull, *self.car.wheels)
        frame = np.empty((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        field, grass = raster.packed(np.array([self.bg_color, self.grass_color]))
        raster.draw(
            self._canvas,
            frame,
            field,
            np.array([grass]),
            self._road,
            raster.packed(self._road_colours),
            np.array([(*body.position, body.angle) for body in bodies]),
            np.array([wheel.phase for wheel in self.car.wheels]),
            zoom(self.t),
        )
        return frame

    def _listen_to_paint(self) -> None:
        """Gymnasium's contact listener repaints a tile that is touched by writing into its colour,
        so each tile gets a row of our array for its colour."""
        self._road = np.array([polygon for polygon, _ in self.road_poly], np.float64)
        self._road_colours = np.array([colour for _, colour in self.road_poly], np.float64)
        tile = iter(self.road)
        for n, (polygon, colour) in enumerate(self.road_poly):
            if isinstance(colour, np.ndarray):  # a tile; kerbs have tuples
                row = self._road_colours[n]
                next(tile).color = row
                self.road_poly[n] = (polygon, row)
        self._drawn = self.road_poly


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
