"""Attention: Bahdanau's formula, a query that moves, a memory that forgets."""

import torch

from awm.models.attention import AdditiveAttention, FeatureAttention, Items, empty_memory, remember


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


def test_a_features_item_is_its_value_times_a_direction_and_a_name():
    torch.manual_seed(0)
    a = FeatureAttention(6, 5)
    x, query = torch.randn(2, 6), torch.randn(2, 5)
    items = x[..., None] * a.direction + a.name
    expected = AdditiveAttention.items(a, items)
    found = a.items(x)
    assert torch.allclose(found.keys, expected.keys, atol=1e-5)
    assert torch.allclose(found.values, expected.values, atol=1e-5)
    assert torch.allclose(a(found, query)[0], a(expected, query)[0], atol=1e-5)


def test_attention_moves_with_the_state():
    """The original's query was a constant zero state."""
    torch.manual_seed(0)
    a = FeatureAttention(35, 256)
    items = a.items(torch.randn(1, 35))
    _, first = a(items, torch.randn(1, 256))
    _, second = a(items, torch.randn(1, 256))
    assert not torch.allclose(first, second, atol=1e-3)


def test_memory_holds_the_last_states_and_forgets_the_rest():
    a, size = AdditiveAttention(8, 8), 5
    memory = empty_memory(1, size)
    context, weights = a(memory, torch.randn(1, 8))
    assert weights.sum() == 0 and context.abs().sum() == 0
    states = torch.randn(size + 3, 1, 8)
    for n, h in enumerate(states, start=1):
        memory = remember(a, memory, h)
        assert memory.present.sum() == min(n, size)
    expected = a.items(states[3:].transpose(0, 1))
    assert torch.allclose(memory.keys, expected.keys, atol=1e-6)
    assert torch.allclose(memory.values, expected.values, atol=1e-6)


def test_what_is_not_present_gets_no_weight():
    torch.manual_seed(0)
    a = AdditiveAttention(7, 5)
    items, query = a.items(torch.randn(1, 4, 7)), torch.randn(1, 5)
    present = torch.tensor([[True, False, True, False]])
    _, weights = a(Items(items.keys, items.values, present), query)
    some = Items(items.keys[:, ::2], items.values[:, ::2])
    assert not weights[0, 1::2].any()
    assert torch.allclose(weights[:, ::2], a(some, query)[1], atol=1e-6)
