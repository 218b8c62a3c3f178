"""The closed loop, many lanes in lockstep: frames → V → z, M → h, C → actions → simulator.

One batched encode, one batched LSTM step and one batched linear layer with weights of their own
serve all lanes; a lane whose episode ends takes the next job from the queue. Batches always have
the same size, because at another one results move by 1e-6, and rounding decides laps: at a
constant size a return is bit for bit the same whatever shares the batch, so results do not depend
on the number of workers or the order of the jobs. The encoder, nearly all of a step's cost, works
in groups of a few lanes; when the queue is empty and lanes fall idle, groups are left out.
"""

import os
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context

import numpy as np
import torch
from torch import Tensor

from awm import mdn_rnn, vae
from awm.config import Profile
from awm.controller import act
from awm.errors import AwmError
from awm.mdn_rnn import MDNRNN
from awm.sim import MAX_EPISODE_STEPS
from awm.sim.car_racing import FastCarRacing
from awm.sim.reference import ReferenceCarRacing
from awm.vae import VAE

FRAMES = ("fast", "reference")

#: Frames that V encodes at a time. Fewer read its weights more often (8 cost 8 % more), more
#: idle with the last episodes.
_GROUP = 16


@dataclass(frozen=True)
class Job:
    """One episode to drive: row `candidate` of the weights on track `seed`.

    `patience` ends the episode after so many steps without a new tile (for training only).
    """

    candidate: int
    seed: int
    patience: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How an episode went. `finished` is a complete lap, `tiles` the share of them visited."""

    candidate: int
    seed: int
    episode_return: float
    length: int
    tiles: float
    finished: bool


class WorldModel:
    """V and, if there is one, M, stepping a fixed number of lanes.

    Args:
        m: None for a controller that sees z alone.
        forgetful: begin every step from M's initial state (see `awm.faults`).
    """

    def __init__(self, v: VAE, m: MDNRNN | None, lanes: int, forgetful: bool = False):
        self.v, self.m, self.forgetful = v, m, forgetful
        self.group = min(lanes, _GROUP)
        if lanes % self.group:
            raise AwmError(f"The number of lanes must be a multiple of {_GROUP}, not {lanes}.")
        self.state = m.initial_state(lanes) if m else None
        self.z = torch.zeros(lanes, v.z_size)
        needs_map = m is not None and m.needs_map
        self.frame_map = torch.zeros(lanes, *v.map_shape) if needs_map else None
        self._frames = np.zeros((lanes, 64, 64, 3), np.uint8)

    def observe(self, frames: np.ndarray, active: Sequence[int] | None = None) -> Tensor:
        """C's inputs [z, h] of the frames `[lanes, 64, 64, 3]`; z is the posterior's mean.

        Args:
            active: the lanes that matter, all by default; the others' rows mean nothing.
        """
        if active is None or len(active) == len(frames):
            index = slice(None)
        else:
            index = list(active)
            self._frames[: len(index)] = frames[index]
            frames = self._frames
        count = len(frames) if active is None else len(active)
        parts = [
            self.v.encode(vae.to_input(frames[i : i + self.group]), self.frame_map is not None)
            for i in range(0, count, self.group)
        ]
        self.z[index] = torch.cat([part[0] for part in parts])[:count]
        if self.frame_map is not None:
            self.frame_map[index] = torch.cat([part[2] for part in parts])[:count]
        return self.z if self.m is None else torch.cat([self.z, self.state.h], dim=1)

    def advance(self, action: Tensor) -> Tensor | None:
        """M's step from what was observed; returns the attention weights, if any."""
        if self.m is None:
            return None
        if self.forgetful:
            self.state = self.m.initial_state(len(self.z))
        self.state, attention_weights = self.m.step(self.z, action, self.state, self.frame_map)
        return attention_weights

    def forget(self, lane: int) -> None:
        """A new episode begins in a lane."""
        if self.m is not None:
            self.state.h[lane] = 0
            self.state.c[lane] = 0
            if self.state.memory is not None:
                self.state.memory.present[lane] = False


