"""Sequences are what was driven, and their losses count each step once."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.ids import Memory
from awm.training import mdn_rnn, vae
from awm.training.sequences import SequenceData, found_ends, losses, validate


@pytest.fixture
def data(smoke):
    return SequenceData(
        smoke.profile.mdn_rnn, open_rollouts(smoke), encode_latents(smoke, vae.load(smoke))
    )


def test_sequences_are_what_was_driven(smoke, data):
    latents, rollouts = data.latents, data.rollouts
    latents.logvar[:] = -100  # no noise: z is mu
    batch = data.cut([(1, 10), (2, 56)], True, np.random.default_rng(0))
    assert torch.allclose(batch.z[0], torch.from_numpy(latents.mu[1, 10:27]))
    episode = rollouts.episode(1)
    assert np.array_equal(batch.action[0], episode.actions[10:26])
    assert np.allclose(batch.reward[0], np.maximum(episode.rewards[10:26], -1))
    assert torch.equal(batch.maps[0], torch.from_numpy(latents.maps(1, slice(10, 26))).float())
    assert batch.mask[1].tolist() == [1] * 8 + [0] * 8, "the episode has 64 steps"
    assert batch.done.sum() == 0, "cut by the limit, not ended"


def test_rewards_end_at_the_smallest_and_ends_are_told(data):
    data.rewards[0][5], data.terminated[0][5], data.smallest_reward = -100.0, True, -2.0
    batch = data.cut([(0, 0)], False, np.random.default_rng(0))
    assert batch.reward[0, 5] == -2 and batch.done[0].nonzero().flatten().tolist() == [5]


def test_z_is_sampled_from_the_posterior(data):
    windows = [(0, 0)] * 400
    z = data.cut(windows, False, np.random.default_rng(0)).z
    mu, sigma = data.latents.mu[0, :17], np.exp(0.5 * data.latents.logvar[0, :17])
    assert np.abs((z.numpy().mean(0) - mu) / sigma).max() < 5 / 20
    assert np.allclose(z.numpy().std(0) / sigma, 1, atol=0.2)


def test_padding_counts_for_nothing(smoke, data):
    m = mdn_rnn.load(smoke)
    batch = data.cut([(2, 56)], False, np.random.default_rng(0))
    first = losses(m, batch)
    batch.z[:, 9:], batch.action[:, 8:], batch.reward[:, 8:] = 50, 50, 50
    second = losses(m, batch)
    assert torch.allclose(first["nll"], second["nll"]) and first["steps"] == 8
    assert torch.allclose(first["reward"], second["reward"])


def test_held_out_batches_cover_each_step_once(data):
    steps = sum(int(batch.mask.sum()) for batch in data.held_out("test", False, batch=2))
    assert steps == data.rollouts.lengths[data.rollouts.indices("test")].sum()


def test_training_batches_are_a_function_of_seed_and_number(data):
    first, again = (data.training_batch(4, False, 3, 7) for _ in range(2))
    assert torch.equal(first.z, again.z)
    for seed, update in ((3, 8), (4, 7)):
        assert not torch.equal(first.z, data.training_batch(4, False, seed, update).z)


@pytest.mark.parametrize("kind", ["plain", "spatial"])
def test_validation_never_trains(smoke, data, kind):
    m = mdn_rnn.load(smoke, Memory(kind))
    before = {k: t.clone() for k, t in m.state_dict().items()}
    first, second = validate(m, data), validate(m, data)
    assert first == second
    assert all(torch.equal(before[k], t) for k, t in m.state_dict().items())
    assert first["nll"] == pytest.approx(sum(first["nll_per_latent"]))
    assert validate(m, data, "test")["nll"] == pytest.approx(m.manifest["test"]["nll"], rel=1e-5)


def test_sequences_show_the_ends_of_episodes(data):
    episode = int(data.rollouts.indices("train")[0])
    assert data._starts(episode) == 64 - 16 + 1, "whole where the recording stopped"
    data.terminated[episode][-1] = True
    assert data._starts(episode) == 64
    shown = [data.training_batch(8, False, 0, update) for update in range(40)]
    ends = sum(float(batch.done.sum()) for batch in shown)
    episodes = 8 * 40 / len(data.rollouts.indices("train"))
    assert ends == pytest.approx(episodes * 16 / 64, rel=0.5), "as often as any other step"


def test_ends_are_found_span_by_span(data):
    ones = torch.ones(2, 40)
    done = torch.zeros(2, 40)
    done[0, 20] = 1
    batch = replace(data.cut([(0, 0)], False, np.random.default_rng(0)), done=done, mask=ones)
    logit = torch.full((2, 40), -20.0)
    logit[0, 25], logit[1, 39] = 3, 3
    found = found_ends(logit, batch)
    assert {name: int(count) for name, count in found.items()} == {
        "true": 1, "expected": 2, "found": 1,
    }  # fmt: skip
    logit[0, 16:32] = -2.5  # one by one unlikely, together likely
    assert found_ends(logit, batch)["found"] == 1
