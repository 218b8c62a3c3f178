"""Additive attention for M: what the recurrent state chooses to look at before each step.

Bahdanau et al. 2015, used as in *Show, Attend and Tell* (Xu et al. 2015, section 3.1.2). All kinds
score items f_i against the LSTM's state h before the step,

    score_i = v · tanh(W₁ f_i + W₂ h),   weights = softmax(score),   context = Σ weights_i · V f_i,

and the context joins the LSTM's input. They differ in what the items are:

- `feature`: the 35 entries of [z, a], each as its value times a learnt direction plus a learnt name
- `spatial`: the 6×6 places of a map of V's encoder
- `temporal`: the LSTM's last hidden states, 32 of them in every preset

`even` is the control of `spatial`: the same map and values, and all weights the same. The context
has 32 entries in every kind, so that they differ as little as possible.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ATTENTION_SIZE = 32
CONTEXT_SIZE = 32


@dataclass(frozen=True)
class Items:
    """What can be attended to: `keys` W₁ f and `values` V f, `[batch, (time,) items, size]`.

    `present` bool `[batch, items]` says which items exist; None means all.
    """

    keys: Tensor
    values: Tensor
    present: Tensor | None = None

    def all(self) -> tuple[Tensor, ...]:
        """The tensors that there are."""
        return tuple(x for x in (self.keys, self.values, self.present) if x is not None)


class AdditiveAttention(nn.Module):
    """Attention over given features; `spatial` and `temporal` use it as it is.

    A kind of one's own is a subclass. While `forward` stays, sequences take the quick way through
    `awm.models.attentive_lstm`; with another formula they are stepped, which is a few times slower.
    """

    def __init__(self, feature_size: int, query_size: int):
        super().__init__()
        self.key = nn.Linear(feature_size, ATTENTION_SIZE)
        self.query = nn.Linear(query_size, ATTENTION_SIZE, bias=False)
        self.score = nn.Linear(ATTENTION_SIZE, 1, bias=False)
        self.value = nn.Linear(feature_size, CONTEXT_SIZE)

    def items(self, features: Tensor) -> Items:
        """Keys and values of features `[..., items, feature_size]`: the part without a query."""
        # One product for both: its gradient goes over a long sequence's features once.
        weight = torch.cat([self.key.weight, self.value.weight])
        bias = torch.cat([self.key.bias, self.value.bias])
        return Items(*F.linear(features, weight, bias).split((ATTENTION_SIZE, CONTEXT_SIZE), -1))

    def forward(self, items: Items, query: Tensor) -> tuple[Tensor, Tensor]:
        """Context `[batch, 32]` and weights `[batch, items]` for queries `[batch, query_size]`.

        Absent items get weight 0; where all are absent, weights and context are 0.
        """
        score = self.score(torch.tanh(items.keys + self.query(query)[:, None])).squeeze(-1)
        if items.present is not None:
            score = score.masked_fill(~items.present, -1e9)
        weights = torch.softmax(score, dim=-1)
        if items.present is not None:
            weights = weights * items.present
        return torch.einsum("bi,biv->bv", weights, items.values), weights


class FeatureAttention(AdditiveAttention):
    """Attention over the entries of a vector, here [z, a].

    A softmax over bare numbers could not tell one entry from another, so entry i becomes
    x_i · direction_i + name_i.
    """

    def __init__(self, entries: int, query_size: int, size: int = 32):
        super().__init__(size, query_size)
        self.direction = nn.Parameter(torch.randn(entries, size) / size**0.5)
        self.name = nn.Parameter(torch.randn(entries, size) / size**0.5)

    def items(self, entries: Tensor) -> Items:
        """Keys and values of vectors `[..., entries]`."""
        # Linear in x_i · direction_i + name_i, so that directions and names can be mapped alone.
        x = entries[..., None]
        return Items(
            *(
                x * F.linear(self.direction, layer.weight) + layer(self.name)
                for layer in (self.key, self.value)
            )
        )


class EvenAttention(nn.Module):
    """No choice: the context is the average of all items' values."""

    def __init__(self, feature_size: int, query_size: int):
        super().__init__()
        self.value = nn.Linear(feature_size, CONTEXT_SIZE)

    def items(self, features: Tensor) -> Items:
        """Values of features `[..., items, feature_size]`; they have no keys."""
        values = self.value(features)
        return Items(values[..., :0], values)

    def forward(self, items: Items, query: Tensor) -> tuple[Tensor, Tensor]:
        """Context `[batch, 32]` and weights `[batch, items]`, whatever the query."""
        count = items.values.shape[-2]
        weights = items.values.new_full(items.values.shape[:-1], 1 / count)
        return items.values.mean(-2), weights


#: How each kind of `awm.ids.LOOKS_AT` is built: from the size of what it looks at (the number of
#: entries, the map's channels, or the hidden units) and M's hidden size.
BUILT: dict[str, Callable[[int, int], nn.Module]] = {
    "feature": FeatureAttention,
    "spatial": AdditiveAttention,
    "even": EvenAttention,
    "temporal": AdditiveAttention,
}


def remember(attention: AdditiveAttention, memory: Items, h: Tensor) -> Items:
    """The temporal memory with hidden state h `[batch, hidden]` added and the oldest dropped."""
    new = attention.items(h[:, None])
    return Items(
        torch.cat([memory.keys[:, 1:], new.keys], dim=1),
        torch.cat([memory.values[:, 1:], new.values], dim=1),
        torch.cat([memory.present[:, 1:], memory.present.new_ones(len(h), 1)], dim=1),
    )


def empty_memory(batch: int, size: int) -> Items:
    """A temporal memory of so many states that holds nothing yet."""
    return Items(
        torch.zeros(batch, size, ATTENTION_SIZE),
        torch.zeros(batch, size, CONTEXT_SIZE),
        torch.zeros(batch, size, dtype=torch.bool),
    )