class _Lane:
    """A simulator, the job that it drives and the tally of it."""

    def __init__(self, frames: str, frame: np.ndarray):
        self.frame = frame
        self.reference = frames == "reference"
        self.env = ReferenceCarRacing() if self.reference else FastCarRacing(frame=frame)
        self.job: Job | None = None

    def begin(self, job: Job) -> None:
        frame, _ = self.env.reset(seed=job.seed)
        if self.reference:
            self.frame[:] = frame
        self.job = job
        self.total, self.length, self.finished = 0.0, 0, False
        self.tiles, self.since_tile = self.env.tile_visited_count, 0

    def step(self, action: np.ndarray) -> bool:
        """One step; returns whether the episode is over."""
        frame, reward, terminated, _, info = self.env.step(action)
        if self.reference:
            self.frame[:] = frame
        self.total += reward
        self.length += 1
        self.finished = info.get("lap_finished", False)
        self.since_tile += 1
        if self.env.tile_visited_count > self.tiles:
            self.tiles, self.since_tile = self.env.tile_visited_count, 0
        hopeless = self.job.patience is not None and self.since_tile >= self.job.patience
        return terminated or hopeless or self.length == MAX_EPISODE_STEPS

    def outcome(self) -> Outcome:
        job, share = self.job, self.tiles / len(self.env.track)
        return Outcome(
            job.candidate, job.seed, float(self.total), self.length, share, self.finished
        )


@contextmanager
def one_thread():
    """One torch thread inside: workers with two each get in each other's way, eightfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=4)
def _models(profile: Profile, model: str, root: str, _stamps) -> tuple[VAE, MDNRNN | None]:
    return vae.load(profile), None if model == "V" else mdn_rnn.load(profile, model)


def _load_models(profile: Profile, model: str):
    """V and M, loaded once a process, again if the files have changed."""
    paths = [vae.path_of(profile)]
    if model != "V":
        paths.append(mdn_rnn.path_of(profile, model))
    stamps = tuple(p.stat().st_mtime_ns if p.exists() else 0 for p in paths)
    return _models(profile, model, os.environ.get("AWM_ROOT", ""), stamps)


@torch.inference_mode()
def drive_jobs(
    profile: Profile,
    model: str,
    layers: np.ndarray,
    jobs: Sequence[Job],
    frames: str = "fast",
    steering_noise: float = 0.0,
    forgetful: bool = False,
) -> list[Outcome]:
    """Drive every job in this process, with one thread, and return their outcomes.

    Args:
        model: what C sees, one of `awm.config.MODELS`, or a further training of one of these Ms.
        layers: C's weights `[candidates, 3, inputs + 1]`, float32.
        frames: `"fast"` or `"reference"` (Gymnasium's own).
        steering_noise: deviation of Gaussian noise on the steering, a way to evolve margin;
            seeded by the track, so that it too is the same for every candidate.
        forgetful: empty M's memory before every step (see `awm.faults`).
    """
    if frames not in FRAMES:
        raise AwmError(f"There are no {frames!r} frames. Choose one of: {', '.join(FRAMES)}.")
    v, m = _load_models(profile, model)
    lanes = profile.lanes
    queue, outcomes = deque(jobs), []
    pixels = np.zeros((lanes, 64, 64, 3), np.uint8)
    used = [_Lane(frames, pixels[i]) for i in range(min(lanes, len(jobs)))]
    layer = torch.zeros(lanes, *layers.shape[1:])
    noise = [np.random.default_rng(0)] * lanes
    world = WorldModel(v, m, lanes, forgetful)

    def begin(i: int) -> None:
        job = queue.popleft()
        used[i].begin(job)
        layer[i] = torch.from_numpy(layers[job.candidate])
        noise[i] = np.random.default_rng(job.seed)
        world.forget(i)

    with one_thread():
        for i in range(len(used)):
            begin(i)
        active = list(range(len(used)))
        while active:
            action = act(layer, world.observe(pixels, active))
            if steering_noise:
                extra = [steering_noise * generator.standard_normal() for generator in noise]
                action[:, 0] = (action[:, 0] + torch.tensor(extra)).clamp(-1, 1)
            world.advance(action)
            actions = action.numpy()
            for i in tuple(active):
                if used[i].step(actions[i]):
                    outcomes.append(used[i].outcome())
                    if queue:
                        begin(i)
                    else:
                        active.remove(i)
    return outcomes


@contextmanager
def workers(count: int | None = None) -> Iterable[Executor]:
    """A pool of processes to drive in, by default one a core.

    Spawned, not forked: a fork of a process in which torch has started its threads can hang.
    """
    with ProcessPoolExecutor(count or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def cluster(address: str) -> Iterable[tuple[Executor, int]]:
    """An executor on a Dask cluster, and how many tasks it can carry at a time.

    The workers need this package and the workspace at the same path, on a shared disk. AwmError if
    no scheduler answers.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=10)
    except (OSError, TimeoutError, ValueError) as error:
        raise AwmError(
            f"No Dask scheduler answers at {address} ({error}). Start one with `dask scheduler` "
            "and workers with `dask worker ADDRESS --nthreads 1`."
        ) from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise AwmError(
                f"The cluster at {address} has no workers. Start `dask worker {address}`."
            )
        yield client.get_executor(pure=False), threads


