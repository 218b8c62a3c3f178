"""Rollouts on disk: one compressed Zarr store, one chunk an episode.

Arrays `[episode, time, ...]`, padded to the longest possible episode:

- `frames` uint8 `[N, T+1, 64, 64, 3]`: what was seen before each action, and after the last
- `actions` float32 `[N, T, 3]`, `rewards` float32 `[N, T]`, `terminated` bool `[N, T]`
- `telemetry` float32 `[N, T+1, 6]`: what no model sees, for figures and probes (`TELEMETRY`)
- `lengths`, `seeds`, and the drivers' names, one an episode; `checksums` uint32 `[N, 5]`, one
  an array, verified whenever one is read

Workers drive and send what happened; this process writes it. An episode counts once its length is
written, so a killed collection goes on where it was. Nothing here needs the whole store in memory.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import numpy as np
from tqdm.auto import tqdm
from zarr.codecs import BloscCodec

from awm import config, processes, stages, store
from awm.config import Data
from awm.data import arrays
from awm.data.drivers import DRIVERS, assign
from awm.errors import AwmError
from awm.ids import PLAIN, Memory
from awm.processes import Workers
from awm.racing import MAX_EPISODE_STEPS
from awm.racing.car_racing import FastCarRacing
from awm.store import Stage, Workspace

#: Columns of `telemetry`: units of the world (a tile is 3.5 long), units/s, radians.
TELEMETRY = ("x", "y", "speed", "steering_angle", "centre_distance", "wheels_on_road")


#: The arrays, in the order of their checksums.
ARRAYS = ("frames", "actions", "rewards", "terminated", "telemetry")
_TYPES = ("uint8", "float32", "float32", "bool", "float32")


@dataclass(frozen=True)
class Episode:
    """One episode of `T` steps; `frames` and `telemetry` have `T + 1` entries."""

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    telemetry: np.ndarray
    seed: int
    driver: str


class Rollouts:
    """Finished stores, opened for reading: their episodes one store after the other."""

    def __init__(self, places: Sequence[str]):
        groups = [arrays.opened(place) for place in places]
        self.lengths = np.concatenate([group["lengths"][:] for group in groups])
        self.seeds = np.concatenate([group["seeds"][:] for group in groups])
        self.drivers = [name for group in groups for name in group.attrs["drivers"]]
        self._checksums = np.concatenate([group["checksums"][:] for group in groups])
        self._places = [
            (place, group, i)
            for place, group in zip(places, groups, strict=True)
            for i in range(group["lengths"].shape[0])
        ]
        self._splits: dict[str, list[int]] = {}
        first = 0
        for group in groups:
            for split, indices in group.attrs["splits"].items():
                self._splits.setdefault(split, []).extend(first + i for i in indices)
            first += group["lengths"].shape[0]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Steps for which the stores have room, the same in all."""
        return max(group["actions"].shape[1] for _, group, _ in self._places)

    def indices(self, split: str) -> np.ndarray:
        """Episode numbers of `"train"`, `"validation"` or `"test"`."""
        return np.array(self._splits[split])

    def episode(self, index: int) -> Episode:
        """Read one episode, without its padding. AwmError if it is damaged on disk."""
        return Episode(
            *(self.read(name, index) for name in ARRAYS),
            seed=int(self.seeds[index]),
            driver=self.drivers[index],
        )

    def read(self, name: str, index: int) -> np.ndarray:
        """One array of one episode, without its padding. AwmError if it is damaged on disk."""
        path, group, place = self._places[index]
        length = int(self.lengths[index]) + (name in ("frames", "telemetry"))
        with store.reading(f"{path}, {name} of episode {index},"):
            found = np.ascontiguousarray(group[name][place][:length])
            if crc32(found) != self._checksums[index, ARRAYS.index(name)]:
                raise ValueError("it is not what was written")
            return found

    def column(self, name: str) -> list[np.ndarray]:
        """One small array (`actions`, `rewards`, ...) of every episode, without padding."""
        return [self.read(name, i) for i in range(len(self))]


def open_rollouts(ws: Workspace, memory: Memory = PLAIN) -> Rollouts:
    """The finished rollouts that a memory learns from, of all rounds until its own.

    Raises:
        AwmError: if they are missing, unfinished, damaged, or of other settings.
    """
    return Rollouts([_finished(ws, stage) for stage in stages.recorded(ws.profile, memory)])


def _finished(ws: Workspace, stage: Stage) -> str:
    place = arrays.address(ws, stage.name)
    if not arrays.exists(place):
        raise AwmError(f"There are no rollouts at {place}. {stage.remedy}")
    if not _manifest(ws, stage).exists():
        _check(ws, stage)
        raise AwmError(
            f"The rollouts at {place} are not finished. {stage.remedy} It goes on from there."
        )
    manifest = ws.manifest(stage)
    with store.reading(place):
        same = manifest["content"] == _content(arrays.opened(place))
    if not same:
        raise AwmError(
            f"{place} is not what its manifest describes: it is damaged, or only one of the two "
            f"was replaced. Move both away. {stage.remedy}"
        )
    return place


