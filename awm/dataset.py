"""Rollouts on disk: one compressed Zarr store a profile, one chunk an episode.

Arrays `[episode, time, ...]`, padded to the longest possible episode:

- `frames` uint8 `[N, T+1, 64, 64, 3]`: what was seen before each action, and after the last
- `actions` float32 `[N, T, 3]`, `rewards` float32 `[N, T]`, `terminated` bool `[N, T]`
- `telemetry` float32 `[N, T+1, 6]`: what no model sees, for figures and probes (`TELEMETRY`)
- `lengths`, `seeds`, `checksums`, and the drivers' names, one an episode

Workers write their episodes' chunks side by side. An episode counts once its length is written,
so a killed collection goes on where it was. Nothing here needs the whole store in memory.
"""

import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from zlib import crc32

import numpy as np
import zarr
from tqdm.auto import tqdm
from zarr.codecs import BloscCodec

from awm import config, provenance
from awm.config import Profile, get_profile
from awm.drivers import DRIVERS, assign
from awm.errors import AwmError

#: Columns of `telemetry`: units of the world (a tile is 3.5 long), units/s, radians.
TELEMETRY = ("x", "y", "speed", "steering_angle", "centre_distance", "wheels_on_road")

#: What of a profile decides the rollouts; a store made with other values is another store.
_KEYS = ("rollouts", "steps", "seed", "validation_share")


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
    """A finished store, opened for reading."""

    def __init__(self, path: Path):
        self.path = path
        self._group = zarr.open_group(path, mode="r")
        self.lengths = self._group["lengths"][:]
        self.seeds = self._group["seeds"][:]
        self.drivers = list(self._group.attrs["drivers"])
        self.hash = self._group.attrs["hash"]
        self._checksums = self._group["checksums"][:]
        self._splits = {k: np.array(v) for k, v in self._group.attrs["splits"].items()}

    def __len__(self) -> int:
        return len(self.lengths)

    def indices(self, split: str) -> np.ndarray:
        """Episode numbers of `"train"`, `"validation"` or `"test"`."""
        return self._splits[split]

    def episode(self, index: int) -> Episode:
        """Read one episode, without its padding. AwmError if it is damaged on disk."""
        length = int(self.lengths[index])
        read = {name: self._read(name, index)[:length] for name in ("actions", "rewards")}
        frames = self._read("frames", index)[: length + 1]
        if crc32(frames) != self._checksums[index]:
            raise self._damaged("frames", index)
        return Episode(
            frames=frames,
            **read,
            terminated=self._read("terminated", index)[:length],
            telemetry=self._read("telemetry", index)[: length + 1],
            seed=int(self.seeds[index]),
            driver=self.drivers[index],
        )

    def column(self, name: str) -> list[np.ndarray]:
        """One small array (`actions`, `rewards`, `terminated`, `telemetry`), unpadded."""
        extra = int(name == "telemetry")
        values = self._group[name][:]
        return [values[i, : n + extra] for i, n in enumerate(self.lengths)]

    def _read(self, name: str, index: int) -> np.ndarray:
        try:
            return self._group[name][index]
        except Exception as error:  # the codecs raise whatever they like
            raise self._damaged(name, index) from error

    def _damaged(self, name: str, index: int) -> AwmError:
        return AwmError(
            f"{self.path}: {name} of episode {index} are damaged or missing. "
            "Move the store away and run `awm collect` again."
        )


