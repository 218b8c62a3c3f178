"""Rollouts on disk: what was driven is what is read, and damage is noticed, not passed on."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import zarr
from gymnasium.envs.box2d.car_racing import PLAYFIELD

from awm import stages
from awm.config import PRESETS
from awm.data import rollouts as recording
from awm.data.drivers import DRIVERS, assign
from awm.data.rollouts import collect, held_out_frames, moments, open_rollouts
from awm.errors import AwmError
from awm.racing.car_racing import FastCarRacing
from awm.store import CODE, Workspace, read_json


def of(ws, **data) -> Workspace:
    """The same folder, as a profile of the same name and other data would see it."""
    return Workspace(replace(ws.profile, data=replace(ws.profile.data, **data)), ws.root)


def test_an_episode_is_what_the_simulator_shows(smoke):
    rollouts = open_rollouts(smoke)
    episode = rollouts.episode(2)
    env = FastCarRacing()
    frame, _ = env.reset(seed=episode.seed)
    assert np.array_equal(episode.frames[0], frame)
    for t, action in enumerate(episode.actions):
        frame, reward, terminated, _, _ = env.step(action)
        assert np.array_equal(episode.frames[t + 1], frame)
        assert np.float32(reward) == episode.rewards[t]
        assert terminated == episode.terminated[t]
    assert np.allclose(episode.telemetry[-1, :2], tuple(env.car.hull.position))
    assert np.allclose(episode.telemetry[-1, 2], np.hypot(*env.car.hull.linearVelocity))


def test_the_manifest_tells_what_was_recorded(smoke):
    manifest, rollouts = read_json(smoke.own / "rollouts.json"), open_rollouts(smoke)
    assert manifest["seeds"] == rollouts.seeds.tolist()
    assert manifest["drivers"] == rollouts.drivers
    assert manifest["frames"] == int((rollouts.lengths + 1).sum())
    assert manifest["settings"]["drivers"] and manifest["settings"]["validation_share"] == 0.2


def test_splits_are_disjoint_and_complete(smoke):
    rollouts = open_rollouts(smoke)
    parts = [set(rollouts.indices(s).tolist()) for s in ("train", "validation", "test")]
    assert set.union(*parts) == set(range(len(rollouts)))
    assert sum(map(len, parts)) == len(rollouts) and all(parts)


def test_collection_goes_on_where_it_was(smoke_copy, monkeypatch):
    whole, manifest = open_rollouts(smoke_copy), read_json(smoke_copy.own / "rollouts.json")
    expected = [whole.episode(i).frames for i in range(len(whole))]
    group = zarr.open_group(smoke_copy.own / "rollouts.zarr", mode="r+")
    group["lengths"][3] = -1  # as if killed before episode 3 was noted
    group["frames"][3] = 0
    (smoke_copy.own / "rollouts.json").unlink()
    with pytest.raises(AwmError, match="not finished.*awm collect.*goes on"):
        open_rollouts(smoke_copy)
    with pytest.raises(AwmError, match="steps 64, now 65"):
        open_rollouts(of(smoke_copy, steps=65))

    driven = []

    def drive_all(group, drivers, most, missing, executor, size):
        for i in missing:
            driven.append(i)
            seed = int(group["seeds"][i])
            recording._write(group, i, recording._drive_one(CODE, drivers[i], seed, most[i]))

    monkeypatch.setattr(recording, "_drive_all", drive_all)  # in this process
    again = collect(smoke_copy)
    assert driven == [3]
    assert all(np.array_equal(again.episode(i).frames, e) for i, e in enumerate(expected))
    assert read_json(smoke_copy.own / "rollouts.json")["content"] == manifest["content"]
    collect(smoke_copy)
    assert driven == [3], "returns at once"


def test_foreign_rollouts_are_refused_and_kept(smoke, workspace):
    with pytest.raises(AwmError, match="awm collect --profile quick"):
        open_rollouts(Workspace.open("quick"))
    before = sorted(smoke.own.rglob("*"))
    for other in (of(smoke, rollouts=7), of(smoke, drivers=(("random", 1.0),))):
        for use in (open_rollouts, collect):
            with pytest.raises(AwmError, match="with other settings.*Move"):
                use(other)
    assert sorted(smoke.own.rglob("*")) == before


def test_damaged_stores_are_refused_and_kept(smoke_copy):
    path = smoke_copy.own / "rollouts.zarr"
    chunk = path / "frames" / "c" / "1" / "0" / "0" / "0" / "0"
    data = chunk.read_bytes()
    chunk.write_bytes(data[: len(data) // 2])
    with pytest.raises(AwmError, match="episode 1, is damaged"):
        open_rollouts(smoke_copy).episode(1)
    chunk.unlink()  # Zarr itself would read zeros
    with pytest.raises(AwmError, match="episode 1, is damaged"):
        open_rollouts(smoke_copy).episode(1)
    chunk.write_bytes(data)
    open_rollouts(smoke_copy).episode(1)

    (smoke_copy.own / "rollouts.json").unlink()
    shutil.rmtree(path / "lengths")
    (path / "zarr.json").write_text("not json")
    with pytest.raises(AwmError, match="Move it away"):
        open_rollouts(smoke_copy)
    assert (path / "zarr.json").read_text() == "not json", "nothing is destroyed"


def test_a_profiles_seed_takes_other_tracks(workspace):
    seeds = []
    for seed in (0, 1):
        ws = Workspace.open(PRESETS["smoke"].but(f"seed{seed}", seed=seed))
        stage = stages.rollouts(ws.profile)
        seeds.append(recording._open_for_writing(ws, stage, ["random"] * 6, 0)["seeds"][:].tolist())
    assert not set(seeds[0]) & set(seeds[1])


def test_frames_are_spread_over_episodes(smoke):
    rollouts = open_rollouts(smoke)
    held_out = held_out_frames(rollouts, "test", 8)
    first = rollouts.episode(int(rollouts.indices("test")[0])).frames
    assert len(held_out) == 8 and (held_out[0] == first).all(axis=(1, 2, 3)).any()
    assert moments(np.arange(100), 4).tolist() == [12, 37, 62, 87]


def test_coverage_is_told_by_driver(smoke):
    covered = recording.coverage(open_rollouts(smoke))
    lengths = open_rollouts(smoke).lengths
    assert sum(each["frames"] for each in covered.values()) == (lengths + 1).sum()
    assert sum(len(each["steering"]) for each in covered.values()) == lengths.sum()
    assert all(0 <= each["off_road"] <= 1 for each in covered.values())


def test_drivers_are_assigned_in_their_shares():
    shares = dict(PRESETS["paper"].data.drivers)
    assert sum(shares.values()) == pytest.approx(1)
    names = assign(200, shares)
    for name, share in shares.items():
        assert abs(names.count(name) - 200 * share) <= 1
        assert names[:100].count(name) == pytest.approx(100 * share, abs=1), "interleaved"


def test_drivers_drive_as_told():
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


def test_some_episodes_run_to_their_end(workspace):
    drivers = (("walk", 0.5), ("leaving", 0.5))
    profile = PRESETS["smoke"].but("mine", data__ending=0.5, data__drivers=drivers)
    lengths = recording._lengths(profile.data, ["walk", "leaving", "walk", "walk", "walk"])
    assert lengths == [64, 1000, 1000, 64, 1000]
    ws = Workspace.open(profile)
    stage = stages.rollouts(profile)
    recording.record(ws, stage, ["leaving"] * 3, [DRIVERS["leaving"]()] * 3, lengths=[1000] * 3)
    found = open_rollouts(ws)
    for i in range(3):
        episode = found.episode(i)
        assert episode.rewards[-1] == -100 and episode.terminated.sum() == episode.terminated[-1]
        assert np.abs(episode.telemetry[-1, :2]).max() > PLAYFIELD
        assert 60 < found.lengths[i] < 1000 == found.longest
