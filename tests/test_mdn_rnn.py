"""M: likelihood and sampling against torch.distributions, steps against sequences, attention."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from awm import config, dataset, mdn_rnn, provenance, vae
from awm.attention import MEMORY, AdditiveAttention, FeatureAttention, Items, empty_memory, remember
from awm.config import ATTENTIONS, get_profile
from awm.errors import AwmError
from awm.mdn_rnn import MDNRNN


def prediction(m=None, batch=(4, 6)):
    torch.manual_seed(0)
    m = m or MDNRNN("none")
    return m.predict(torch.randn(*batch, m.hidden_size) * 3)


def as_distribution(p):
    return MixtureSameFamily(Categorical(logits=p.log_pi), Normal(p.mu, p.log_sigma.exp()))


def test_nll_is_torchs_mixture():
    p = prediction()
    z = torch.randn(4, 6, 32) * 2
    assert torch.allclose(p.nll(z), -as_distribution(p).log_prob(z), atol=1e-4)
    assert torch.allclose(p.mean(), as_distribution(p).mean, atol=1e-5)


def test_samples_follow_the_mixture_and_the_temperature():
    p = prediction(batch=(1,))
    parts = (p.log_pi, p.mu, p.log_sigma, p.reward, p.done_logit)
    big = mdn_rnn.Prediction(*(t.expand(40_000, *t.shape[1:]) for t in parts))
    generator = torch.Generator().manual_seed(1)
    z = big.sample(1.0, generator)
    expected = as_distribution(p)
    error = (z.mean(0) - expected.mean[0]).abs()
    assert (error < 5 * expected.stddev[0] / 40_000**0.5).all()
    assert torch.allclose(z.std(0), expected.stddev[0], rtol=0.05)
    cold = big.sample(0.01, generator)
    best = p.mu.gather(-1, p.log_pi.argmax(-1, keepdim=True)).squeeze(-1)
    near = (cold - best).abs() < 0.6 * p.log_sigma.exp().amax(-1)
    assert near.float().mean() > 0.95, "at temperature 0 the likeliest component's mean remains"
    again = big.sample(1.0, torch.Generator().manual_seed(1))
    assert torch.equal(z, again)
    with pytest.raises(AwmError, match="temperature"):
        p.sample(0)


def inputs(batch=3, time=MEMORY + 6):
    torch.manual_seed(1)
    z, action = torch.randn(batch, time, 32), torch.rand(batch, time, 3)
    return z, action, torch.randn(batch, time, 36, 128)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_stepping_is_the_same_as_the_sequence(kind):
    m = MDNRNN(kind).eval()
    z, action, maps = inputs()
    with torch.inference_mode():
        hidden, weights = m(z, action, maps)
        state = m.initial_state(3)
        for t in range(z.shape[1]):
            state, step_weights = m.step(z[:, t], action[:, t], state, maps[:, t])
            assert torch.allclose(state.h, hidden[:, t], atol=1e-5)
            if kind == "none":
                assert step_weights is None and weights is None
            else:
                assert torch.allclose(step_weights, weights[:, t], atol=1e-5)
    if kind != "none":
        items = {"feature": 35, "spatial": 36, "temporal": MEMORY}[kind]
        assert weights.shape == (3, z.shape[1], items)
        total = weights.sum(-1)
        assert torch.allclose(total[:, 1:], torch.ones_like(total[:, 1:]), atol=1e-5)


@pytest.mark.parametrize("kind", ATTENTIONS[1:])
def test_gradients_are_those_of_the_plain_loop(kind):
    m, time = MDNRNN(kind), 40  # longer than the memory
    z, action, maps = inputs(time=time)
    target = torch.randn(3, time, 256)

    def gradients(hidden):
        m.zero_grad()
        (hidden * target).sum().backward()
        return {n: p.grad.clone() for n, p in m.named_parameters() if p.grad is not None}

    fast = gradients(m(z, action, maps)[0])
    state, hidden = m.initial_state(3), []
    for t in range(time):
        state, _ = m.step(z[:, t], action[:, t], state, maps[:, t])
        hidden.append(state.h)
    plain = gradients(torch.stack(hidden, dim=1))
    assert fast.keys() == plain.keys()
    for name, gradient in plain.items():
        assert torch.allclose(fast[name], gradient, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_episodes_in_a_batch_do_not_see_each_other(kind):
    """The original normalised attention over the batch: a lane's result hung on its neighbours."""
    m = MDNRNN(kind).eval()
    z, action, maps = inputs()
    with torch.inference_mode():
        together, _ = m(z, action, maps)
        alone, _ = m(z[:1], action[:1], maps[:1])
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_additive_attention_is_bahdanaus():
    torch.manual_seed(0)
    a = AdditiveAttention(7, 5)
    features, query = torch.randn(2, 4, 7), torch.randn(2, 5)
    context, weights = a(a.items(features), query)
    for b in range(2):
        scores = []
        for f in features[b]:
            hidden = a.key.weight @ f + a.key.bias + a.query.weight @ query[b]
            scores.append(a.score.weight[0] @ torch.tanh(hidden))
        alpha = torch.softmax(torch.stack(scores), 0)
        values = features[b] @ a.value.weight.T + a.value.bias
        assert torch.allclose(weights[b], alpha, atol=1e-6)
        assert torch.allclose(context[b], alpha @ values, atol=1e-6)


