"""M: likelihood and sampling against torch.distributions, steps against sequences."""

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal

from awm.config import PRESETS
from awm.errors import AwmError
from awm.ids import ATTENTIONS, KINDS, LOOKS_AT, Memory
from awm.models.attention import BUILT, AdditiveAttention
from awm.models.mdn_rnn import MDNRNN, Prediction
from awm.training import mdn_rnn

MODELS = ("plain", *LOOKS_AT)
MEMORY = 8  #: states; fewer than the preset's, to be quick


def model(kind="plain", **sizes):
    torch.manual_seed(3)
    return MDNRNN(kind, hidden_size=24, memory=MEMORY, **sizes)


def prediction(batch=(4, 6)):
    m = MDNRNN("plain")
    torch.manual_seed(0)
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
    big = Prediction(*(t.expand(40_000, *t.shape[1:]) for t in parts))
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
    for temperature in (0, -1, float("nan")):
        with pytest.raises(AwmError, match="temperature"):
            p.sample(temperature)


def inputs(batch=3, time=MEMORY + 6):
    torch.manual_seed(1)
    z, action = torch.randn(batch, time, 32), torch.rand(batch, time, 3)
    return z, action, torch.randn(batch, time, 36, 128)


@pytest.mark.parametrize("kind", MODELS)
def test_stepping_is_the_same_as_the_sequence(kind):
    m = model(kind).eval()
    z, action, maps = inputs()
    with torch.inference_mode():
        hidden, weights = m(z, action, maps)
        state = m.initial_state(3)
        for t in range(z.shape[1]):
            state, step_weights = m.step(z[:, t], action[:, t], state, maps[:, t])
            assert torch.allclose(state.h, hidden[:, t], atol=1e-5)
            if kind == "plain":
                assert step_weights is None and weights is None
            else:
                assert torch.allclose(step_weights, weights[:, t], atol=1e-5)
    if kind != "plain":
        items = {"entries": 35, "map": 36, "past": MEMORY}[m.looks_at]
        assert weights.shape == (3, z.shape[1], items)
        total = weights.sum(-1)
        assert torch.allclose(total[:, 1:], torch.ones_like(total[:, 1:]), atol=1e-5)


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_gradients_are_those_of_the_plain_loop(kind):
    """The attentive LSTM's own backward pass against autograd through `MDNRNN.step`."""
    m, time = model(kind), 3 * MEMORY  # longer than the memory
    z, action, maps = inputs(time=time)
    target = torch.randn(3, time, m.hidden_size)

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
    assert fast.keys() == plain.keys() >= {"lstm.weight_hh_l0", "attention.query.weight"}
    for name, gradient in plain.items():
        assert torch.allclose(fast[name], gradient, rtol=1e-3, atol=1e-4), name


class DotProduct(AdditiveAttention):
    """Another formula than the attentive LSTM knows."""

    def forward(self, items, query):
        score = torch.einsum("biv,bv->bi", items.keys, self.query(query))
        weights = torch.softmax(score, dim=-1)
        return torch.einsum("bi,biv->bv", weights, items.values), weights


class SquashedPast(AdditiveAttention):
    """Other items of the past than the attentive LSTM knows."""

    def items(self, features):
        return super().items(torch.tanh(3 * features))


@pytest.mark.parametrize(("kind", "own"), [("spatial", DotProduct), ("temporal", SquashedPast)])
def test_an_attention_of_ones_own_is_the_same_in_sequences(kind, own, monkeypatch):
    monkeypatch.setitem(BUILT, kind, own)
    m, (z, action, maps) = model(kind), inputs(time=MEMORY + 3)
    hidden, weights = m(z, action, maps)
    state = m.initial_state(3)
    for t in range(z.shape[1]):
        state, now = m.step(z[:, t], action[:, t], state, maps[:, t])
        assert torch.equal(hidden[:, t], state.h) and torch.equal(weights[:, t], now)
    hidden.square().sum().backward()
    assert m.attention.query.weight.grad.any()


@pytest.mark.parametrize("kind", MODELS)
def test_episodes_in_a_batch_do_not_see_each_other(kind):
    """The original normalised attention over the batch: a lane's result hung on its neighbours."""
    m = model(kind).eval()
    z, action, maps = inputs()
    with torch.inference_mode():
        together, _ = m(z, action, maps)
        alone, _ = m(z[:1], action[:1], maps[:1])
    assert torch.allclose(together[:1], alone, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_a_lane_that_is_forgotten_begins_anew(kind):
    m = model(kind).eval()
    z, action, maps = inputs()
    with torch.inference_mode():
        state = m.initial_state(3)
        for t in range(4):
            state, _ = m.step(z[:, t], action[:, t], state, maps[:, t])
        kept = state.h[0].clone()
        state.forget(1)
        assert torch.equal(state.h[0], kept) and not state.h[1].any()
        state, _ = m.step(z[:, 4], action[:, 4], state, maps[:, 4])
        fresh, _ = m.step(z[:, 4], action[:, 4], m.initial_state(3), maps[:, 4])
    assert torch.allclose(state.h[1], fresh.h[1], atol=1e-6)
    assert not torch.allclose(state.h[0], fresh.h[0], atol=1e-3)


def test_c_sees_the_same_size_whatever_the_attention():
    sizes = {k: sum(p.numel() for p in MDNRNN(k).parameters()) for k in MODELS}
    assert sizes["plain"] == 4 * 256 * (35 + 256) + 2 * 4 * 256 + 257 * (3 * 5 * 32 + 2)
    attentive = [sizes[k] for k in ATTENTIONS]
    assert max(attentive) / min(attentive) < 1.05
    assert all(MDNRNN(k).initial_state(2).h.shape == (2, 256) for k in MODELS)
    with pytest.raises(AwmError, match="feature, spatial"):
        MDNRNN("everything")


def test_spatial_attention_needs_maps():
    m = model("spatial")
    z, action, _ = inputs()
    with pytest.raises(AwmError, match="with_map=True"):
        m.step(z[:, 0], action[:, 0], m.initial_state(3))


def test_an_untaught_end_head_lets_dreams_go_on():
    assert torch.sigmoid(MDNRNN().predict(torch.zeros(1, 256)).done_logit) < 1e-3


def test_the_wide_control_is_as_large_as_attention_makes_m():
    wide = mdn_rnn.build(PRESETS["paper"], Memory("wide"))
    assert wide.attention is None
    size = sum(p.numel() for p in wide.parameters())
    largest = max(sum(p.numel() for p in MDNRNN(k).parameters()) for k in MODELS)
    assert largest <= size < 1.01 * largest


def test_fresh_weights_are_those_of_the_seed():
    profile = PRESETS["smoke"]
    built = {kind: mdn_rnn.build(profile, Memory(kind)) for kind in KINDS}
    weights = {kind: m.lstm.weight_hh_l0 for kind, m in built.items()}
    assert torch.equal(weights["plain"], weights["untrained"]), "the control is a plain M"
    again = mdn_rnn.build(profile.but("mine", seed=1), Memory("plain", 1))
    other = mdn_rnn.build(profile, Memory("plain", 2))
    assert torch.equal(again.lstm.weight_hh_l0, other.lstm.weight_hh_l0)
    assert not torch.equal(again.lstm.weight_hh_l0, weights["plain"])
