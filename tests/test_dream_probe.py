"""M on its own, linear probes, and the baselines that give a likelihood its meaning."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from awm import baselines, config, dataset, dream, mdn_rnn, probe, provenance, vae
from awm.config import get_profile
from awm.errors import AwmError
from awm.rollout import Job


def sequence(smoke):
    rollouts = dataset.open_rollouts("smoke")
    latents = dataset.encode_latents(get_profile("smoke"), vae.load("smoke"))
    episode = rollouts.episode(0)
    return torch.from_numpy(latents.mu[0]), torch.from_numpy(episode.actions)


def test_a_dream_begins_with_reality_and_then_leaves_it(smoke):
    z, actions = sequence(smoke)
    m = mdn_rnn.load("smoke")
    dreamt, rewards = dream.imagine(m, z, actions, warm_up=10, seed=3)
    assert dreamt.shape == (len(actions), 32) and rewards.shape == (len(actions),)
    assert torch.equal(dreamt[:11], z[:11])
    assert not torch.equal(dreamt[11], z[11])
    again, _ = dream.imagine(m, z, actions, warm_up=10, seed=3)
    other, _ = dream.imagine(m, z, actions, warm_up=10, seed=4)
    assert torch.equal(dreamt, again) and not torch.equal(dreamt, other)


def test_a_dream_with_real_codes_is_the_sequence(smoke):
    """Shown every real code, the dream's rewards are those that M predicts along the episode."""
    z, actions = sequence(smoke)
    m = mdn_rnn.load("smoke", "temporal")
    _, rewards = dream.imagine(m, z, actions, warm_up=len(actions))
    with torch.inference_mode():
        hidden, _ = m(z[None, : len(actions)], actions[None])
        expected = m.predict(hidden).reward[0]
    assert torch.allclose(rewards, expected, atol=1e-5)


def test_a_replay_is_the_dream_that_was_counted(smoke):
    world = dream.load("smoke")
    size = world.v.z_size + world.m.hidden_size + 1
    layer = np.random.default_rng(0).normal(0, 0.1, (3, size)).astype(np.float32)
    frames, rewards = dream.replay(world, layer, seed=5, steps=20)
    (outcome,) = dream.dream_jobs(world, layer[None], [Job(0, 5)], steps=20)
    assert len(frames) == len(rewards) == outcome.length
    assert rewards.sum() == pytest.approx(outcome.episode_return, abs=1e-3)


class Oracle:
    """An "M" that expects the reward it is told."""

    needs_map = False

    def __init__(self, rewards):
        self.rewards = iter(rewards)

    def __call__(self, z, action, maps):
        return next(self.rewards), None

    def predict(self, reward):
        return SimpleNamespace(reward=torch.as_tensor(reward)[None])


def test_reward_quality_knows_chance_from_foresight(smoke):
    profile = get_profile("smoke")
    rollouts = dataset.open_rollouts(profile)
    latents = dataset.encode_latents(profile, vae.load(profile))
    rewards = [np.maximum(rollouts.column("rewards")[i], -1) for i in rollouts.indices("test")]
    perfect = mdn_rnn.reward_quality(Oracle(rewards), rollouts, latents, windows=(1, 5))
    assert perfect["r2"] == pytest.approx({1: 1, 5: 1})
    assert perfect["found"] == 1 and perfect["tiles"] == sum((r > 0).sum() for r in rewards)
    mean = np.concatenate(rewards).mean()
    flat = mdn_rnn.reward_quality(
        Oracle([np.full_like(r, mean) for r in rewards]), rollouts, latents, windows=(1,)
    )
    assert flat["r2"][1] == pytest.approx(0, abs=1e-5)
    assert flat["ends"] == 0


def test_spatial_attention_needs_frames(smoke):
    z, actions = sequence(smoke)
    with pytest.raises(AwmError, match="another M"):
        dream.imagine(mdn_rnn.load("smoke", "spatial"), z, actions)


def test_probes_find_what_is_linear_and_nothing_else(monkeypatch):
    rng = np.random.default_rng(0)
    layer = rng.normal(size=(20, 2))

    def pairs(profile, model, split):
        x = rng.normal(size=(2000, 20)) * 3 + 1
        return x, np.concatenate([x @ layer, rng.normal(size=(2000, 1))], axis=1)

    monkeypatch.setattr(probe, "_pairs", pairs)
    found = probe.probe("smoke", "V")
    assert found["speed"] > 0.99 and found["steering_angle"] > 0.99
    assert abs(found["centre_distance"]) < 0.1