def test_attention_moves_with_the_state():
    """The original's query was a constant zero state."""
    torch.manual_seed(0)
    a = FeatureAttention(35, 256)
    items = a.items(torch.randn(1, 35))
    _, first = a(items, torch.randn(1, 256))
    _, second = a(items, torch.randn(1, 256))
    assert not torch.allclose(first, second, atol=1e-3)


def test_memory_holds_the_last_states_and_forgets_the_rest():
    a = AdditiveAttention(8, 8)
    memory = empty_memory(1)
    context, weights = a(memory, torch.randn(1, 8))
    assert weights.sum() == 0 and context.abs().sum() == 0
    states = torch.randn(MEMORY + 3, 1, 8)
    for h in states:
        memory = remember(a, memory, h)
    expected = a.items(states[3:].transpose(0, 1))
    assert torch.allclose(memory.keys, expected.keys, atol=1e-6)
    assert memory.present.all()
    assert isinstance(memory, Items)


def test_c_sees_the_same_size_whatever_the_attention():
    sizes = {k: sum(p.numel() for p in MDNRNN(k).parameters()) for k in ATTENTIONS}
    assert sizes["none"] == 4 * 256 * (35 + 256) + 2 * 4 * 256 + 257 * (3 * 5 * 32 + 2)
    attentive = [sizes[k] for k in ATTENTIONS[1:]]
    assert max(attentive) / min(attentive) < 1.05
    assert all(MDNRNN(k).initial_state(2).h.shape == (2, 256) for k in ATTENTIONS)
    with pytest.raises(AwmError, match="feature, spatial"):
        MDNRNN("everything")


def test_the_wide_control_is_as_large_as_attention_makes_m():
    wide = mdn_rnn.build(get_profile("paper"), "wide")
    assert wide.attention is None
    size = sum(p.numel() for p in wide.parameters())
    largest = max(sum(p.numel() for p in MDNRNN(k).parameters()) for k in ATTENTIONS)
    assert largest <= size < 1.01 * largest


def test_sequences_are_what_was_driven(smoke):
    profile = get_profile("smoke")
    rollouts = dataset.open_rollouts(profile)
    latents = dataset.encode_latents(profile, vae.load(profile))
    data = mdn_rnn.SequenceData(profile, rollouts, latents)
    latents.logvar[:] = -100  # no noise: z is mu
    batch = data.cut([(1, 10), (2, 56)], True, np.random.default_rng(0))
    assert torch.allclose(batch.z[0], torch.from_numpy(latents.mu[1, 10:27]))
    episode = rollouts.episode(1)
    assert np.array_equal(batch.action[0], episode.actions[10:26])
    assert np.allclose(batch.reward[0], np.maximum(episode.rewards[10:26], -1))
    assert torch.equal(batch.maps[0], torch.from_numpy(latents.maps[1, 10:26]).float())
    assert batch.mask[1].tolist() == [1] * 8 + [0] * 8, "the episode has 64 steps"
    assert batch.done.sum() == 0, "cut by the limit, not ended"


