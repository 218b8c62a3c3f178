"""Iterative training: each round joins what its agent saw, and goes on from the round before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from awm import stages
from awm.config import PRESETS
from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.errors import AwmError
from awm.evolution.search import best_validated, load, log_of
from awm.ids import PLAIN, Agent, Memory
from awm.store import Workspace
from awm.study import cost
from awm.study import rounds as study
from awm.study.evaluation import evaluate
from awm.study.publish import publish
from awm.study.rounds import chains, recorded, rounds, waking
from awm.training import mdn_rnn, vae

NOW = Memory("plain", 0, 1)


def test_rounds_build_on_each_other(smoke_copy, threads, monkeypatch):
    ws = smoke_copy
    recorded = ws.profile.dream.round_rollouts
    first = open_rollouts(ws)
    found = rounds(ws)
    assert [r["round"] for r in found] == list(range(ws.profile.dream.rounds + 1))

    joined = open_rollouts(ws, NOW)
    assert len(joined) == len(first) + recorded == len(joined.lengths)
    assert joined.drivers[len(first) :] == ["agent"] * recorded
    assert not set(joined.seeds[: len(first)]) & set(joined.seeds[len(first) :])
    assert set(joined.indices("test")) > set(first.indices("test"))
    last = joined.episode(len(joined) - 1)
    assert len(last.actions) == joined.lengths[-1] == len(joined.column("rewards")[-1])
    assert np.array_equal(joined.episode(0).frames, first.episode(0).frames)
    assert not np.array_equal(*(joined.episode(len(first) + n).actions for n in (0, 1))), (
        "each drove with weights of its own"
    )
    mu = encode_latents(ws, vae.load(ws), NOW).mu
    assert len(mu) == len(joined)
    assert np.array_equal(mu[0], encode_latents(ws, vae.load(ws)).mu[0])

    before, after = mdn_rnn.load(ws), mdn_rnn.load(ws, NOW)
    assert after.manifest["inputs"]["before"]["content"] == before.manifest["content"]
    assert not torch.equal(before.head.weight, after.head.weight)
    agent = Agent(NOW, "dream")
    assert found[-1]["agent"] == str(agent)
    used = load(ws, agent).manifest["inputs"]["mdn_rnn"]["content"]
    assert used == after.manifest["content"]
    assert found[1]["real_steps"] > found[0]["real_steps"] == int(first.lengths.sum())
    rewards = np.concatenate(joined.column("rewards")[len(first) :])
    assert found[1]["recorded"] == pytest.approx(float(rewards.mean()))

    # What was driven in all rounds is what the last agent cost.
    spent = cost.cost(ws, agent)
    assert spent["real_steps"] == int(joined.lengths.sum())
    dreamt = [log_of(ws, Agent(m, "dream"))[-1]["steps"] for m in (PLAIN, NOW)]
    assert spent["dream_steps"] == sum(dreamt)

    # It is evaluated by its name.
    assert evaluate(ws, agent)["agent"] == "plain-round1_dream"

    # A second call finds everything; what is committed is enough to show it.
    monkeypatch.setattr(study, "_round", lambda *_: pytest.fail("it has been done"))
    assert rounds(ws) == found
    copied = {path.relative_to(ws.committed).as_posix() for path in publish(ws)}
    assert {"study/rounds-plain.json", "agents/plain-round1_dream.json"} <= copied
    assert {"rollouts-plain-round1.json", "mdn_rnn/plain-round1.safetensors"} <= copied


def test_every_chain_has_an_m_and_tracks_of_its_own_and_wakes_whom_it_chose(
    smoke_copy, threads, monkeypatch
):
    dream = replace(smoke_copy.profile.dream, seeds=2)
    ws = Workspace(replace(smoke_copy.profile, dream=dream), smoke_copy.root)
    assert waking(ws, 1) == [], "nobody has been chosen"
    found = chains(ws)
    assert [recorded(ws, m) for m in ws.profile.chains] == found and len(found) == 2
    memories = [Memory("plain", chain, 1) for chain in (0, 1)]
    seeds = [set(open_rollouts(ws, m).seeds.tolist()) for m in memories]
    assert seeds[0] & seeds[1] == set(open_rollouts(ws).seeds.tolist()), "the drivers' alone"
    for chain, m in zip(found, memories, strict=True):
        before = replace(m, round=0)
        assert mdn_rnn.load(ws, m).manifest["inputs"]["before"]["key"] == (
            stages.mdn_rnn(ws.profile, before).key
        )
        # The one of all dreamers that dreamt best, whatever it earned on the road.
        for entry, memory in zip(chain, (before, m), strict=True):
            validated = {
                str(a): best_validated(log_of(ws, a))["validation"]
                for a in ws.profile.dreamers(memory)
            }
            assert len(validated) == 2 and entry["dreamt"] == max(validated.values())
            assert validated[entry["agent"]] == entry["dreamt"]
        # All of them recorded.
        recorders = stages.rollouts(ws.profile, m).inputs
        assert set(recorders) == {str(a) for a in ws.profile.dreamers(before)}
    assert [str(agent) for agent in waking(ws, 1)] == [f"{c[1]['agent']}_track" for c in found]
    ways = cost.routes(ws)
    assert [len(run) for run in ways["in dreams alone, round by round"]] == [2, 2]
    assert len(ways["on the track from zero"]) == 2
    monkeypatch.setattr(study, "_round", lambda *_: pytest.fail("it has been done"))
    assert chains(ws) == found


def test_of_one_chain_all_seeds_wake(workspace):
    dream = replace(PRESETS["smoke"].dream, chains=0, seeds=3)
    ws = Workspace(replace(PRESETS["smoke"], dream=dream), workspace)
    names = ["plain-round1_dream_track", "plain-round1_dream-1_track", "plain-round1_dream-2_track"]
    assert [str(agent) for agent in waking(ws, 1)] == names


def test_rounds_that_would_take_other_stages_tracks_are_refused_before_anything_is_done(workspace):
    ws = Workspace.open("smoke", workspace)
    with pytest.raises(AwmError, match="tracks for 9 rounds.*plain-9 would be number 10"):
        rounds(ws, Memory("plain", 9))
    assert not ws.own.exists()


def test_a_round_goes_on_where_it_was_interrupted(smoke_copy, threads, monkeypatch):
    ws, train = smoke_copy, mdn_rnn.train

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mdn_rnn, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        rounds(ws)
    rollouts = ws.own / stages.rollouts(ws.profile, NOW).name
    assert not (ws.own / "study/rounds-plain.json").exists()
    written = rollouts.with_suffix(".json").stat().st_mtime_ns
    monkeypatch.setattr(mdn_rnn, "train", train)
    assert len(rounds(ws)) == 2
    assert rollouts.with_suffix(".json").stat().st_mtime_ns == written, "not recorded again"
