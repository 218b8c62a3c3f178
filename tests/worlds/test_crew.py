"""Workers: any executor gives the same returns, and none drives with other weights."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from awm import stages
from awm.errors import AwmError
from awm.ids import Memory
from awm.training import feature_map, mdn_rnn, vae
from awm.worlds.crew import Crew, Dream, Track, crew, track_world
from awm.worlds.lanes import Job, drive


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
    assert sum(driven) == len(JOBS)
    assert far == here(smoke, Memory())


@pytest.mark.parametrize("place", [Track, Dream])
def test_returns_do_not_depend_on_the_number_of_tasks(place, smoke, short_laps):
    described = place.of(smoke, Memory())
    expected = sorted(drive(described.open(), layers(3), JOBS), key=key)
    with ThreadPoolExecutor(1) as pool, crew(executor=pool) as hands:
        for tasks in (1, 4, 99):
            found = hands.drive(described, layers(3), JOBS[::-1], tasks=tasks)
            assert found == expected[::-1], "in the order of the jobs"


def test_a_worker_that_fails_is_heard(smoke):
    place = Track(smoke, Memory(), ("another", "hash"))
    with ThreadPoolExecutor(1) as pool, pytest.raises(AwmError, match="other weights"):
        Crew(pool, 1).drive(place, layers(3), JOBS)


@pytest.mark.parametrize("place", [Track, Dream])
def test_a_worker_with_other_weights_refuses(place, smoke_copy):
    ws, memory = smoke_copy, Memory()
    described = place.of(ws, memory)
    described.open()
    m = mdn_rnn.load(ws)
    m.head.bias.data += 1
    ws.save(stages.mdn_rnn(ws.profile, memory), m.state_dict())
    with pytest.raises(AwmError, match="other weights.*same files"):
        described.open()
    place.of(ws, memory).open()  # a new description is about the new weights
    v = vae.load(ws)
    v.posterior.bias.data += 1
    facts = {"kl_per_latent": v.manifest["kl_per_latent"]}
    ws.save(stages.vae(ws.profile), v.state_dict(), **facts)
    with pytest.raises(AwmError, match="from another vae"):
        described.open()
    (ws.own / "vae.safetensors").unlink()
    with pytest.raises(AwmError, match="no vae.safetensors.*awm train vae"):
        described.open()


def test_a_worker_with_another_head_refuses_to_dream(smoke_copy):
    ws, memory = smoke_copy, Memory("spatial")
    dreamt, driven = Dream.of(ws, memory), Track.of(ws, memory)
    dreamt.open()
    head = feature_map.load(ws)
    head.layers[0].bias.data += 1
    ws.save(stages.feature_map(ws.profile), head.state_dict())
    with pytest.raises(AwmError, match="other weights"):
        dreamt.open()
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
    with local, crew(cluster=local.scheduler_address) as hands:
        assert hands.size == 1
        far = hands.drive(Track.of(smoke, Memory()), layers(3), JOBS, tasks=2)
    assert far == here(smoke, Memory())


def test_a_cluster_that_does_not_answer_is_said():
    pytest.importorskip("distributed")
    with pytest.raises(AwmError, match="No Dask scheduler answers"), crew(cluster="nowhere"):
        pass
