"""Many cars, each on a track of its own, moved and drawn in one compiled call.

What `FastCarRacing` does for one car, without Python between the cars. Everything that belongs to
a lane lies in arrays that are made once: a new track is written over the old one.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from gymnasium.envs.box2d.car_racing import PLAYFIELD, SCALE, ZOOM
from gymnasium.utils import seeding
from numba import njit

from awm.racing import physics, raster, track
from awm.racing.physics import ANGLE, HULL, NEW_LAP, PHASE, REWARD, VISITED, X, Y
from awm.racing.resize import FRAME_SIZE

#: Columns of `Episodes.clocks`: the episode's time (s), and Gymnasium's `prev_reward`.
TIME, BEFORE = range(2)
#: How a step can end an episode.
GOES_ON, FINISHED, LEFT_FIELD = range(3)

#: Gymnasium's colours: of the road, the field, its squares of grass.
COLOURS = np.array([(102, 102, 102), (102, 204, 102), (102, 230, 102)])


class Episodes(NamedTuple):
    """What belongs to each lane `[L]`: a car (`physics.Car`), a track (`physics.Road`) and its
    looks.

    Of `counts` `[L, 2]` tiles and polygons the arrays' rows mean something: `polygons`
    `[L, 2T, 4, 2]` are drawn in packed `colours` `[L, 2T]`; a tile `drawn_as` `[L, T]` one of them
    takes the road's plain colour once it is touched. `paints` `[L, 3]` are the packed colours of
    road, field and grass, `clocks` `[L, 2]` as `TIME` and `BEFORE`.
    """

    bodies: np.ndarray
    joints: np.ndarray
    wheels: np.ndarray
    tally: np.ndarray
    corners: np.ndarray
    boxes: np.ndarray
    touching: np.ndarray
    visited: np.ndarray
    painted: np.ndarray
    counts: np.ndarray
    polygons: np.ndarray
    colours: np.ndarray
    drawn_as: np.ndarray
    paints: np.ndarray
    clocks: np.ndarray


def _episodes(lanes: int) -> Episodes:
    tiles = track.LONGEST
    # Zeros are not in memory until they are written: a usual track has 300 tiles.
    return Episodes(
        np.zeros((lanes, 5, 11), np.float32),
        np.zeros((lanes, 4, 6), np.float32),
        np.zeros((lanes, 4, 5)),
        np.zeros((lanes, 3)),
        np.zeros((lanes, tiles, 4, 2), np.float32),
        np.zeros((lanes, tiles, 4), np.float32),
        np.zeros((lanes, 4, tiles), bool),
        np.zeros((lanes, tiles), bool),
        np.zeros((lanes, tiles), bool),
        np.zeros((lanes, 2), np.int64),
        np.zeros((lanes, 2 * tiles, 4, 2)),
        np.zeros((lanes, 2 * tiles), np.uint32),
        np.zeros((lanes, tiles), np.int64),
        np.zeros((lanes, 3), np.uint32),
        np.zeros((lanes, 2)),
    )


@njit(cache=True)
def _car(episodes, lane):
    return physics.Car(
        episodes.bodies[lane], episodes.joints[lane], episodes.wheels[lane], episodes.tally[lane]
    )


@njit(cache=True)
def _road(episodes, lane):
    tiles = episodes.counts[lane, 0]
    return physics.Road(
        episodes.corners[lane, :tiles],
        episodes.boxes[lane, :tiles],
        episodes.touching[lane, :, :tiles],
        episodes.visited[lane, :tiles],
        episodes.painted[lane, :tiles],
    )


@njit(cache=True, nogil=True)
def _step(episodes, canvas, frames, active, actions, acting, percent, rewards, ended):
    """Gymnasium's `CarRacing.step` in every active lane; `rewards` and `ended` are written."""
    poses, phases = np.empty((5, 3)), np.empty(4)
    for lane in active:
        car, road = _car(episodes, lane), _road(episodes, lane)
        tiles, polygons = episodes.counts[lane]
        clock, tally, colours = episodes.clocks[lane], car.tally, episodes.colours[lane]
        steer, gas, brake = -actions[lane, 0], actions[lane, 1], actions[lane, 2]
        physics.step(car, road, percent, acting, steer, gas, brake)
        clock[TIME] += physics.DT

        for n in range(tiles):
            if road.painted[n]:
                colours[episodes.drawn_as[lane, n]] = episodes.paints[lane, 0]
        for i in range(5):
            poses[i, 0], poses[i, 1] = car.bodies[i, X], car.bodies[i, Y]
            poses[i, 2] = car.bodies[i, ANGLE]
        for k in range(4):
            phases[k] = car.wheels[k, PHASE]
        raster.draw(
            canvas,
            frames[lane],
            episodes.paints[lane, 1],
            episodes.paints[lane, 2:],
            episodes.polygons[lane, :polygons],
            colours,
            poses,
            phases,
            zoom(clock[TIME]),
        )

        rewards[lane], ended[lane] = 0.0, GOES_ON
        if not acting:
            continue
        tally[REWARD] -= 0.1
        rewards[lane] = tally[REWARD] - clock[BEFORE]
        clock[BEFORE] = tally[REWARD]
        if tally[VISITED] == tiles or tally[NEW_LAP]:
            ended[lane] = FINISHED
        if max(abs(car.bodies[HULL, X]), abs(car.bodies[HULL, Y])) > PLAYFIELD:
            rewards[lane], ended[lane] = -100.0, LEFT_FIELD


