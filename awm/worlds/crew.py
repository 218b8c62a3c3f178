"""Many workers: processes of this machine, a Dask cluster, or any other executor.

What travels to a worker is a description of the world, with the hashes of the weights it is about,
and of the code. A worker whose files hold other weights, or none, is sent these, once; one that
runs other code refuses.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from awm import processes, stages, store
from awm.config import Search
from awm.errors import AwmError
from awm.ids import Memory
from awm.processes import Workers
from awm.racing import MAX_EPISODE_STEPS
from awm.store import Workspace
from awm.training import mdn_rnn, vae
from awm.worlds import dream
from awm.worlds.lanes import Job, Outcome, World, drive, one_thread
from awm.worlds.track import TrackWorld


class Lacking(Exception):
    """A worker's files are not what its place is about: it needs the models themselves."""


@dataclass(frozen=True)
class Place:
    """A world, described: whose eyes and memory, and what they drive in.

    `contents` are the hashes of V, M and whatever else it needs, `code` that of this package;
    `Place.of` fills them in.
    """

    ws: Workspace
    memory: Memory
    contents: tuple[str, ...]
    code: str
    dreams: ClassVar[bool] = False

    @classmethod
    def of(cls, ws: Workspace, memory: Memory, **how) -> "Place":
        """The world of a memory. AwmError if something that it needs is missing or unfit."""
        return cls(ws, memory, _contents(ws, memory, cls.dreams), store.CODE, **how)

    @property
    def key(self) -> tuple:
        """What its models are remembered by."""
        return (self.dreams, self.memory, self.contents)

    def models(self):
        """What drives there. Lacking if other weights lie here than the description is about."""
        if self.key not in _known:
            try:
                here = _contents(self.ws, self.memory, self.dreams)
            except AwmError:
                here = None
            if here != self.contents:
                raise Lacking
            self.bring(self._load())
        return _known[self.key]

    def bring(self, models) -> None:
        """Remember what drives there, as it was sent."""
        while len(_known) >= _MOST:
            del _known[next(iter(_known))]
        _known[self.key] = models

    def open(self) -> World:
        """The world itself.

        Raises:
            AwmError: if this process runs other code than the description is about.
            Lacking: as `models`.
        """
        store.check_code(self.code)
        return self._open()


#: What drives in this process, by memory and hashes.
_known: dict[tuple, object] = {}
_MOST = 4


@dataclass(frozen=True)
class Track(Place):
    """The track; the rest is as for `awm.worlds.track.TrackWorld`."""

    frames: str = "fast"
    forgetful: bool = False
    alteration: str | None = None
    steps: int = MAX_EPISODE_STEPS

    def _load(self):
        v = vae.load(self.ws)
        return v, mdn_rnn.load(self.ws, self.memory) if self.memory.has_m else None

    def _open(self) -> World:
        lanes = self.ws.profile.evolution.lanes
        pair = self.memory.kind == "pair"
        how = {"pair": pair, "alteration": self.alteration, "steps": self.steps}
        return TrackWorld(*self.models(), lanes, self.frames, self.forgetful, **how)


@dataclass(frozen=True)
class Dream(Place):
    """The memory's dream; as for `awm.worlds.dream.DreamWorld` and `awm.worlds.dream.load`.

    With `moments` it lasts as long as M was trained for, and pays the field's edge.
    """

    dreams: ClassVar[bool] = True
    temperature: float = 1.0
    idle_at_mean: bool = False
    moments: bool = False
    split: str = "train"

    @property
    def key(self) -> tuple:
        return (*super().key, self.moments, self.split)

    def _load(self):
        return dream.load(self.ws, self.memory, self.moments, self.split)

    def _open(self) -> World:
        steps = self.ws.profile.mdn_rnn.sequence_length if self.moments else MAX_EPISODE_STEPS
        how = {"steps": steps, "edge": self.moments}
        heat = self.temperature, self.idle_at_mean
        return dream.DreamWorld(self.models(), dream.LANES, *heat, **how)


def dream_of(ws: Workspace, memory: Memory, search: Search, **how) -> Dream:
    """The dream of a memory in which a search drives; `how` says what shall be otherwise."""
    same = {name: getattr(search, name) for name in ("temperature", "idle_at_mean", "moments")}
    return Dream.of(ws, memory, **same | how)


