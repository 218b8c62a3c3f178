"""Workers: any executor gives the same returns, and none drives with other weights."""

import os
import subprocess
import sys
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from awm import stages
from awm.errors import AwmError
from awm.ids import Memory
from awm.store import Workspace
from awm.training import feature_map, mdn_rnn
from awm.worlds.crew import Crew, Dream, Track, crew, track_world
from awm.worlds.lanes import Job, drive

PACKAGE = Path(__file__).parent.parent.parent


def layers(count, inputs=96):
    rng = np.random.default_rng(0)
    return rng.normal(size=(count, 3, inputs + 1)).astype(np.float32) * 0.3


JOBS = [Job(c, s, patience=10) for c in range(3) for s in (1, 2)]


def key(outcome):
    return (outcome.candidate, outcome.seed)


def here(ws, memory):
    return sorted(drive(track_world(ws, memory), layers(3), JOBS), key=key)


def test_returns_do_not_depend_on_the_number_of_workers(smoke):
    """With real processes."""
    driven = []
    with crew(2) as hands:
        assert hands.size == 2
        far = hands.drive(
            Track.of(smoke, Memory()), layers(3), JOBS, tasks=3, progress=driven.append
        )
    assert sum(map(len, driven)) == len(JOBS)
    assert far == here(smoke, Memory())


@pytest.mark.parametrize("place", [Track, Dream])
def test_returns_do_not_depend_on_the_number_of_tasks(place, smoke, short_laps):
    described = place.of(smoke, Memory())
    expected = sorted(drive(described.open(), layers(3), JOBS), key=key)
    with ThreadPoolExecutor(1) as pool, crew(pool) as hands:
        for tasks in (1, 4, 99):
            found = hands.drive(described, layers(3), JOBS[::-1], tasks=tasks)
            assert found == expected[::-1], "in the order of the jobs"


def test_a_worker_that_fails_is_heard(smoke):
    place = replace(Track.of(smoke, Memory()), code="another")
    with ThreadPoolExecutor(1) as pool, pytest.raises(AwmError, match="another version of awm"):
        Crew(pool, 1).drive(place, layers(3), JOBS)


class Elsewhere(Executor):
    """A worker on another machine: the same path, other files."""

    def __init__(self, pool, root):
        self.pool, self.root, self.sent = pool, root, []

    def submit(self, drive, place, *arguments):
        self.sent.append(arguments[-1])
        there = replace(place, ws=Workspace(place.ws.profile, self.root))
        return self.pool.submit(drive, there, *arguments)


def test_a_worker_drives_what_the_run_is_about_whatever_its_files_are(smoke, smoke_copy, tmp_path):
    m = mdn_rnn.load(smoke_copy)
    m.head.bias.data += 1
    m.lstm.weight_hh_l0.data *= 1.5
    other = smoke_copy
    other.save(stages.mdn_rnn(other.profile, Memory()), m.state_dict())
    assert Track.of(other, Memory()).contents != Track.of(smoke, Memory()).contents
    expected = {place: Crew.drive(local(), place, layers(3), JOBS) for place in places(smoke)}
    for root in (other.root, tmp_path / "empty"):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            far = Elsewhere(pool, root)
            for place in places(smoke):
                for _ in range(2):
                    assert Crew(far, 1).drive(place, layers(3), JOBS) == expected[place]
            assert [models is None for models in far.sent] == [True, False, True] * 2


def places(ws):
    return Track.of(ws, Memory()), Dream.of(ws, Memory())


def local():
    return Crew(Here(), 1)


class Here(Executor):
    """No worker at all."""

    def submit(self, drive, *arguments):
        future = Future()
        future.set_result(drive(*arguments))
        return future


class OneHangs(Executor):
    """Two workers, of which the first never answers what it was first asked."""

    def __init__(self, pool):
        self.pool, self.asked, self.hanging = pool, 0, Future()

    def submit(self, drive, *arguments):
        self.asked += 1
        return self.hanging if self.asked == 1 else self.pool.submit(drive, *arguments)


def test_laps_of_a_worker_that_hangs_are_driven_by_another(smoke, monkeypatch):
    monkeypatch.setattr("awm.worlds.crew._NEVER_WITHIN", 0.1)
    driven = []
    with ThreadPoolExecutor(1) as pool:
        hands = OneHangs(pool)
        far = Crew(hands, 2).drive(
            Track.of(smoke, Memory()), layers(3), JOBS, progress=driven.append
        )
    assert far == here(smoke, Memory())
    assert hands.asked == 3 and hands.hanging.cancelled()
    assert sum(map(len, driven)) == len(JOBS), "no lap is told twice"


def test_another_head_is_another_dream(smoke_copy):
    ws, memory = smoke_copy, Memory("spatial")
    dreamt, driven = Dream.of(ws, memory), Track.of(ws, memory)
    old = dreamt.open().source.head
    head = feature_map.load(ws)
    head.layers[0].bias.data += 1
    ws.save(stages.feature_map(ws.profile), head.state_dict())
    assert (dreamt.open().source.head.layers[0].bias == old.layers[0].bias).all()
    driven.open()  # the track needs no head
    seen = Dream.of(ws, memory).open().source.head
    assert (seen.layers[0].bias == head.layers[0].bias).all(), "nothing stale is remembered"


def test_models_are_loaded_once_a_process(smoke):
    place = Track.of(smoke, Memory())
    assert place.open().perception.v is place.open().perception.v


def test_a_dask_cluster_drives_with_the_same_returns(smoke):
    distributed = pytest.importorskip("distributed")
    local = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False
    )
    with local, crew(local.scheduler_address) as hands:
        assert hands.size == 1
        far = hands.drive(Track.of(smoke, Memory()), layers(3), JOBS, tasks=2)
    assert far == here(smoke, Memory())


@pytest.mark.slow
def test_dask_workers_need_no_files(smoke, smoke_copy, tmp_path):
    """With real workers, of which one dies: what was here when the run began is all they need."""
    distributed = pytest.importorskip("distributed")
    place, expected = Track.of(smoke_copy, Memory()), here(smoke, Memory())
    place.models()  # known to this process
    (smoke_copy.root / "data").rename(tmp_path / "moved away")
    command = (sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads=1", "--no-nanny")
    options = ("--no-dashboard", f"--local-directory={tmp_path}", "--death-timeout=60")
    environment = {**os.environ, "AWM_ROOT": str(tmp_path / "empty"), "PYTHONPATH": str(PACKAGE)}
    scheduler = distributed.LocalCluster(n_workers=0, dashboard_address=None)
    with scheduler:
        address = scheduler.scheduler_address
        workers = [
            subprocess.Popen([*command, address, *options], env=environment, cwd=tmp_path)
            for _ in range(2)
        ]
        try:
            with distributed.Client(address) as client:
                client.wait_for_workers(2, timeout=60)
            with crew(address) as hands:
                killing = [workers[0].kill]
                far = hands.drive(
                    place, layers(3), JOBS, tasks=6,
                    progress=lambda done: killing and killing.pop()(),
                )  # fmt: skip
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert far == expected


def test_a_cluster_that_does_not_answer_is_said():
    pytest.importorskip("distributed")
    with pytest.raises(AwmError, match="No Dask scheduler answers"), crew("nowhere"):
        pass


def test_a_cluster_that_goes_away_is_said(smoke):
    class Gone(Executor):
        def submit(self, *arguments):
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    with pytest.raises(AwmError, match="workers are gone.*same command"):
        Crew(Gone(), 1).drive(Track.of(smoke, Memory()), layers(3), JOBS)
