"""Iterative training: each round joins what its agent saw, and goes on from the round before."""

import numpy as np
import pytest
import torch

from awm import stages
from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.evolution.search import load, log_of
from awm.ids import PLAIN, Agent, Memory
from awm.study import rounds as study
from awm.study.cost import cost
from awm.study.evaluation import evaluate
from awm.study.publish import publish
from awm.study.rounds import rounds
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
    spent = cost(ws, agent)
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