class JoinedRollouts:
    """Several stores, read as one: their episodes one store after the other."""

    def __init__(self, parts: list[Rollouts]):
        self.parts = parts
        self.lengths = np.concatenate([part.lengths for part in parts])
        self.seeds = np.concatenate([part.seeds for part in parts])
        self.drivers = [name for part in parts for name in part.drivers]
        self.hash = "+".join(part.hash for part in parts)
        self._first = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return len(self.lengths)

    def indices(self, split: str) -> np.ndarray:
        """As `Rollouts.indices`: what is held out in its store is held out here."""
        pairs = zip(self.parts, self._first[:-1], strict=True)
        return np.concatenate([part.indices(split) + first for part, first in pairs])

    def episode(self, index: int) -> Episode:
        """As `Rollouts.episode`."""
        part = int(np.searchsorted(self._first, index, side="right")) - 1
        return self.parts[part].episode(int(index - self._first[part]))

    def column(self, name: str) -> list[np.ndarray]:
        """As `Rollouts.column`."""
        return [values for part in self.parts for values in part.column(name)]


def path_of(profile: Profile) -> Path:
    """Where a profile's rollouts lie; in a round of iterative training, those of the round."""
    return config.data_dir(profile) / "rollouts.zarr"


def open_rollouts(profile: Profile | str) -> Rollouts | JoinedRollouts:
    """The finished rollouts of a profile; in a round, joined to those of the rounds before.

    Raises:
        AwmError: if there are none, they are unfinished, damaged, or of another configuration.
    """
    profile = get_profile(profile)
    if profile.round:
        return JoinedRollouts([_open(each) for each in _rounds(profile)])
    return _open(profile)


def _rounds(profile: Profile) -> list[Profile]:
    return [replace(profile, round=n) for n in range(profile.round + 1)]


def _open(profile: Profile) -> Rollouts:
    path = path_of(profile)
    remedy = f"Run `awm collect --profile {profile.name}` or notebook 01."
    if not path.exists():
        raise AwmError(f"There are no rollouts at {path}. {remedy}")
    attributes = _attributes(path)
    _check_profile(attributes, profile, path)
    if "hash" not in attributes:
        raise AwmError(f"The rollouts at {path} are not finished. {remedy} It goes on from there.")
    return Rollouts(path)


def collect(
    profile: Profile | str, workers: int | None = None, drivers=None, path=None, agent=None
) -> Rollouts:
    """Let drivers drive and store what happens; returns at once if the store is complete.

    Args:
        profile: how many episodes of how many steps.
        workers: processes; by default one a core.
        drivers: one driver an episode, objects with `reset(env, rng)` and `act(env, frame)` that
            can be pickled; by default the mixture of `awm.drivers`.
        path: where to store; by default the profile's own place.
        agent: the hash of the controller that drives, if one does; a store of another is refused.
    """
    profile = get_profile(profile)
    path = Path(path or path_of(profile))
    if drivers is None:
        drivers = [DRIVERS[name]() for name in assign(profile.rollouts)]
    names = [_name(driver) for driver in drivers]
    group = _open_for_writing(profile, path, names, agent)
    if "hash" not in group.attrs or not path.with_suffix(".json").exists():
        missing = [int(i) for i in np.flatnonzero(group["lengths"][:] < 0)]
        started = time.perf_counter()
        try:
            _drive_all(profile, path, group, drivers, missing, workers)
        finally:
            seconds = group.attrs["wall_time_s"] + time.perf_counter() - started
            group.attrs["wall_time_s"] = round(seconds, 1)
        lengths, checksums = group["lengths"][:], group["checksums"][:]
        group.attrs["hash"] = f"{crc32(checksums.tobytes() + lengths.tobytes()):08x}"
        provenance.write_json(
            path.with_suffix(".json"),
            provenance.record(
                profile,
                wall_time_s=group.attrs["wall_time_s"],
                seeds=[int(s) for s in group["seeds"][:]],
                drivers=names,
                agent=agent,
                frames=int((lengths + 1).sum()),
                hash=group.attrs["hash"],
            ),
        )
    return Rollouts(path)


def _name(driver) -> str:
    return type(driver).__name__.removesuffix("Driver").lower()


def _attributes(path: Path) -> dict:
    try:
        return dict(zarr.open_group(path, mode="r").attrs)
    except Exception as error:
        raise AwmError(
            f"{path} is not a store of rollouts that can be read ({error}). Move it away."
        ) from error


