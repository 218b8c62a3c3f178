"""Many workers: processes of this machine, a Dask cluster, or any other executor.

What travels to a worker is a description of the world, with the hashes of the weights it is about:
a worker whose files hold other weights refuses.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from typing import ClassVar

import numpy as np

from awm import stages
from awm.errors import AwmError
from awm.ids import Memory
from awm.store import Workspace
from awm.training import mdn_rnn, vae
from awm.worlds import dream
from awm.worlds.lanes import Job, Outcome, World, drive
from awm.worlds.track import TrackWorld


@dataclass(frozen=True)
class Place:
    """A world, described: whose eyes and memory, and what they drive in.

    `contents` are the hashes of V, M and whatever else it needs; `Place.of` fills them in.
    """

    ws: Workspace
    memory: Memory
    contents: tuple[str, ...]
    dreams: ClassVar[bool] = False

    @classmethod
    def of(cls, ws: Workspace, memory: Memory, **how) -> "Place":
        """The world of a memory. AwmError if something that it needs is missing or unfit."""
        return cls(ws, memory, _contents(ws, memory, cls.dreams), **how)

    def open(self) -> World:
        """The world itself. AwmError if other weights lie here than the description is about."""
        if _contents(self.ws, self.memory, self.dreams) != self.contents:
            raise AwmError(
                f"{self.ws.own} on this worker holds other weights than the run is about. Give "
                "every worker the same files."
            )
        return self._open()


@dataclass(frozen=True)
class Track(Place):
    """The track; `frames` and `forgetful` as for `awm.worlds.track.TrackWorld`."""

    frames: str = "fast"
    forgetful: bool = False

    def _open(self) -> World:
        v, m = _models(self.ws, self.memory, self.contents)
        return TrackWorld(v, m, self.ws.profile.evolution.lanes, self.frames, self.forgetful)


@dataclass(frozen=True)
class Dream(Place):
    """The memory's dream; as for `awm.worlds.dream.DreamWorld`."""

    dreams: ClassVar[bool] = True
    temperature: float = 1.0
    idle_at_mean: bool = False

    def _open(self) -> World:
        source = _source(self.ws, self.memory, self.contents)
        return dream.DreamWorld(source, dream.LANES, self.temperature, self.idle_at_mean)


def _contents(ws: Workspace, memory: Memory, dreams: bool = False) -> tuple[str, ...]:
    needed = [stages.vae(ws.profile)]
    if memory.kind != "V":
        needed.append(stages.mdn_rnn(ws.profile, memory))
    if dreams and memory.needs_map:
        needed.append(stages.feature_map(ws.profile))
    manifests = [(stage, ws.manifest(stage)) for stage in needed]
    for stage, manifest in manifests:
        if manifest is None:
            raise AwmError(f"There is no {stage.name} in {ws.own}. {stage.remedy}")
    return tuple(manifest["content"] for _, manifest in manifests)


# Once a process; the hashes are part of what they are remembered by.


@lru_cache(maxsize=4)
def _models(ws: Workspace, memory: Memory, contents: tuple[str, ...]):
    return vae.load(ws), None if memory.kind == "V" else mdn_rnn.load(ws, memory)


@lru_cache(maxsize=4)
def _source(ws: Workspace, memory: Memory, contents: tuple[str, ...]) -> dream.DreamSource:
    return dream.load(ws, memory)


def track_world(ws: Workspace, memory: Memory, lanes: int | None = None, **how) -> TrackWorld:
    """The track in this process, to look at; `how` as for `TrackWorld`."""
    models = _models(ws, memory, _contents(ws, memory))
    return TrackWorld(*models, lanes or ws.profile.evolution.lanes, **how)


def _drive(place: Place, layers: np.ndarray, jobs: Sequence[Job], noise: float) -> list[Outcome]:
    return drive(place.open(), layers, jobs, noise)


class Crew:
    """Workers behind any `concurrent.futures.Executor`, `size` of them."""

    def __init__(self, executor: Executor, size: int):
        self.executor, self.size = executor, size

    def drive(
        self,
        place: Place,
        layers: np.ndarray,
        jobs: Sequence[Job],
        steering_noise: float = 0.0,
        tasks: int | None = None,
        progress: Callable[[int], object] = lambda episodes: None,
    ) -> list[Outcome]:
        """Drive jobs; outcomes in the order of the jobs.

        Args:
            layers: C's weights `[candidates, 3, inputs + 1]`, float32.
            tasks: into how many tasks to split them; by default one a worker, which keeps lanes
                full longest.
            progress: called with the number of episodes whenever a task is done.
        """
        tasks = tasks or self.size
        parts = [part for part in (jobs[i::tasks] for i in range(tasks)) if part]
        futures = [
            self.executor.submit(_drive, place, layers, part, steering_noise) for part in parts
        ]
        outcomes = {}
        for future in as_completed(futures):
            done = future.result()
            outcomes |= {(o.candidate, o.seed): o for o in done}
            progress(len(done))
        return [outcomes[job.candidate, job.seed] for job in jobs]


@contextmanager
def crew(
    workers: int | Crew | None = None,
    cluster: str | None = None,
    executor: Executor | None = None,
) -> Iterator[Crew]:
    """Workers for as long as the block lasts.

    Args:
        workers: processes, by default one a core; or tasks at a time of another executor; or a
            crew that is at work already, since processes take seconds to start.
        cluster: the address of a Dask scheduler, whose workers need this package and the
            workspace at the same path, on a shared disk.
        executor: any other.

    Raises:
        AwmError: if no scheduler answers, or it has no workers.
    """
    if isinstance(workers, Crew):
        yield workers
    elif executor is not None:
        yield Crew(executor, workers or 2)
    elif cluster is not None:
        with _dask(cluster) as (executor, threads):
            yield Crew(executor, workers or threads)
    else:
        size = workers or os.cpu_count() or 1
        # Spawned, not forked: a fork of a process in which torch has started its threads can hang.
        with ProcessPoolExecutor(size, mp_context=get_context("spawn")) as pool:
            try:
                yield Crew(pool, size)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int]]:
    try:
        from distributed import Client
    except ImportError:
        raise AwmError("A cluster needs Dask. Install it with `pip install 'awm[cluster]'`.") from (
            None
        )
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