@njit(cache=True)
def zoom(time):
    """Window pixels a unit, `time` seconds into an episode: it begins with the whole field."""
    return 0.1 * SCALE * max(1 - time, 0.0) + ZOOM * SCALE * min(time, 1.0)


class Fleet:
    """A number of lanes, each with a car on a track.

    `frames` uint8 `[lanes, 64, 64, 3]` shows what each car's camera sees, `tiles` `[lanes]` counts
    the tiles that it has visited, `tracks` are Gymnasium's lists of `(alpha, beta, x, y)`.
    """

    def __init__(self, lanes: int, lap_complete_percent: float = 0.95):
        self.lanes, self.percent = lanes, lap_complete_percent
        self.frames = np.zeros((lanes, FRAME_SIZE, FRAME_SIZE, 3), np.uint8)
        self.tracks: list[list[tuple]] = [[] for _ in range(lanes)]
        self._episodes, self._canvas = _episodes(lanes), raster.canvas()
        self._no_actions = np.zeros((lanes, 3))

    def begin(self, lane: int, seed: int, colours: np.ndarray = COLOURS) -> None:
        """Gymnasium's `CarRacing.reset(seed=seed)` in one lane; `colours` as `COLOURS`."""
        self.place(lane, seeding.np_random(seed)[0], colours)

    def place(self, lane: int, rng: np.random.Generator, colours: np.ndarray = COLOURS) -> None:
        """A new track from a generator, the car on its first tile; `colours` as `COLOURS`."""
        laid_out = track.lay_out(track.draw_checkpoints(rng))
        while len(laid_out) == 0:  # Gymnasium too draws again when a track does not close
            laid_out = track.lay_out(track.draw_checkpoints(rng))
        self.tracks[lane] = [tuple(point) for point in laid_out.tolist()]
        tiles, polygons, kinds = track.polygons(laid_out)
        episodes, count = self._episodes, len(tiles)
        episodes.counts[lane] = count, len(polygons)
        for target, value in zip(self.car(lane), physics.place_car(*laid_out[0, 1:]), strict=True):
            target[:] = value
        for target, value in zip(self.road(lane), physics.lay_road(tiles), strict=True):
            target[:] = value
        # Every third tile is a little lighter, the next a little more; kerbs are white and red.
        tint = 0.01 * (kinds % 3) * 255
        shown = colours[0] + np.where(kinds >= 0, tint, 0.0)[:, None]
        shown[kinds == track.WHITE] = 255
        shown[kinds == track.RED] = (255, 0, 0)
        episodes.polygons[lane, : len(polygons)] = polygons
        episodes.colours[lane, : len(polygons)] = raster.packed(shown)
        episodes.drawn_as[lane, :count] = np.flatnonzero(kinds >= 0)
        episodes.paints[lane] = raster.packed(colours)
        episodes.clocks[lane] = 0.0
        self.step(None, [lane])

    def step(self, actions: np.ndarray | None, active: Sequence[int]):
        """Gymnasium's `CarRacing.step` in the `active` lanes.

        Args:
            actions: `[lanes, 3]`; None, for the first step of all, leaves the controls alone.

        Returns:
            Rewards float64 `[lanes]`, and how each episode goes on `[lanes]`: `GOES_ON`,
            `FINISHED` or `LEFT_FIELD`.
        """
        rewards, ended = np.zeros(self.lanes), np.zeros(self.lanes, np.int64)
        acting = actions is not None
        wanted = np.asarray(actions, np.float64) if acting else self._no_actions
        _step(
            self._episodes,
            self._canvas,
            self.frames,
            np.asarray(active, np.int64),
            wanted,
            acting,
            self.percent,
            rewards,
            ended,
        )
        return rewards, ended

    @property
    def tiles(self) -> np.ndarray:
        return self._episodes.tally[:, VISITED].astype(np.int64)

    def reward(self, lane: int) -> float:
        """All that an episode has earned until now, as Gymnasium counts it (without the edge)."""
        return float(self._episodes.tally[lane, REWARD])

    def new_lap(self, lane: int) -> bool:
        return bool(self._episodes.tally[lane, NEW_LAP])

    def car(self, lane: int) -> physics.Car:
        return _car(self._episodes, lane)

    def road(self, lane: int) -> physics.Road:
        return _road(self._episodes, lane)

    def position(self, lane: int) -> tuple[float, float]:
        """Where a car is, units of the world."""
        x, y = self._episodes.bodies[lane, HULL, [X, Y]]
        return float(x), float(y)