def _manifest(ws: Workspace, stage: Stage) -> Path:
    return (ws.own / stage.name).with_suffix(".json")


def _content(group) -> str:
    """The hash of a whole store, through its episodes' checksums."""
    numbers = [group[name][:].tobytes() for name in ("lengths", "seeds", "checksums")]
    names = json.dumps([group.attrs["drivers"], group.attrs["splits"]])
    return sha256(b"".join(numbers) + names.encode()).hexdigest()[:16]


def collect(ws: Workspace, workers: Workers = None) -> Rollouts:
    """Let the drivers of the profile drive; returns at once if that has been done.

    Args:
        workers: as for `awm.processes.opened`.
    """
    data = ws.profile.data
    if unknown := dict(data.drivers).keys() - DRIVERS:
        raise AwmError(
            f"There is no driver {', '.join(unknown)}. Choose among: {', '.join(DRIVERS)}."
        )
    names = assign(data.rollouts, dict(data.drivers))
    drivers, lengths = [DRIVERS[name]() for name in names], _lengths(data, names)
    record(ws, stages.rollouts(ws.profile), names, drivers, lengths=lengths, workers=workers)
    return open_rollouts(ws)


def _lengths(data: Data, names: list[str]) -> list[int]:
    """How long each episode may last: evenly spread over each driver's, some run to their end."""
    seen, lengths = Counter(), []
    for name in names:
        share = 1.0 if name == "leaving" and data.ending else data.ending
        before, now = int(seen[name] * share), int((seen[name] + 1) * share)
        seen[name] += 1
        lengths.append(MAX_EPISODE_STEPS if now > before else data.steps)
    return lengths


def record(
    ws: Workspace,
    stage: Stage,
    names: list[str],
    drivers: list,
    offset: int = 0,
    lengths: list[int] | None = None,
    workers: Workers = None,
) -> None:
    """Let drivers drive and store what happens; goes on with a store that is unfinished.

    Args:
        drivers: one an episode, objects with `reset(env, rng)` and `act(env, frame)` that can be
            pickled, and the `names` they are recorded under.
        offset: of the tracks' seeds, among those of data.
        lengths: steps of each episode, at most; by default the profile's.
        workers: as for `awm.processes.opened`.
    """
    lengths = lengths or [ws.profile.data.steps] * len(names)
    with ws.lock(stage.name):
        _record(ws, stage, names, drivers, offset, lengths, workers)


def _record(ws: Workspace, stage: Stage, names, drivers, offset: int, most, workers) -> None:
    group = _open_for_writing(ws, stage, names, offset)
    if _manifest(ws, stage).exists():
        ws.manifest(stage)
        return
    missing = [int(i) for i in np.flatnonzero(group["lengths"][:] < 0)]
    started = time.perf_counter()
    try:
        with processes.opened(workers) as (executor, size):
            _drive_all(group, drivers, most, missing, executor, size)
    finally:
        seconds = group.attrs["wall_time_s"] + time.perf_counter() - started
        group.attrs["wall_time_s"] = round(seconds, 1)
    lengths = group["lengths"][:]
    manifest = ws.describe(
        stage,
        content=_content(group),
        wall_time_s=group.attrs["wall_time_s"],
        seeds=group["seeds"][:].tolist(),
        drivers=names,
        frames=int(np.sum(lengths) + len(lengths)),
    )
    store.write_json(_manifest(ws, stage), manifest)


def _check(ws: Workspace, stage: Stage) -> None:
    place = arrays.address(ws, stage.name)
    record = arrays.opened(place).attrs.get("record", {})
    if differs := ws.differences(record, stage):
        raise AwmError(
            f"The rollouts at {place} were begun {differs}. Move them away, or work in a profile "
            "with a name of its own."
        )


def _split(count: int, share: float) -> dict[str, list[int]]:
    """Shuffled by a fixed generator, so that a profile's split never depends on the run."""
    order = np.random.default_rng(count).permutation(count)
    held = max(1, round(share * count))
    parts = np.split(order, [held, 2 * held])
    names = ("validation", "test", "train")
    return {name: sorted(part.tolist()) for name, part in zip(names, parts, strict=True)}


def _open_for_writing(ws: Workspace, stage: Stage, names: list[str], offset: int):
    place = arrays.address(ws, stage.name)
    if arrays.exists(place) and "record" in arrays.opened(place).attrs:
        _check(ws, stage)
        return arrays.opened(place, "r+")
    data, count = ws.profile.data, len(names)
    steps = MAX_EPISODE_STEPS if data.ending else data.steps  # for which there is room
    group = arrays.opened(place, "w")
    compressor = BloscCodec(cname="zstd", clevel=3, shuffle="noshuffle")
    shapes = ((steps + 1, 64, 64, 3), (steps, 3), (steps,), (steps,), (steps + 1, len(TELEMETRY)))
    for name, shape, dtype in zip(ARRAYS, shapes, _TYPES, strict=True):
        group.create_array(
            name, shape=(count, *shape), chunks=(1, *shape), dtype=dtype, compressors=[compressor]
        )
    group.create_array("lengths", shape=(count,), chunks=(count,), dtype="int32", fill_value=-1)
    shape = (count, len(ARRAYS))
    group.create_array("checksums", shape=shape, chunks=shape, dtype="uint32")
    seeds = np.array(config.track_seeds(config.DATA_SEEDS, count, ws.profile.seed * count + offset))
    group.create_array("seeds", data=seeds, chunks=(count,))
    splits = _split(count, ws.profile.data.validation_share)
    # Last of all: a store with a record has all its arrays.
    record = ws.describe(stage)
    group.attrs.update(record=record, drivers=names, splits=splits, wall_time_s=0.0)
    return group


