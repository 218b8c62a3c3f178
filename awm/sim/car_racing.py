"""CarRacing-v3 with Gymnasium's physics, bit for bit, and frames that are drawn the fast way."""

import math

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs.box2d import car_dynamics, car_racing
from gymnasium.envs.box2d.car_dynamics import (
    ENGINE_POWER,
    FRICTION_LIMIT,
    SIZE,
    WHEEL_MOMENT_OF_INERTIA,
    WHEEL_R,
    WHEEL_W,
)
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, SCALE, ZOOM

from awm.errors import AwmError
from awm.sim import raster
from awm.sim.resize import FRAME_SIZE

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


class FastCar(car_dynamics.Car):
    """Gymnasium's car with the same arithmetic in plain Python floats.

    Gymnasium's `Car.step` spends its time on numpy scalars and on asking Box2D for the same
    vectors again. Every operation here is one of Gymnasium's, in its order, so that results
    agree bit for bit; only what nobody reads (fuel) and what is drawn in the window alone (skid
    marks, kept when there is a window) may be left out.
    """

    def __init__(self, world, init_angle, init_x, init_y, skid_marks: bool):
        super().__init__(world, init_angle, init_x, init_y)
        self.skid_marks = skid_marks

    def gas(self, gas):
        """Gas pedal, clipped to [0, 1]; it opens by at most 0.1 a step and closes at once."""
        gas = min(max(float(gas), 0.0), 1.0)
        for wheel in self.wheels[2:4]:
            wheel.gas += min(gas - wheel.gas, 0.1)

    def step(self, dt):
        """Steer, turn and push the four wheels for one step of `dt` seconds."""
        for wheel in self.wheels:
            joint = wheel.joint
            error = wheel.steer - joint.angle
            joint.motorSpeed = math.copysign(min(50.0 * abs(error), 3.0), error) if error else 0.0

            limit = FRICTION_LIMIT * 0.6
            for tile in wheel.tiles:
                limit = max(limit, FRICTION_LIMIT * tile.road_friction)

            # The wheel's x axis in the world; its forward axis is that, turned left.
            side_x, side_y = wheel.GetWorldVector((1, 0))
            forward_x, forward_y = -side_y, side_x
            velocity_x, velocity_y = wheel.linearVelocity
            forward_speed = forward_x * velocity_x + forward_y * velocity_y
            side_speed = side_x * velocity_x + side_y * velocity_y

            omega = wheel.omega
            omega += dt * ENGINE_POWER * wheel.gas / WHEEL_MOMENT_OF_INERTIA / (abs(omega) + 5.0)
            brake = wheel.brake
            if brake >= 0.9:
                omega = 0.0
            elif brake > 0 and omega != 0:
                slowed = min(15 * brake, abs(omega))
                omega += -slowed if omega > 0 else slowed
            wheel.phase += omega * dt

            forward_force = -forward_speed + omega * wheel.wheel_rad
            side_force = -side_speed
            forward_force *= 205000 * SIZE * SIZE
            side_force *= 205000 * SIZE * SIZE
            force = math.sqrt(forward_force * forward_force + side_force * side_force)

            if self.skid_marks:
                self._leave_skid_mark(wheel, force, limit)
            if force > limit:
                forward_force /= force
                side_force /= force
                forward_force *= limit
                side_force *= limit

            wheel.omega = omega - dt * forward_force * wheel.wheel_rad / WHEEL_MOMENT_OF_INERTIA
            wheel.ApplyForceToCenter(
                (
                    side_force * side_x + forward_force * forward_x,
                    side_force * side_y + forward_force * forward_y,
                ),
                True,
            )

    def _leave_skid_mark(self, wheel, force, limit):
        if force <= 2.0 * limit:
            wheel.skid_start = wheel.skid_particle = None
            return
        grass = not wheel.tiles
        mark = wheel.skid_particle
        position = wheel.position  # Box2D's own vector: as in Gymnasium, it moves with the wheel
        if mark and mark.grass == grass and len(mark.poly) < 30:
            mark.poly.append((position[0], position[1]))
        elif wheel.skid_start is None:
            wheel.skid_start = position
        else:
            wheel.skid_particle = self._create_particle(wheel.skid_start, position, grass)
            wheel.skid_start = None


class FastCarRacing(car_racing.CarRacing):
    """`CarRacing-v3` with observations uint8 `[64, 64, 3]`, about two orders of magnitude faster.

    The same seed and actions give the same track, rewards, termination and truncation as
    Gymnasium's environment, bit for bit. The frame shows what `awm/CarRacingReference-v3` shows,
    to within one of 255 levels on average. Options are Gymnasium's own; with
    `render_mode="rgb_array"` or `"human"`, `render()` draws Gymnasium's full window.

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
        self._frame = frame
        self._samples = np.empty((raster.SAMPLES_Y, raster.SAMPLES_X), np.uint32)
        self._small = np.empty((raster.ROWS, FRAME_SIZE, 3), np.float32)
        self._poses = np.empty((5, 3))
        self._phases = np.empty(4)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        """As Gymnasium's `CarRacing.reset`, with our car on the track."""
        gymnasium.Env.reset(self, seed=seed)
        self._destroy()
        self.contactListener_keepref = car_racing.FrictionDetector(self, self.lap_complete_percent)
        self.world.contactListener = self.contactListener_keepref
        self.reward = self.prev_reward = 0.0
        self.tile_visited_count = 0
        self.t = 0.0
        self.new_lap = False
        self.road_poly = []
        if self.domain_randomize:
            self._reinit_colors((options or {}).get("randomize", True))
        while not self._create_track():
            pass  # Gymnasium too draws again when a track does not close
        window = self.render_mode in ("human", "rgb_array")
        self.car = FastCar(self.world, *self.track[0][1:4], skid_marks=window)
        self._prepare_drawing()
        if self.render_mode == "human":
            self.render()
        return self.step(None)[0], {}

    def _prepare_drawing(self):
        """Gather the track's polygons into arrays.

        Box2D's contact listener repaints a tile that is touched by writing into its `color`, so
        each tile gets a row of our array for its colour and the drawing needs no list of them.
        """
        self._road = np.array([polygon for polygon, _ in self.road_poly], np.float64)
        self._road_colours = np.array([colour for _, colour in self.road_poly], np.float64)
        tile = iter(self.road)
        for n, (polygon, colour) in enumerate(self.road_poly):
            if isinstance(colour, np.ndarray):  # a tile; borders have tuples
                row = self._road_colours[n]
                next(tile).color = row
                self.road_poly[n] = (polygon, row)
        self._ground = np.array([PLAYFIELD, *self.bg_color], np.float64)
        self._grass_colours = np.tile(np.float64(self.grass_color), (len(_GRASS), 1))

    def _render(self, mode: str):
        if mode != "state_pixels":
            return super()._render(mode)
        if self.car is None:
            return None
        hull = self.car.hull
        poses, phases = self._poses, self._phases
        x, y = hull.position
        poses[0] = x, y, hull.angle
        for i, wheel in enumerate(self.car.wheels):
            x, y = wheel.position
            poses[i + 1] = x, y, wheel.angle
            phases[i] = wheel.phase
        frame = self._frame
        if frame is None:
            frame = np.empty((FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        raster.draw(
            self._samples,
            self._small,
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
