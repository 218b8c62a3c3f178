"""Episodes in lockstep: what a world is, and how controllers drive in it.

A world has a fixed number of lanes. One batched encode, one batched LSTM step and one batched
linear layer with weights of their own serve all lanes; a lane whose episode ends takes the next job
from the queue. Batches always have the same size, because at another one results move by 1e-6, and
rounding decides laps: at a constant size a return is bit for bit the same whatever shares the
batch, so results do not depend on the number of workers or the order of the jobs.
"""

from collections import deque
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from awm.models.controller import act
from awm.racing import MAX_EPISODE_STEPS


class World(Protocol):
    """Something to drive in: `awm.worlds.track.TrackWorld` or `awm.worlds.dream.DreamWorld`.

    `tiles` int `[lanes]` counts the tiles that each lane's episode has visited, `attention` is
    where M looked in the last step, `[lanes, items]`, if it is attentive.
    """

    lanes: int
    steps: int  #: how long an episode lasts, at most
    tiles: np.ndarray
    attention: Tensor | None

    def begin(self, lane: int, seed: int) -> None:
        """A new episode in a lane; all that is random in it comes from the seed."""

    def observe(self, active: Sequence[int]) -> Tensor:
        """What C sees, [z, h] `[lanes, inputs]`; rows of lanes that are not active mean nothing."""

    def step(self, action: Tensor, active: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Actions `[lanes, 3]` → rewards float64 `[lanes]`, and which episodes end `[lanes]`."""

    def frame(self, lane: int) -> np.ndarray:
        """What is seen now in a lane, uint8 `[64, 64, 3]`."""

    def result(self, lane: int) -> tuple[float, bool]:
        """The share of tiles that a lane's episode has visited, and whether that is a lap."""


@dataclass(frozen=True)
class Job:
    """One episode to drive: row `candidate` of the weights from `seed`.

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


@contextmanager
def one_thread():
    """One torch thread inside: workers with two each get in each other's way, eightfold."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def drive(
    world: World, layers: np.ndarray, jobs: Sequence[Job], steering_noise: float = 0.0
) -> list[Outcome]:
    """Drive every job with one thread; the outcomes come in the order in which episodes end.

    Args:
        layers: C's weights `[candidates, 3, inputs + 1]`, float32.
        steering_noise: deviation of Gaussian noise on the steering, a way to evolve margin;
            seeded by the job, so that it too is the same for every candidate.
    """
    queue, outcomes = deque(jobs), []
    layer, most = torch.zeros(world.lanes, *layers.shape[1:]), min(MAX_EPISODE_STEPS, world.steps)
    driven: dict[int, Job] = {}  # by lane
    noise: dict[int, np.random.Generator] = {}
    total, length, last_tile, tiles, patience = np.zeros((5, world.lanes))

    def begin(lane: int) -> None:
        job = driven[lane] = queue.popleft()
        world.begin(lane, job.seed)
        layer[lane] = torch.from_numpy(layers[job.candidate])
        noise[lane] = np.random.default_rng(job.seed)
        total[lane] = length[lane] = last_tile[lane] = 0
        tiles[lane] = world.tiles[lane]
        patience[lane] = np.inf if job.patience is None else job.patience

    with one_thread():
        for lane in range(min(world.lanes, len(queue))):
            begin(lane)
        while driven:
            active = list(driven)
            action = act(layer, world.observe(active))
            if steering_noise:
                extra = [steering_noise * noise[lane].standard_normal() for lane in active]
                action[active, 0] = (action[active, 0] + torch.tensor(extra)).clamp(-1, 1)
            rewards, ended = world.step(action, active)
            total += rewards
            length += 1
            last_tile[world.tiles > tiles] = length[world.tiles > tiles]
            np.maximum(tiles, world.tiles, out=tiles)
            over = ended | (length - last_tile >= patience) | (length >= most)
            for lane in np.flatnonzero(over).tolist():
                if (job := driven.get(lane)) is None:
                    continue
                how = float(total[lane]), int(length[lane]), *world.result(lane)
                outcomes.append(Outcome(job.candidate, job.seed, *how))
                if queue:
                    begin(lane)
                else:
                    del driven[lane]
    return outcomes


@dataclass(frozen=True)
class Recording:
    """An episode to look at: `frames` uint8 `[T, 64, 64, 3]` and what was done about them.

    `actions` `[T, 3]`, `rewards` `[T]`, `attention` `[T, items]` or None. Of a track also `video`
    uint8 `[T / every, 400, 600, 3]`, Gymnasium's own picture, `path` `[T, 2]`, where the car was,
    and `road` `[tiles, 2]`, the centre line, metres.
    """

    frames: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    attention: np.ndarray | None
    video: np.ndarray | None = None
    path: np.ndarray | None = None
    road: np.ndarray | None = None


@torch.inference_mode()
def record(
    world: World, layer: np.ndarray, seed: int, steps: int = MAX_EPISODE_STEPS, video_every: int = 0
) -> Recording:
    """Drive one episode in the first lane and keep what was seen.

    Args:
        layer: C's weights `[3, inputs + 1]`.
        video_every: keep every n-th of the track's full pictures (it must have been opened with a
            `window`).
    """
    layers = torch.from_numpy(layer).expand(world.lanes, *layer.shape)
    columns: dict[str, list] = {name: [] for name in ("frames", "actions", "rewards", "attention")}
    track, video, path = getattr(world, "simulator", None), [], []
    with one_thread():
        world.begin(0, seed)
        for t in range(steps):
            action = act(layers, world.observe([0]))
            columns["frames"].append(world.frame(0))
            if track is not None:
                path.append(track.position(0))
                if video_every and t % video_every == 0:
                    video.append(track.picture(0))
            rewards, ended = world.step(action, [0])
            columns["actions"].append(action[0].numpy().copy())
            columns["rewards"].append(float(rewards[0]))
            if world.attention is not None:
                columns["attention"].append(world.attention[0].numpy())
            if ended[0]:
                break
    found = {name: np.stack(column) if column else None for name, column in columns.items()}
    if track is None:
        return Recording(**found)
    road = np.array([tile[2:] for tile in track.tracks[0]])
    return Recording(**found, video=np.array(video), path=np.array(path), road=road)
