"""Latents that say nothing: held at their mean in a dream, and what that does to what C earns."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch

from awm import (
    config,
    controller,
    dream,
    evolution,
    iteration,
    names,
    pipeline,
    provenance,
    publish,
    transfer,
)
from awm.config import PROFILES, Search, get_profile
from awm.controller import Controller
from awm.errors import AwmError
from awm.rollout import Job


@pytest.fixture
def world(smoke, monkeypatch):
    """The smoke world, of whose latents only 0 and 3 are said to carry information."""
    monkeypatch.setattr(dream.baselines, "informative_latents", lambda v: [0, 3])
    world = dream.load("smoke")
    return replace(world, mean=torch.linspace(-1, 1, 32))


def test_idle_latents_are_held_at_their_mean_in_what_c_and_m_see(world):
    asleep = dream.Dream(world, 2, idle_at_mean=True)
    idle = [i for i in range(32) if i not in (0, 3)]
    seen, step = [], world.m.step

    def watched(z, *rest):
        seen.append(z.clone())
        return step(z, *rest)

    object.__setattr__(world.m, "step", watched)
    for lane in (0, 1):
        asleep.begin(lane, seed=lane)
    for _ in range(3):
        assert torch.equal(asleep.inputs[:, :32][:, idle], world.mean[idle].expand(2, -1))
        asleep.step(torch.zeros(2, 3))
    moved = torch.stack(seen)
    assert torch.equal(moved[:, :, idle], world.mean[idle].expand(3, 2, -1)), "M sees them too"
    assert moved[:, :, [0, 3]].std(0).min() > 0, "what carries information moves"


def test_they_are_free_unless_one_asks(world):
    layer = np.random.default_rng(0).normal(0, 0.1, (1, 3, 32 + world.m.hidden_size + 1))
    layer = layer.astype(np.float32)
    usual, free, held = (
        dream.dream_jobs(world, layer, [Job(0, 5)], steps=10, **options)[0].episode_return
        for options in ({}, {"idle_at_mean": False}, {"idle_at_mean": True})
    )
    assert usual == free != held
    _, rewards = dream.replay(world, layer[0], seed=5, steps=10, idle_at_mean=True)
    assert rewards.sum() == pytest.approx(held, abs=1e-3)


def test_a_world_loads_the_mean_of_what_was_driven(smoke):
    world = dream.load("smoke")
    assert world.mean.shape == (32,) and world.mean.abs().max() > 0
    with pytest.raises(AwmError, match="mean"):
        dream.Dream(replace(world, mean=None), 1, idle_at_mean=True)


def test_a_log_from_before_the_setting_was_made_without_it(smoke_copy, short_laps):
    """It goes on without the setting, and is refused with it."""
    profile = replace(
        get_profile("smoke"),
        dream=replace(get_profile("smoke").dream, generations=1, population=4),
    )
    evolution.evolve_in_dream(profile)
    path = evolution.log_path(profile, "none-dream")
    entries = evolution.generations(path)
    assert entries[0]["settings"].pop("idle_at_mean") is False
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert len(evolution.evolve_in_dream(profile).log) == len(entries)
    with pytest.raises(AwmError, match="idle_at_mean"):
        evolution.evolve_in_dream(replace(profile, dream=replace(profile.dream, idle_at_mean=True)))


def test_a_search_hands_the_setting_to_its_dreams(smoke_copy, short_laps, monkeypatch):
    asked = []

    def drive_jobs(profile, model, layers, jobs, temperature, idle_at_mean):
        asked.append(idle_at_mean)
        return [dream.Outcome(job.candidate, job.seed, 0.0, 1, 0.0, False) for job in jobs]

    monkeypatch.setattr(dream, "drive_jobs", drive_jobs)
    held = replace(get_profile("smoke").dream, generations=1, idle_at_mean=True)
    evolution.evolve_in_dream(replace(get_profile("smoke"), dream=held))
    assert asked and all(asked)


def test_committed_rounds_and_settings_read_as_they_were_made():
    recorded = asdict(Search(2, 4, 1, 0.1, 20, 1, 2))
    del recorded["idle_at_mean"], recorded["averaged"]
    assert Search.completed(recorded) == asdict(Search(2, 4, 1, 0.1, 20, 1, 2))
    assert Search.completed(recorded | {"idle_at_mean": True})["idle_at_mean"]


def test_rounds_recorded_before_the_setting_are_not_gone_through_again(smoke_copy, monkeypatch):
    profile = get_profile("smoke")
    monkeypatch.setattr(iteration, "_round", lambda now, *_: {"round": now.round})
    rounds = iteration.iterate(profile)
    path = config.data_dir(profile) / "iteration-none.json"
    record = provenance.read_json(path)
    del record["sources"]["dream"]["idle_at_mean"]
    provenance.write_json(path, record)
    monkeypatch.setattr(iteration, "_round", lambda *_: pytest.fail("it has been done"))
    assert iteration.iterate(profile) == rounds


# ---------------------------------------------------------------- what it does to C


def test_returns_in_dreams_are_ranked_by_those_of_the_road(smoke_copy, monkeypatch):
    """With made-up returns: the order of the road is found when latents are held, and not else."""
    profile = replace(get_profile("smoke"), dream_rounds=0, woken=(), dream_seeds=3)
    real = {"none": 4.0, "none-refined": 3.0, "none-dream": 2.0}
    real |= {"none-dream-seed1": 1.0, "none-dream-seed2": 0.0}
    c = controller.load(profile, "none")
    monkeypatch.setattr(
        controller,
        "load",
        lambda _, name: Controller("none", c.parameters, c.inputs, {"hash": name}),
    )
    monkeypatch.setattr(transfer.evaluation, "evaluate", lambda _, name, **__: {"mean": real[name]})
    monkeypatch.setattr(
        transfer,
        "_dreamt",
        lambda world, agents, t, held: [100.0 * n for n in ((5, 4, 3, 2, 1) if held else range(5))],
    )
    found = transfer.measure(profile)
    assert [entry["controller"] for entry in found["controllers"]] == list(real)
    assert found["rank"]["all"]["first"] == pytest.approx({"free": -1, "held": 1})
    assert found["rank"]["alone"] is None, "three controllers have no rank correlation"
    refined = {"controller": "none-refined", "real": 3.0, "first": {"free": 100.0, "held": 400.0}}
    assert found["refined"] == refined
    assert found["deviation"]["dream"] > 0 and 0 <= found["idle"] <= 32
    monkeypatch.setattr(transfer, "_dreamt", lambda *_: pytest.fail("it has been measured"))
    assert transfer.measure(profile) == found


def test_dreams_are_the_same_for_all_and_only_the_latents_differ(world):
    c = controller.load("smoke", "none")
    one, two = transfer._dreamt(world, [c, c], 1.0, False)
    assert one == two
    assert transfer._dreamt(world, [c], 1.0, True) != [one]


# ---------------------------------------------------------------- rounds


def test_every_round_that_wakes_is_dreamt_with_every_seed_and_published():
    profile = replace(PROFILES["paper"], woken=(1,))
    assert profile.dream_rounds == 3 and profile.rounds_dreamt == (0, 1, 3)
    assert PROFILES["paper"].rounds_dreamt == (0, 3)
    assert "none-dream-round1-woken-seed2" in transfer._controllers(profile, "none")


def test_the_notebook_wakes_controllers_of_any_round():
    cells = nbformat.read(pipeline.notebooks_dir() / "06_dreaming.ipynb", as_version=4).cells
    sources = {cell.id: cell.source for cell in cells}
    profile, calls = replace(PROFILES["paper"], woken=(1,)), []
    space = {
        "profile": profile, "model": "none", "replace": replace, "names": names, "rounds": [1],
        "evolution": SimpleNamespace(
            evolve_in_dream=lambda p, m, s: calls.append(names.dreamt(m, s, round=p.round)),
            wake=lambda p, name: calls.append(names.woken(name)),
        ),
        "evaluation": SimpleNamespace(evaluate=lambda *_, **__: {}, table=lambda found: found),
        "results": SimpleNamespace(routes=lambda *_: {}),
    }  # fmt: skip
    for cell in ("06-seeds", "06-road", "06-wake"):
        exec(sources[cell], space)
    assert "none-dream-round1-seed2" in calls and "none-dream-round1-woken-seed2" in calls


def test_weights_of_rounds_that_wake_are_published(workspace, monkeypatch):
    monkeypatch.setattr(publish.weights, "load", lambda *_: None)
    profile = replace(PROFILES["smoke"], dream_rounds=3, woken=(1,))
    for n in range(4):
        folder = config.data_dir(replace(profile, round=n)) / "controllers"
        folder.mkdir(parents=True)
        (folder / "c.safetensors").write_text("weights")
    copied = {str(p.parent.parent.name) for p in publish.publish(profile)}
    assert copied == {"smoke", "round-1", "round-3"}