def _check_profile(attributes: dict, profile: Profile, path: Path) -> None:
    expected = {key: asdict(profile)[key] for key in _KEYS}
    found = {key: attributes.get("config", {}).get(key) for key in _KEYS}
    if found != expected:
        raise AwmError(
            f"The rollouts at {path} were made with {found}, profile {profile.name!r} asks for "
            f"{expected}. Move them away, or choose the profile that they belong to."
        )


def _split(count: int, share: float) -> dict[str, list[int]]:
    """Shuffled by a fixed generator, so that a profile's split never depends on the run."""
    order = np.random.default_rng(count).permutation(count)
    held = max(1, round(share * count))
    parts = np.split(order, [held, 2 * held])
    return {
        name: sorted(int(i) for i in part)
        for name, part in zip(("validation", "test", "train"), parts, strict=True)
    }


def _open_for_writing(profile: Profile, path: Path, names: list[str], agent: str | None = None):
    if path.exists():
        attributes = _attributes(path)
        _check_profile(attributes, profile, path)
        if (attributes.get("drivers"), attributes.get("agent")) != (names, agent):
            raise AwmError(f"The rollouts at {path} are of other drivers. Move them away.")
        return zarr.open_group(path, mode="r+")
    count, steps = len(names), profile.steps
    # Built beside its place and moved there: a store that exists has all its arrays.
    new = path.with_name(f".{path.name}.new")
    group = zarr.open_group(new, mode="w")
    compressor = BloscCodec(cname="zstd", clevel=3, shuffle="noshuffle")

    def episodes(name, shape, dtype):
        group.create_array(
            name, shape=(count, *shape), chunks=(1, *shape), dtype=dtype, compressors=[compressor]
        )

    episodes("frames", (steps + 1, 64, 64, 3), "uint8")
    episodes("actions", (steps, 3), "float32")
    episodes("rewards", (steps,), "float32")
    episodes("terminated", (steps,), "bool")
    episodes("telemetry", (steps + 1, len(TELEMETRY)), "float32")
    for name, dtype, fill in (("lengths", "int32", -1), ("checksums", "uint32", 0)):
        group.create_array(name, shape=(count,), chunks=(count,), dtype=dtype, fill_value=fill)
    # A round's tracks are new ones.
    offset = profile.seed * count + profile.round * 1_000_000
    seeds = np.array(config.track_seeds(config.DATA_SEEDS, count, offset))
    group.create_array("seeds", data=seeds, chunks=(count,))
    group.attrs.update(
        profile=profile.name,
        config=asdict(profile),
        drivers=names,
        agent=agent,
        splits=_split(count, profile.validation_share),
        wall_time_s=0.0,
        **provenance.commit(),
    )
    new.rename(path)
    return zarr.open_group(path, mode="r+")


def _drive_all(profile, path, group, drivers, missing, workers) -> None:
    seeds = group["seeds"][:]
    bar = tqdm(total=len(seeds), initial=len(seeds) - len(missing), unit="episode", desc="rollouts")
    # Spawned, not forked: forking a process that has run torch or numba threads can hang.
    with bar, ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(_drive_one, path, i, drivers[i], int(seeds[i]), profile.steps)
            for i in missing
        ]
        try:
            for job in as_completed(jobs):
                index, length, checksum = job.result()
                group["checksums"][index] = checksum
                group["lengths"][index] = length
                bar.update()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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


