"""M: the LSTM with a mixture-density head that models p(z', reward, end | z, a, h).

Ha & Schmidhuber 2018, appendix A.2; Bishop 1994 for mixture density networks; Graves 2013 for
their use with an LSTM. The network and its likelihood; how it is trained is in
`awm.training.mdn_rnn`, what it may attend to in `awm.models.attention`.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from awm.errors import AwmError
from awm.ids import LOOKS_AT
from awm.models.attention import (
    BUILT,
    CONTEXT_SIZE,
    AdditiveAttention,
    EvenAttention,
    Items,
    empty_memory,
    remember,
)
from awm.models.attentive_lstm import AttentiveLSTM

ACTION_SIZE = 3

_LOG_SIGMA = (-7.0, 3.0)


@dataclass(frozen=True)
class State:
    """M's recurrent state: `h` and `c` `[batch, hidden]`; `memory` is temporal attention's.

    C sees `h`.
    """

    h: Tensor
    c: Tensor
    memory: Items | None = None

    def forget(self, lane: int) -> None:
        """Put one row back to the initial state, in place."""
        self.h[lane] = 0
        self.c[lane] = 0
        if self.memory is not None:
            self.memory.present[lane] = False

    def put(self, lane: int, other: "State", row: int) -> None:
        """Go on in a lane from a row of another state, in place."""
        self.h[lane], self.c[lane] = other.h[row], other.c[row]
        if self.memory is not None and other.memory is not None:
            for mine, theirs in zip(self.memory.all(), other.memory.all(), strict=True):
                mine[lane] = theirs[row]


@dataclass(frozen=True)
class Prediction:
    """What M expects next: per latent a mixture of Gaussians `[..., z, mixtures]`, and more.

    `reward` `[...]` in CarRacing's units, `done_logit` `[...]` for the episode's end.
    """

    log_pi: Tensor
    mu: Tensor
    log_sigma: Tensor
    reward: Tensor
    done_logit: Tensor

    def nll(self, z: Tensor) -> Tensor:
        """Exact negative log-likelihood of z `[..., z]` in nats, for each latent `[..., z]`."""
        standard = (z[..., None] - self.mu) * torch.exp(-self.log_sigma)
        log_normal = -0.5 * (standard.square() + math.log(2 * math.pi)) - self.log_sigma
        return -torch.logsumexp(self.log_pi + log_normal, dim=-1)

    def sample(self, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """z' `[..., z]`. Mixture logits are divided by the temperature, variances multiplied.

        (Ha & Schmidhuber 2018, section 4.) Raises AwmError unless the temperature is positive.
        """
        if not temperature > 0:
            raise AwmError(f"A temperature must be positive, not {temperature}.")
        shape = self.log_pi.shape[:-1]
        choice = torch.rand(shape, generator=generator)
        noise = torch.empty(shape).normal_(generator=generator)
        return self.pick(choice, noise, temperature)

    def pick(self, choice: Tensor, noise: Tensor, temperature: float = 1.0) -> Tensor:
        """z' `[..., z]` for given randomness `[..., z]`: uniform `choice` and normal `noise`.

        A latent's component is the first whose cumulated share exceeds its choice.
        """
        shares = torch.softmax(self.log_pi / temperature, dim=-1).cumsum(-1)
        passed = (shares[..., :-1] <= choice[..., None]).sum(-1, keepdim=True)
        mu = self.mu.gather(-1, passed).squeeze(-1)
        sigma = self.log_sigma.gather(-1, passed).squeeze(-1).exp()
        return mu + sigma * math.sqrt(temperature) * noise

    def mean(self) -> Tensor:
        """The mixture's mean `[..., z]`."""
        return (self.log_pi.exp() * self.mu).sum(-1)


