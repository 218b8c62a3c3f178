"""Rollouts on disk: what was driven is what is read, and damage is noticed, not passed on."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from awm import dataset
from awm.config import get_profile
from awm.drivers import DRIVERS, MIXTURE, assign
from awm.errors import AwmError
from awm.sim.car_racing import FastCarRacing


def test_an_episode_is_what_the_simulator_shows(smoke):
    rollouts = dataset.open_rollouts("smoke")
    episode = rollouts.episode(2)
    env = FastCarRacing()
    frame, _ = env.reset(seed=episode.seed)
    assert np.array_equal(episode.frames[0], frame)
    for t, action in enumerate(episode.actions):
        frame, reward, terminated, _, _ = env.step(action)
        assert np.array_equal(episode.frames[t + 1], frame)
        assert np.float32(reward) == episode.rewards[t]
        assert terminated == episode.terminated[t]
    x, y = env.car.hull.position
    assert np.allclose(episode.telemetry[-1, :2], (x, y))


def test_splits_are_disjoint_and_complete(smoke):
    rollouts = dataset.open_rollouts("smoke")
    parts = [set(rollouts.indices(s).tolist()) for s in ("train", "validation", "test")]
    assert set.union(*parts) == set(range(len(rollouts)))
    assert sum(map(len, parts)) == len(rollouts) and all(parts)


def test_collection_goes_on_where_it_was(smoke_copy):
    path = smoke_copy / "data" / "smoke" / "rollouts.zarr"
    whole = dataset.open_rollouts("smoke")
    expected = [whole.episode(i).frames for i in range(len(whole))]
    import zarr

    group = zarr.open_group(path, mode="r+")
    group["lengths"][3] = -1  # as if killed before episode 3 was noted
    group["frames"][3] = 0
    del group.attrs["hash"]
    with pytest.raises(AwmError, match="not finished.*awm collect"):
        dataset.open_rollouts("smoke")
    again = dataset.collect("smoke", workers=1)
    assert again.hash == whole.hash
    assert all(np.array_equal(again.episode(i).frames, e) for i, e in enumerate(expected))


def test_missing_foreign_and_damaged_stores_are_refused_and_kept(smoke_copy):
    with pytest.raises(AwmError, match="awm collect --profile quick"):
        dataset.open_rollouts("quick")
    path = smoke_copy / "data" / "smoke" / "rollouts.zarr"
    other = replace(get_profile("smoke"), rollouts=7)
    with pytest.raises(AwmError, match="Move them away"):
        dataset.open_rollouts(other)
    with pytest.raises(AwmError, match="Move them away"):
        dataset.collect(other)

    chunk = path / "frames" / "c" / "1" / "0" / "0" / "0" / "0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[: len(data) // 2])
    with pytest.raises(AwmError, match="episode 1 are damaged"):
        dataset.open_rollouts("smoke").episode(1)
    chunk.unlink()  # Zarr itself would read zeros
    with pytest.raises(AwmError, match="episode 1 are damaged"):
        dataset.open_rollouts("smoke").episode(1)
    chunk.write_bytes(data)
    dataset.open_rollouts("smoke").episode(1)

    shutil.rmtree(path / "lengths")
    (path / "zarr.json").write_text("not json")
    with pytest.raises(AwmError, match="Move it away"):
        dataset.open_rollouts("smoke")
    assert (path / "zarr.json").read_text() == "not json", "nothing is destroyed"


def test_latents_are_made_again_when_v_changes(smoke_copy):
    from awm import vae

    v = vae.load("smoke")
    first = dataset.encode_latents("smoke", v)
    mu, logvar, maps = v.encode_frames(dataset.open_rollouts("smoke").episode(0).frames)
    assert np.allclose(first.mu[0, : len(mu)], mu)
    assert np.allclose(first.maps[0, : len(mu)], maps, atol=1e-2)
    v.manifest["hash"] = "another"
    v.posterior.bias.data += 1
    second = dataset.encode_latents("smoke", v)
    assert np.allclose(second.mu[0, : len(mu)], mu + 1, atol=1e-5)


def test_drivers_drive_as_told():
    shares = assign(200)
    for name, share in MIXTURE.items():
        assert abs(shares.count(name) - 200 * share) <= 1
    returns = {}
    for name, driver_class in DRIVERS.items():
        env, driver = FastCarRacing(), driver_class()
        env.reset(seed=1)
        driver.reset(env, np.random.default_rng(0))
        actions, total = [], 0.0
        for _step in range(300):
            actions.append(driver.act(env))
            total += env.step(actions[-1])[1]
        returns[name] = total
        assert actions[0].dtype == np.float32
        assert (np.array(actions) >= (-1, 0, 0)).all() and (np.array(actions) <= 1).all()
    assert returns["scripted"] > 200 > returns["random"]
