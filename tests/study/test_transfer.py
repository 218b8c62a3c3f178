"""Dreamt returns beside real ones: who is asked, in which dreams, and how they are ranked."""

from dataclasses import replace

import pytest
import torch

from awm.config import PRESETS
from awm.evolution import search
from awm.ids import Agent
from awm.models.vae import VAE
from awm.store import Workspace
from awm.study import transfer as study
from awm.study.transfer import transfer
from awm.worlds import dream
from awm.worlds.dream import DreamWorld
from awm.worlds.lanes import Outcome


def dreaming(ws, **changes) -> Workspace:
    """The same folder, as a profile of the same name with other dreams would see it."""
    return Workspace(replace(ws.profile, dream=replace(ws.profile.dream, **changes)), ws.root)


def test_returns_in_dreams_are_ranked_by_those_of_the_road(smoke_copy, monkeypatch):
    """With made-up returns: the order of the road is found when latents are held, and not else."""
    ws = dreaming(smoke_copy, rounds=0, on_track=(), seeds=3)
    names = ("plain_track", "plain_track_refined", "plain_dream", "plain_dream-1", "plain_dream-2")
    real = dict(zip(names, (4.0, 3.0, 2.0, 1.0, 0.0), strict=True))
    c = search.load(ws, Agent())
    monkeypatch.setattr(search, "load", lambda *_: c)
    monkeypatch.setattr(study, "evaluate", lambda _, agent, **__: {"mean": real[str(agent)]})
    worlds = []

    class World(DreamWorld):
        def __init__(self, source, lanes, temperature, idle_at_mean=False):
            super().__init__(source, lanes, temperature, idle_at_mean)
            self.held = idle_at_mean
            worlds.append(self)

    def drive(world, layers, jobs):
        earned = (500, 400, 300, 200, 100) if world.held else (0, 100, 200, 300, 400)
        return [Outcome(j.candidate, j.seed, earned[j.candidate], 9, 0.0, False) for j in jobs]

    monkeypatch.setattr(study, "DreamWorld", World)
    monkeypatch.setattr(study, "drive", drive)
    found = transfer(ws)
    assert [entry["agent"] for entry in found["agents"]] == list(names)
    assert found["rank"]["all"]["first"] == pytest.approx({"free": -1, "held": 1})
    assert found["rank"]["alone"] is None, "three agents have no rank correlation"
    refined = {"agent": names[1], "real": 3.0, "first": {"free": 100.0, "held": 400.0}}
    assert found["refined"] == refined
    assert found["deviation"]["dream"] > 0 and 0 <= found["idle"] <= 32
    assert {world.temperature for world in worlds} == {1.0}
    monkeypatch.setattr(study, "drive", lambda *_: pytest.fail("it has been measured"))
    assert transfer(ws) == found


def test_dreams_are_the_same_for_all_and_only_the_latents_differ(smoke, monkeypatch, short_laps):
    monkeypatch.setattr(VAE, "informative", property(lambda v: [0, 3]))
    source = replace(dream.load(smoke), mean=torch.linspace(-1, 1, 32))
    c, free = search.load(smoke, Agent()), DreamWorld(source, dream.LANES)
    one, two = study._dreamt(free, [c, c], 4)
    assert one == two
    held = DreamWorld(source, dream.LANES, idle_at_mean=True)
    assert study._dreamt(held, [c], 4) != [one]


def test_an_idle_latent_moves_in_dreams_and_not_on_the_road(smoke, monkeypatch):
    monkeypatch.setattr(VAE, "informative", property(lambda v: [n for n in range(32) if n != 7]))
    source, c = dream.load(smoke), search.load(smoke, Agent())
    data = study.mdn_rnn.sequences(smoke)
    data.latents.mu[:, :, 7] = 0.25
    found = study._idle_latents(data, source, c, 1.0)
    assert found["idle"] == 1 and found["deviation"]["road"] == 0 < found["deviation"]["dream"]
    monkeypatch.setattr(VAE, "informative", property(lambda v: list(range(32))))
    none = study._idle_latents(data, source, c, 1.0)
    assert none == {"idle": 0, "deviation": {"road": None, "dream": None}}


def test_returns_that_all_tie_have_no_rank():
    tied = [{"real": 1.0, "first": {"free": float(n), "held": 2.0}} for n in range(4)]
    assert study._ranks(tied, ["first"]) == {"first": {"free": None, "held": None}}
    assert study._ranks(tied[:3], ["first"]) is None


def test_every_agent_of_a_memory_is_asked_whose_weights_are_kept():
    profile = replace(PRESETS["paper"], dream=replace(PRESETS["paper"].dream, on_track=(1,)))
    found = [str(a) for a in study._agents(Workspace(profile, None), Agent().memory)]
    assert found[:4] == ["plain_track", "plain_track-1", "plain_track-2", "plain_track_refined"]
    assert "plain-1_track-3" not in found, "it drives with another M"
    dreamt = {n: f"plain-round{n}_dream-2" in found for n in (1, 2, 3)}
    assert dreamt == {1: True, 2: False, 3: True}
    assert "plain-round1_dream-2_track" in found and "plain-round3_dream_track" not in found
    assert len(found) == len(set(found)) == 4 + 9 + 3