def test_probes_look_at_what_c_sees_when_it_sees_it(smoke):
    profile = get_profile("smoke")
    x, y = probe._pairs(profile, "none", "test")
    rollouts = dataset.open_rollouts(profile)
    episode = rollouts.episode(int(rollouts.indices("test")[0]))
    assert x.shape[1] == 32 + profile.hidden_size
    assert np.all(x[0, 32:] == 0), "no memory before the first step"
    assert np.allclose(y[:, 0], episode.telemetry[: len(y), 2])


def test_baselines_are_likelihoods_of_the_same_sequences(smoke_copy):
    mdn_rnn.train("smoke", "untrained")
    found = baselines.compare("smoke")
    for name in ("same_z", "linear_gaussian", "untrained_lstm", "lstm"):
        assert math.isfinite(found[name]["nll"])
    assert found["linear_gaussian"]["nll"] < found["same_z"]["nll"]
    echo = found["untrained_lstm"]
    assert echo["faint_units"] == echo["units"] == 64 and 0 < echo["deviation"] < 0.2
    assert baselines.compare("smoke")["date"] == found["date"], "nothing has changed"


def test_a_gaussians_score_is_torchs():
    torch.manual_seed(0)
    z, expected, deviation = torch.randn(50, 4), torch.randn(50, 4), torch.rand(4) + 0.1
    found = baselines._score(deviation, expected, z, torch.zeros(50), torch.randn(50), [1, 3])
    exact = -torch.distributions.Normal(expected, deviation).log_prob(z).mean(0)
    assert found["nll"] == pytest.approx(exact.sum().item(), rel=1e-4)
    assert found["nll_informative"] == pytest.approx(exact[[1, 3]].sum().item(), rel=1e-4)


def test_attention_is_compared_training_by_training(smoke_copy):
    kinds, test = ("none", "temporal", "wide"), dataset.open_rollouts("smoke").indices("test")
    mdn_rnn.train("smoke", "wide")
    single = baselines.compare_attentions(replace(get_profile("smoke"), mdn_seeds=1), kinds)
    assert single["episodes"] == len(test) and baselines.gains(single["nll"]) == {}
    # Differences over episodes are near those over steps, which the manifests have.
    plain, attentive = (mdn_rnn.load("smoke", k).manifest["test"]["nll"] for k in kinds[:2])
    gap = single["nll"]["temporal"][0] - single["nll"]["none"][0]
    assert gap == pytest.approx(attentive - plain, abs=0.2)

    with pytest.raises(AwmError, match="--seed 1"):
        baselines.compare_attentions("smoke", kinds)
    for kind in kinds:
        other = mdn_rnn.train("smoke", kind, seed=1)
        assert not torch.equal(other.head.weight, mdn_rnn.load("smoke", kind).head.weight)
    found = baselines.compare_attentions("smoke", kinds)
    assert found["nll"]["none"][0] == single["nll"]["none"][0] and len(found["nll"]["wide"]) == 2
    assert baselines.compare_attentions("smoke", kinds)["date"] == found["date"], "unchanged"


def test_attention_is_compared_with_an_m_of_equal_size():
    nll = {"none": [31.0, 31.1], "feature": [30.2, 30.21], "temporal": [30.4, 30.5]}
    assert baselines.control_of(nll) == "none"
    nll["wide"] = [30.4, 30.42]
    assert baselines.control_of(nll) == "wide"
    found = baselines.gains(nll)
    assert list(found) == ["feature", "temporal"], "plain M is neither arm nor control"
    assert found["feature"].value == pytest.approx(-0.205) and found["feature"].sign == -1


def test_rewards_are_judged_once(smoke_copy):
    kinds = ("none", "temporal")
    found = baselines.compare_rewards("smoke", kinds)
    assert set(found) == set(kinds) and set(found["none"]["r2"]) == {"1", "5", "20", "50"}
    path = config.data_dir("smoke") / "mdn_rnn-rewards.json"
    provenance.write_json(path, {**provenance.read_json(path), "none": "as it was recorded"})
    assert baselines.compare_rewards("smoke", kinds)["none"] == "as it was recorded"