def _drive_one(path: Path, index: int, driver, seed: int, steps: int) -> tuple[int, int, int]:
    """Drive one episode and write its chunks; returns (index, length, checksum of frames)."""
    import gymnasium

    import awm.sim

    awm.sim.register_environments()
    env = gymnasium.make(awm.sim.FAST).unwrapped
    frame, _ = env.reset(seed=seed)
    driver.reset(env, np.random.default_rng(seed))
    frames, telemetry, actions, rewards, terminations = [frame], [_telemetry(env)], [], [], []
    for _ in range(steps):
        action = driver.act(env, frame)
        frame, reward, terminated, _, _ = env.step(action)
        frames.append(frame)
        telemetry.append(_telemetry(env))
        actions.append(action)
        rewards.append(reward)
        terminations.append(terminated)
        if terminated:
            break
    length = len(actions)
    group = zarr.open_group(path, mode="r+")
    columns = {
        "actions": actions,
        "rewards": rewards,
        "terminated": terminations,
        "telemetry": telemetry,
        "frames": frames,
    }
    for name, column in columns.items():
        array = group[name]
        padded = np.zeros(array.shape[1:], array.dtype)
        padded[: len(column)] = column
        array[index] = padded
    return index, length, crc32(np.stack(frames))


class Latents:
    """V's view of the rollouts: `mu`, `logvar` `[N, T+1, 32]` and the third convolution's maps.

    `mu` and `logvar` are read into memory (a few dozen MB); the maps stay on disk, float16
    `[N, T+1, 36, 128]`, one chunk an episode.
    """

    def __init__(self, path: Path):
        group = zarr.open_group(path, mode="r")
        self.mu = group["mu"][:]
        self.logvar = group["logvar"][:]
        self.maps = group["maps"]


class JoinedLatents:
    """The latents of `JoinedRollouts`; the maps are not joined."""

    def __init__(self, parts: list[Latents]):
        self.mu = np.concatenate([part.mu for part in parts])
        self.logvar = np.concatenate([part.logvar for part in parts])

    @property
    def maps(self):
        raise AwmError("Rounds of iterative training have no maps: choose an M without them.")


def encode_latents(profile: Profile | str, vae) -> Latents | JoinedLatents:
    """Encode every frame of a profile's rollouts with V; returns at once if that has been done.

    Args:
        vae: the trained `awm.vae.VAE`; its `manifest["hash"]` ties the latents to it.
    """
    profile = get_profile(profile)
    if profile.round:
        return JoinedLatents([_encode(each, vae) for each in _rounds(profile)])
    return _encode(profile, vae)


def _encode(profile: Profile, vae) -> Latents:
    rollouts = _open(profile)
    path = config.data_dir(profile) / "latents.zarr"
    source = {"rollouts": rollouts.hash, "vae": vae.manifest["hash"]}
    if path.exists() and _attributes(path).get("source") == source:
        return Latents(path)
    new = path.with_name(".latents.zarr.new")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        group = zarr.open_group(new, mode="w")
    count, steps = len(rollouts), profile.steps + 1
    for name, shape, dtype in (
        ("mu", (profile.z_size,), "float32"),
        ("logvar", (profile.z_size,), "float32"),
        ("maps", vae.map_shape, "float16"),
    ):
        group.create_array(
            name,
            shape=(count, steps, *shape),
            chunks=(1, steps, *shape),
            dtype=dtype,
            compressors=None,  # noise to a compressor, and reading speed counts
        )
    for i in tqdm(range(count), unit="episode", desc="latents"):
        mu, logvar, maps = vae.encode_frames(rollouts.episode(i).frames)
        group["mu"][i, : len(mu)] = mu
        group["logvar"][i, : len(mu)] = logvar
        group["maps"][i, : len(mu)] = maps
    group.attrs["source"] = source
    if path.exists():
        path.rename(path.with_name(f".latents.zarr.{time.time_ns()}.old"))
    new.rename(path)
    _remove_old(path)
    return Latents(path)


def _remove_old(path: Path) -> None:
    import shutil

    for old in path.parent.glob(f".{path.name}.*.old"):
        shutil.rmtree(old)


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
    from awm.sim.car_racing import FastCarRacing

    env = FastCarRacing()
    env.reset(seed=seed)
    return np.array(env.track)[:, 2:4]


def moments(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` of an episode's frames, each from the middle of an equal share of it."""
    return frames[((np.arange(count) + 0.5) / count * len(frames)).astype(int)]
