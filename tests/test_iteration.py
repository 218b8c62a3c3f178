"""Iterative training: each round joins what its agent saw, and goes on from the round before."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from awm import (
    config,
    controller,
    dataset,
    evaluation,
    evolution,
    iteration,
    mdn_rnn,
    names,
    publish,
    results,
    vae,
)
from awm.config import get_profile
from awm.errors import AwmError


def test_rounds_build_on_each_other(smoke_copy, short_laps, monkeypatch):
    profile = get_profile("smoke")
    first = dataset.open_rollouts(profile)
    rounds = iteration.iterate(profile)
    assert [r["round"] for r in rounds] == list(range(profile.dream_rounds + 1))
    now = replace(profile, round=1)

    joined = dataset.open_rollouts(now)
    assert len(joined) == len(first) + profile.round_rollouts == len(joined.lengths)
    assert joined.drivers[len(first) :] == ["agent"] * profile.round_rollouts
    assert not set(joined.seeds[: len(first)]) & set(joined.seeds[len(first) :])
    assert set(joined.indices("test")) > set(first.indices("test"))
    last = joined.episode(len(joined) - 1)
    assert len(last.actions) == joined.lengths[-1] == len(joined.column("rewards")[-1])
    assert np.array_equal(joined.episode(0).frames, first.episode(0).frames)
    mu = dataset.encode_latents(now, vae.load(now)).mu
    assert len(mu) == len(joined)
    assert np.array_equal(mu[0], dataset.encode_latents(profile, vae.load(profile)).mu[0])

    before, after = mdn_rnn.load(profile), mdn_rnn.load(now)
    assert after.manifest["sources"]["mdn_rnn"] == before.manifest["hash"]
    assert not torch.equal(before.head.weight, after.head.weight)
    name = names.dreamt("none", round=1)
    assert rounds[-1]["controller"] == name
    assert controller.load(now, name).manifest["sources"]["mdn_rnn"] == after.manifest["hash"]
    assert rounds[1]["real_steps"] > rounds[0]["real_steps"] == int(first.lengths.sum())

    # What was driven in all rounds is what the last controller cost.
    cost = results.cost(profile, name)
    assert cost["real_steps"] == sum(int(part.lengths.sum()) for part in joined.parts)
    assert cost["dream_steps"] == sum(
        evolution.read_log(each, names.dreamt("none", round=each.round))[-1]["steps"]
        for each in (profile, now)
    )

    with pytest.raises(AwmError, match="maps"):
        mdn_rnn.train(now, "spatial")

    # It is evaluated by its name alone, and its result lies with its round.
    evaluation.evaluate(profile, name, episodes=1)
    assert len(list((config.data_dir(now) / "evaluations").rglob(f"{name}-fast*.json"))) == 1

    # A second call finds everything; what is committed is enough to show it.
    monkeypatch.setattr(iteration, "_round", lambda *_: pytest.fail("it has been done"))
    assert iteration.iterate(profile) == rounds
    copied = {p.relative_to(config.pretrained_dir()).as_posix() for p in publish.publish(profile)}
    assert {"smoke/iteration-none.json", f"smoke/round-1/controllers/{name}.json"} <= copied
    assert {"smoke/round-1/rollouts.json", "smoke/round-1/mdn_rnn-none.safetensors"} <= copied