class MDNRNN(nn.Module):
    """LSTM over [z, a] (and a context, if attentive) with a mixture-density head.

    Args:
        attention: a kind of `awm.ids.LOOKS_AT`, or `"plain"` for none.
        memory: how many past hidden states temporal attention remembers.
        map_channels: of the map that spatial attention looks at.

    Raises:
        AwmError: for an attention that is none of these.
    """

    def __init__(
        self,
        attention: str = "plain",
        z_size: int = 32,
        hidden_size: int = 256,
        mixtures: int = 5,
        memory: int = 32,
        map_channels: int = 128,
    ):
        super().__init__()
        if attention not in ("plain", *LOOKS_AT):
            raise AwmError(
                f"There is no attention {attention!r}. Choose plain, {', '.join(LOOKS_AT)}."
            )
        self.kind, self.memory = attention, memory
        self.looks_at = LOOKS_AT.get(attention)  #: None if M is plain
        self.z_size, self.hidden_size, self.mixtures = z_size, hidden_size, mixtures
        self.manifest: dict = {}  #: of its training, once it is loaded
        entries = z_size + ACTION_SIZE
        self.attention = None
        if self.looks_at:
            sizes = {"entries": entries, "map": map_channels, "past": hidden_size}
            self.attention = BUILT[attention](sizes[self.looks_at], hidden_size)
        context = CONTEXT_SIZE if self.attention else 0
        self.lstm = nn.LSTM(entries + context, hidden_size, batch_first=True)
        self.head = nn.Linear(hidden_size, 3 * mixtures * z_size + 2)
        # Ends are rare: where the data say nothing, such as in the first steps from an empty
        # state, the end head must not begin at one in two, or dreams end before they start.
        nn.init.constant_(self.head.bias[-1:], -8.0)

    @property
    def needs_map(self) -> bool:
        """Whether a step needs V's map of the frame beside z."""
        return self.looks_at == "map"

    def initial_state(self, batch: int) -> State:
        """The state before the first step of an episode."""
        h, c = torch.zeros(2, batch, self.hidden_size)  # `State.put` writes into each
        memory = empty_memory(batch, self.memory) if self.looks_at == "past" else None
        return State(h, c, memory)

    def step(
        self, z: Tensor, action: Tensor, state: State, feature_map: Tensor | None = None
    ) -> tuple[State, Tensor | None]:
        """One step: z `[batch, z]`, action `[batch, 3]`, V's map
        `[batch, places, channels]` if needed.

        Returns the new state and the attention weights `[batch, items]` (None if not attentive).
        """
        entries = torch.cat([z, action], dim=-1)
        return self._step(entries, state, self._items(entries, feature_map))

    def forward(self, z: Tensor, action: Tensor, maps: Tensor | None = None):
        """Whole sequences from the initial state, `[batch, time, ...]`.

        Returns the hidden states after each step `[batch, time, hidden]` and the attention
        weights `[batch, time, items]` (None if not attentive).
        """
        entries = torch.cat([z, action], dim=-1)
        if self.attention is None:
            return self.lstm(entries)[0], None
        items = self._items(entries, maps)
        if isinstance(self.attention, EvenAttention):  # what it sees hangs on no state
            context, weights = self.attention(items, entries)
            return self.lstm(torch.cat([entries, context], dim=-1))[0], weights
        if not self._additive:
            return self._stepped(entries, items)
        # The gates are linear in [z, a], context and h: the first part needs no loop.
        lstm, known, attention = self.lstm, entries.shape[-1], self.attention
        bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
        gates = F.linear(entries.transpose(0, 1), lstm.weight_ih_l0[:, :known], bias)
        weight = torch.cat([lstm.weight_ih_l0[:, known:], lstm.weight_hh_l0], dim=1)
        query, score = attention.query.weight, attention.score.weight[0]
        if items is None:
            key, value = attention.key, attention.value
            own = (key.weight, key.bias, value.weight, value.bias, self.memory)
            hidden, found = AttentiveLSTM.apply(gates, None, None, query, score, weight, *own)
        else:
            keys, values = (x.permute(1, 2, 0, 3).contiguous() for x in (items.keys, items.values))
            hidden, found = AttentiveLSTM.apply(gates, keys, values, query, score, weight)
        return hidden.transpose(0, 1), found.permute(2, 0, 1)

    def predict(self, h: Tensor) -> Prediction:
        """What hidden states `[..., hidden]` say comes next."""
        out = self.head(h)
        reward, done_logit = out[..., -2], out[..., -1]
        shape = (*h.shape[:-1], 3, self.z_size, self.mixtures)
        logits, mu, log_sigma = out[..., :-2].reshape(shape).unbind(-3)
        log_pi = torch.log_softmax(logits, dim=-1)
        return Prediction(log_pi, mu, log_sigma.clamp(*_LOG_SIGMA), reward, done_logit)

    def _items(self, entries: Tensor, maps: Tensor | None) -> Items | None:
        """What can be attended to at each step that is known beforehand; None of M's own past."""
        if self.needs_map and maps is None:
            raise AwmError(f"M, {self.kind}, needs V's maps: encode with `with_map=True`.")
        seen = {"entries": entries, "map": maps}.get(self.looks_at)
        return None if seen is None else self.attention.items(seen)

    @property
    def _additive(self) -> bool:
        """Whether the attention is what `AttentiveLSTM` computes."""
        own = type(self.attention)
        known = own.items is AdditiveAttention.items or self.looks_at != "past"
        return known and own.forward is AdditiveAttention.forward

    def _stepped(self, entries: Tensor, items: Items | None) -> tuple[Tensor, Tensor]:
        """Whole sequences, step by step."""
        state, hidden, found = self.initial_state(len(entries)), [], []
        for t in range(entries.shape[1]):
            now = items and Items(items.keys[:, t], items.values[:, t])
            state, weights = self._step(entries[:, t], state, now)
            hidden.append(state.h)
            found.append(weights)
        return torch.stack(hidden, dim=1), torch.stack(found, dim=1)

    def _step(self, entries: Tensor, state: State, items: Items | None):
        context_weights = None
        if self.attention is not None:
            # The query is the state *before* the step; the context then takes part in the step.
            context, context_weights = self.attention(items or state.memory, state.h)
            entries = torch.cat([entries, context], dim=-1)
        lstm = self.lstm
        h, c = torch.lstm_cell(
            entries,
            (state.h, state.c),
            lstm.weight_ih_l0,
            lstm.weight_hh_l0,
            lstm.bias_ih_l0,
            lstm.bias_hh_l0,
        )
        memory = state.memory and remember(self.attention, state.memory, h)
        return replace(state, h=h, c=c, memory=memory), context_weights