def _contents(ws: Workspace, memory: Memory, dreams: bool = False) -> tuple[str, ...]:
    needed = [stages.vae(ws.profile)]
    if memory.has_m:
        needed.append(stages.mdn_rnn(ws.profile, memory))
    if dreams and memory.needs_map:
        needed.append(stages.feature_map(ws.profile))
    if dreams:  # where they begin
        needed += stages.recorded(ws.profile, memory)
    manifests = [(stage, ws.manifest(stage)) for stage in needed]
    for stage, manifest in manifests:
        if manifest is None:
            raise AwmError(f"There is no {stage.name} in {ws.own}. {stage.remedy}")
    return tuple(manifest["content"] for _, manifest in manifests)


def track_world(ws: Workspace, memory: Memory, lanes: int | None = None, **how) -> TrackWorld:
    """The track in this process, to look at; `how` as for `TrackWorld`."""
    models, lanes = Track.of(ws, memory).models(), lanes or ws.profile.evolution.lanes
    return TrackWorld(*models, lanes, pair=memory.kind == "pair", **how)


def parcel(layers: np.ndarray, jobs: Sequence[Job]) -> tuple[np.ndarray, list[Job], list[int]]:
    """What a task needs of a generation: the weights of its own candidates, its jobs by their place
    among these, and who they are.

    Sent whole to each of a thousand workers, a generation's weights would be 220 MB.
    """
    who = sorted({job.candidate for job in jobs})
    return layers[who], [replace(job, candidate=who.index(job.candidate)) for job in jobs], who


def _drive(
    place: Place, layers: np.ndarray, jobs: list[Job], who: list[int], noise: float, models=None
) -> list[Outcome]:
    if models is not None:
        place.bring(models)
    with one_thread():
        driven = drive(place.open(), layers, jobs, noise)
    return [replace(outcome, candidate=who[outcome.candidate]) for outcome in driven]


#: Tasks are late, and are given to idle workers too, once nothing has come for so many times as
#: long as all that has come took; but not within so many seconds.
_LATE, _NEVER_WITHIN = 2.0, 5.0


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
        progress: Callable[[list[Outcome]], object] = lambda done: None,
    ) -> list[Outcome]:
        """Drive jobs; outcomes in the order of the jobs.

        Where workers are idle, tasks that are late are given to them too.

        Args:
            layers: C's weights `[candidates, 3, inputs + 1]`, float32.
            tasks: into how many tasks to split them; by default one a worker, which keeps lanes
                full longest.
            progress: called with its outcomes whenever a task is done.
        """
        tasks = tasks or self.size
        parts = [part for part in (jobs[i::tasks] for i in range(tasks)) if part]

        def submit(n: int, models=None) -> None:
            sent = parcel(layers, parts[n])
            future = self.executor.submit(_drive, place, *sent, steering_noise, models)
            pending[future] = n

        pending: dict[Future, int] = {}
        outcomes: dict[tuple[int, int], Outcome] = {}
        missing, repeated = set(range(len(parts))), False
        for n in missing:
            submit(n)
        begun = latest = time.monotonic()
        while missing:
            late = latest + max(_LATE * (latest - begun), _NEVER_WITHIN)
            watched = len(missing) < min(self.size, len(parts)) and not repeated
            patience = max(0.0, late - time.monotonic()) if watched else None
            over = wait(pending, patience, FIRST_COMPLETED).done
            if not over:
                # Its worker is slow, or cannot be reached. Whoever comes first counts: both drive
                # the same laps.
                repeated = True
                for n in missing:
                    submit(n)
            # What has been driven is told before what has failed.
            for future in sorted(over, key=lambda each: each.cancelled() or bool(each.exception())):
                n = pending.pop(future)
                if n not in missing:
                    continue
                try:
                    done = future.result()
                except Lacking:  # a worker without these files: it gets the models, and keeps them
                    submit(n, place.models())
                    continue
                except CancelledError as error:
                    raise AwmError(
                        "The workers are gone: their scheduler has stopped, or dropped this run. "
                        "What is finished is kept. Start it again, and run the same command."
                    ) from error
                missing.remove(n)
                latest = time.monotonic()
                outcomes |= {(o.candidate, o.seed): o for o in done}
                progress(done)
        for future in pending:
            future.cancel()
        return [outcomes[job.candidate, job.seed] for job in jobs]


@contextmanager
def crew(workers: Workers = None) -> Iterator[Crew]:
    """Workers for as long as the block lasts; as `awm.processes.opened`."""
    with processes.opened(workers) as found:
        yield Crew(*found)
