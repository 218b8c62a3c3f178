"""Dreamt returns beside real ones: who is asked, in which dreams, and how they are ranked."""

from dataclasses import replace

import pytest
import torch

from awm.config import PRESETS
from awm.evolution import search
from awm.evolution.search import evolve
from awm.ids import Agent
from awm.models.vae import VAE
from awm.store import Workspace
from awm.study import transfer as study
from awm.study.evaluation import evaluate
from awm.study.rounds import chains, waking
from awm.study.transfer import transfer
from awm.worlds import crew, dream
from awm.worlds.dream import DreamWorld
from awm.worlds.lanes import Outcome


def dreaming(ws, **changes) -> Workspace:
    """The same folder, as a profile of the same name with other dreams would see it."""
    return Workspace(replace(ws.profile, dream=replace(ws.profile.dream, **changes)), ws.root)


def test_returns_in_dreams_are_ranked_by_those_of_the_road(smoke_copy, monkeypatch):
    """With made-up returns: the order of the road is found when latents are held, and not else."""
    how = replace(smoke_copy.profile.dream.search, moments=False)
    ws = dreaming(smoke_copy, rounds=0, on_track=(), seeds=3, chains=0, search=how)
    for path in (ws.own / "agents").glob("plain_dream.*"):  # of other dreams
        path.unlink()
    names = ("plain_track", "plain_track_refined", "plain_dream", "plain_dream-1", "plain_dream-2")
    real = dict(zip(names, (4.0, 3.0, 2.0, 1.0, 0.0), strict=True))
    c = search.load(ws, Agent())
    monkeypatch.setattr(search, "load", lambda *_: c)

    def evaluate(_, agent, **__):
        return {"mean": real[str(agent)], "returns": [real[str(agent)], 0.0], "lengths": [500, 300]}

    monkeypatch.setattr(study, "evaluate", evaluate)
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
    dreamt = {"free": 100.0, "held": 400.0}
    pace = 1000 * 3.0 / 800  # of a dream's steps, as many as an episode's
    assert found["refined"] == {"agent": names[1], "real": 3.0, "pace": pace, "first": dreamt}
    assert "chains" not in found
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
    assert study._ranks(tied) == {"first": {"free": None, "held": None}}
    assert study._ranks(tied[:3]) is None


def test_every_agent_of_a_memory_is_asked_whose_weights_are_kept():
    profile = replace(PRESETS["paper"], dream=replace(PRESETS["paper"].dream, on_track=(1,)))
    found = [str(a) for a in study._agents(Workspace(profile, None), Agent().memory)]
    assert found[:4] == ["plain_track", "plain_track-1", "plain_track-2", "plain_track_refined"]
    assert "plain-1_track-3" not in found, "it drives with another M"
    dreamt = {n: f"plain-round{n}_dream-2" in found for n in (1, 2, 3)}
    assert dreamt == {1: True, 2: False, 3: True}
    assert "plain-round1_dream-2_track" in found and "plain-round3_dream_track" not in found
    assert len(found) == len(set(found)) == 4 + 9 + 3


def test_the_agents_of_every_chain_dream_of_test_moments_with_the_m_of_their_own(
    smoke_copy, threads, monkeypatch
):
    """As the profile's searches dream: from moments, as long as M was trained for."""
    ws, opened = smoke_copy, []
    chains(ws)
    for n in ws.profile.dream.on_track:
        for agent in waking(ws, n):
            evolve(ws, agent)

    def dream_of(ws, memory, search, **how):
        opened.append((str(memory), how))
        return crew.dream_of(ws, memory, search, **how)

    monkeypatch.setattr(study, "dream_of", dream_of)
    found = transfer(ws)
    assert [entry["agent"] for entry in found["agents"]] == [
        "plain_track", "plain_track_refined", "plain_dream", "plain-round1_dream",
        "plain_dream_track", "plain-round1_dream_track",
        "plain-1_dream", "plain-1-round1_dream",
        "plain-1_dream_track", "plain-1-round1_dream_track",
    ]  # fmt: skip
    asked = [
        (memory, {"idle_at_mean": held, "split": "test"})
        for chain in ("plain", "plain-1")
        for held in (False, True)
        for memory in (chain, f"{chain}-round1")
    ]
    assert opened == asked
    assert list(found["chains"]) == ["plain", "plain-1"]
    assert found["rank"]["all"].keys() == {"first", "last"}
    assert found["rank"]["alone"] is not None, "the four of both chains together"
    one = found["agents"][0]
    laps = evaluate(ws, Agent())
    steps = ws.profile.mdn_rnn.sequence_length
    assert one["pace"] == pytest.approx(steps * sum(laps["returns"]) / sum(laps["lengths"]))
    world = crew.dream_of(ws, Agent().memory, ws.profile.dream.search, split="test").open()
    assert world.steps == steps and world.edge
    (expected,) = study._dreamt(world, [search.load(ws, Agent())], ws.profile.test.dreams)
    assert one["first"]["held"] == pytest.approx(expected)
    record = ws.own / "study/transfer.json"
    written = record.stat().st_mtime_ns
    assert transfer(ws) == found and record.stat().st_mtime_ns == written