def test_ends_are_those_that_the_simulator_recorded(smoke, monkeypatch):
    """An end at the last possible step is one, and an episode that is merely short has none."""
    profile = get_profile("smoke")
    rollouts = dataset.open_rollouts(profile)
    latents = dataset.encode_latents(profile, vae.load(profile))
    column = rollouts.column
    ended = [np.zeros(n, bool) for n in rollouts.lengths]
    test = int(rollouts.indices("test")[0])
    ended[1][-1] = ended[test][-1] = True
    monkeypatch.setattr(
        rollouts, "column", lambda name: ended if name == "terminated" else column(name)
    )
    data = mdn_rnn.SequenceData(profile, rollouts, latents)
    last = int(rollouts.lengths[1]) - 16
    done = data.cut([(1, last), (1, last - 4), (1, last + 8)], False, np.random.default_rng(0)).done
    assert done.sum(1).tolist() == [1, 0, 1] and done[0, 15] == done[2, 7] == 1
    rollouts.lengths[2] = 40
    assert data.cut([(2, 24)], False, np.random.default_rng(0)).done.sum() == 0
    others = sum(ended[i].any() for i in rollouts.indices("test"))
    assert mdn_rnn.reward_quality(mdn_rnn.load(profile), rollouts, latents)["ends"] == others > 0


def test_padding_counts_for_nothing(smoke):
    profile = get_profile("smoke")
    data = mdn_rnn.SequenceData(
        profile, dataset.open_rollouts(profile), dataset.encode_latents(profile, vae.load(profile))
    )
    m = mdn_rnn.load(profile)
    batch = data.cut([(2, 56)], False, np.random.default_rng(0))
    first = mdn_rnn.losses(m, batch)
    batch.z[:, 9:], batch.action[:, 8:], batch.reward[:, 8:] = 50, 50, 50
    second = mdn_rnn.losses(m, batch)
    assert torch.allclose(first["nll"], second["nll"]) and first["steps"] == 8
    assert torch.allclose(first["reward"], second["reward"])


def test_validation_never_trains(smoke):
    m = mdn_rnn.load("smoke")
    profile = get_profile("smoke")
    data = mdn_rnn.SequenceData(
        profile, dataset.open_rollouts(profile), dataset.encode_latents(profile, vae.load(profile))
    )
    before = {k: t.clone() for k, t in m.state_dict().items()}
    first, second = mdn_rnn.validate(m, data), mdn_rnn.validate(m, data)
    assert first == second
    assert all(torch.equal(before[k], t) for k, t in m.state_dict().items())
    assert first["nll"] == pytest.approx(sum(first["nll_per_latent"]))


def test_the_untrained_control_keeps_its_lstm(smoke_copy):
    m = mdn_rnn.train("smoke", "untrained")
    fresh = mdn_rnn.build(get_profile("smoke"), "untrained")
    assert torch.equal(m.lstm.weight_hh_l0, fresh.lstm.weight_hh_l0)
    assert not torch.equal(m.head.weight, fresh.head.weight)


@pytest.mark.parametrize("model", ["temporal", "untrained"])
def test_interrupted_training_ends_like_uninterrupted(
    model, smoke_copy, monkeypatch, dies_at_first_checkpoint
):
    whole = mdn_rnn.train("smoke", model)
    for suffix in (".safetensors", ".json"):
        (smoke_copy / f"data/smoke/mdn_rnn-{model}").with_suffix(suffix).unlink()
    monkeypatch.setattr(mdn_rnn, "_CHECKPOINT_EVERY", 3)
    with pytest.raises(KeyboardInterrupt):
        mdn_rnn.train("smoke", model)
    again = mdn_rnn.train("smoke", model)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_an_m_of_another_v_or_of_other_settings_is_refused(smoke_copy):
    with pytest.raises(AwmError, match="mdn_updates 8, now 9"):
        mdn_rnn.train(replace(get_profile("smoke"), mdn_updates=9))
    with pytest.raises(AwmError, match="vae_updates 12, now 13"):
        vae.train(replace(get_profile("smoke"), vae_updates=13))
    path = smoke_copy / "data/smoke/mdn_rnn-none.json"
    manifest = provenance.read_json(path)
    provenance.write_json(path, {**manifest, "sources": {"vae": "another's hash"}})
    with pytest.raises(AwmError, match="another V"):
        mdn_rnn.load("smoke")
    path.unlink()
    with pytest.raises(AwmError, match="lost its manifest.*Move it away"):
        mdn_rnn.train("smoke")


def test_a_missing_m_names_its_remedy(workspace):
    with pytest.raises(AwmError, match="awm train mdn-rnn --model none --profile quick"):
        mdn_rnn.load("quick")
    assert config.ATTENTIONS[0] == "none"


def test_an_untaught_end_head_lets_dreams_go_on():
    m = MDNRNN()
    assert torch.sigmoid(m.predict(torch.zeros(1, 256)).done_logit) < 1e-3