def drive(
    executor: Executor,
    profile: Profile,
    model: str,
    layers: np.ndarray,
    jobs: Sequence[Job],
    tasks: int,
    progress=None,
    task=drive_jobs,
    **options,
) -> list[Outcome]:
    """Drive jobs through any `concurrent.futures.Executor`; outcomes in the order of the jobs.

    Args:
        tasks: into how many tasks to split them; the number of workers keeps lanes full longest.
        progress: called with the number of episodes whenever a task is done.
        task: what drives the jobs of a task, `drive_jobs` or `awm.dream.drive_jobs`.
        options: of `task`.
    """
    parts = [part for part in (jobs[i::tasks] for i in range(tasks)) if part]
    futures = [executor.submit(task, profile, model, layers, part, **options) for part in parts]
    outcomes = {}
    for future in as_completed(futures):
        done = future.result()
        outcomes |= {(o.candidate, o.seed): o for o in done}
        if progress is not None:
            progress(len(done))
    return [outcomes[job.candidate, job.seed] for job in jobs]


class AgentDriver:
    """The trained agent as a driver for data collection (`awm.dataset.collect`)."""

    def __init__(self, profile: Profile, model: str, layer: np.ndarray):
        self.profile, self.model = profile, model
        self.layer = torch.from_numpy(layer)[None]

    def reset(self, env, rng: np.random.Generator) -> None:
        self.world = WorldModel(*_load_models(self.profile, self.model), lanes=1)

    @torch.inference_mode()
    def act(self, env, frame: np.ndarray) -> np.ndarray:
        with one_thread():
            action = act(self.layer, self.world.observe(frame[None]))
            self.world.advance(action)
        return action[0].numpy()


@dataclass(frozen=True)
class Recording:
    """An episode to look at: `frames` uint8 `[T, 64, 64, 3]` and what was done about them.

    `actions` `[T, 3]`, `rewards` `[T]`, `attention` `[T, items]` or None; `video` uint8
    `[T / every, 400, 600, 3]` is Gymnasium's own picture; `path` `[T, 2]` is where the car was and
    `road` `[tiles, 2]` the centre line, metres.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    attention: np.ndarray | None
    video: np.ndarray
    path: np.ndarray
    road: np.ndarray


@torch.inference_mode()
def record(
    profile: Profile,
    model: str,
    layer: np.ndarray,
    seed: int,
    steps: int = MAX_EPISODE_STEPS,
    video_every: int = 0,
    frames: str = "fast",
) -> Recording:
    """Drive one track and keep what was seen; `video_every` n keeps every n-th full picture."""
    lanes = profile.lanes
    world = WorldModel(*_load_models(profile, model), lanes)
    simulator = FastCarRacing if frames == "fast" else ReferenceCarRacing
    env = simulator(render_mode="rgb_array" if video_every else None)
    pixels = np.zeros((lanes, 64, 64, 3), np.uint8)
    layers = torch.from_numpy(layer).expand(lanes, *layer.shape)
    pixels[0], _ = env.reset(seed=seed)
    seen, actions, rewards, attention, video, path = [], [], [], [], [], []
    with one_thread():
        for t in range(steps):
            action = act(layers, world.observe(pixels, (0,)))
            looked_at = world.advance(action)
            seen.append(pixels[0].copy())
            path.append(tuple(env.car.hull.position))
            actions.append(action[0].numpy().copy())
            if looked_at is not None:
                attention.append(looked_at[0].numpy())
            if video_every and t % video_every == 0:
                video.append(env.render())
            pixels[0], reward, terminated, _, _ = env.step(actions[-1])
            rewards.append(reward)
            if terminated:
                break
    return Recording(
        np.stack(seen),
        np.stack(actions),
        np.array(rewards),
        np.stack(attention) if attention else None,
        np.stack(video) if video else np.zeros((0, 400, 600, 3), np.uint8),
        np.array(path),
        np.array([tile[2:] for tile in env.track]),
    )