def _drive_all(group, drivers, most, missing: list[int], executor: Executor, size: int) -> None:
    seeds, queue, pending = group["seeds"][:], deque(missing), {}
    bar = tqdm(total=len(seeds), initial=len(seeds) - len(missing), unit="episode", desc="rollouts")
    with bar:
        while queue or pending:
            # A few at a time: an episode is 5 MB, and has to be written before it is forgotten.
            while queue and len(pending) < 3 * size:
                i = queue.popleft()
                episode = (store.CODE, drivers[i], int(seeds[i]), most[i])
                pending[executor.submit(_drive_one, *episode)] = i
            for job in wait(pending, return_when=FIRST_COMPLETED).done:
                _write(group, pending.pop(job), job.result())
                bar.update()


def _write(group, index: int, columns: list[np.ndarray]) -> None:
    """An episode's arrays into a store; it counts from its length on, which comes last."""
    for name, column in zip(ARRAYS, columns, strict=True):
        padded = np.zeros(group[name].shape[1:], group[name].dtype)
        padded[: len(column)] = column
        group[name][index] = padded
    group["checksums"][index] = [crc32(column) for column in columns]
    group["lengths"][index] = len(columns[ARRAYS.index("actions")])


def _telemetry(env) -> tuple[float, ...]:
    car = env.car
    x, y = car.hull.position
    centre = np.array(env.track)[:, 2:4]
    return (
        x,
        y,
        float(np.hypot(*car.hull.linearVelocity)),
        car.wheels[0].joint.angle,
        float(np.sqrt(np.square(centre - (x, y)).sum(axis=1).min())),
        sum(bool(wheel.tiles) for wheel in car.wheels),
    )


def _drive_one(code: str, driver, seed: int, most: int) -> list[np.ndarray]:
    """Drive one episode; returns its `ARRAYS`."""
    store.check_code(code)
    env = FastCarRacing()
    frame, _ = env.reset(seed=seed)
    driver.reset(env, np.random.default_rng(seed))
    columns = {"frames": [frame], "telemetry": [_telemetry(env)]}
    columns |= {"actions": [], "rewards": [], "terminated": []}
    for _ in range(most):
        action = driver.act(env, frame)
        frame, reward, terminated, _, _ = env.step(action)
        step = (frame, _telemetry(env), action, reward, terminated)
        for column, value in zip(columns.values(), step, strict=True):
            column.append(value)
        if terminated:
            break
    types = dict(zip(ARRAYS, _TYPES, strict=True))
    return [np.array(columns[name], types[name]) for name in ARRAYS]


def coverage(rollouts: Rollouts) -> dict[str, dict]:
    """What each driver's episodes cover, as `awm.figures.data_coverage` takes it.

    Per driver: `speed` (units/s) and `steering` of every step, the share of frames with no wheel
    on the road (`off_road`), and the number of `frames`.
    """
    telemetry, actions = rollouts.column("telemetry"), rollouts.column("actions")
    covered = {}
    for driver in dict.fromkeys(rollouts.drivers):
        own = [i for i, name in enumerate(rollouts.drivers) if name == driver]
        seen = np.concatenate([telemetry[i] for i in own])
        covered[driver] = {
            "speed": seen[:, TELEMETRY.index("speed")],
            "steering": np.concatenate([actions[i][:, 0] for i in own]),
            "off_road": float((seen[:, TELEMETRY.index("wheels_on_road")] == 0).mean()),
            "frames": len(seen),
        }
    return covered


def centre_line(seed: int) -> np.ndarray:
    """The centre line of the track of a seed, `[tiles, 2]` in units of the world."""
    env = FastCarRacing()
    env.reset(seed=seed)
    return np.array(env.track)[:, 2:4]


def moments(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` of an episode's frames, each from the middle of an equal share of it."""
    return frames[((np.arange(count) + 0.5) / count * len(frames)).astype(int)]


def held_out_frames(rollouts: Rollouts, split: str, count: int = 1024) -> np.ndarray:
    """Up to `count` frames spread evenly over the episodes of a split, uint8 `[n, 64, 64, 3]`."""
    frames = [rollouts.episode(int(i)).frames for i in rollouts.indices(split)]
    each = -(-count // len(frames))
    return np.concatenate([moments(f, min(each, len(f))) for f in frames])[:count]
