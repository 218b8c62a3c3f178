"""M on its own, linear probes, and the baselines that give a likelihood its meaning."""

import math

import numpy as np
import pytest
import torch

from awm import baselines, dataset, dream, mdn_rnn, probe, vae
from awm.config import get_profile
from awm.errors import AwmError


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
    assert baselines.compare("smoke")["date"] == found["date"], "nothing has changed"


def test_a_gaussians_score_is_torchs():
    torch.manual_seed(0)
    z, expected, deviation = torch.randn(50, 4), torch.randn(50, 4), torch.rand(4) + 0.1
    found = baselines._score(deviation, expected, z, torch.zeros(50), torch.randn(50), [1, 3])
    exact = -torch.distributions.Normal(expected, deviation).log_prob(z).mean(0)
    assert found["nll"] == pytest.approx(exact.sum().item(), rel=1e-4)
    assert found["nll_informative"] == pytest.approx(exact[[1, 3]].sum().item(), rel=1e-4)
