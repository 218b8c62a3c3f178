"""The attentive LSTM over whole sequences, its gradient written out.

Attention before each step keeps a sequence from being one call of a library, and autograd spends
more time on its bookkeeping of some forty small operations a step than on computing them. Here the
loop over time holds what depends on the step before; everything else is computed for all steps at
once. It is 2 to 4 times as fast as autograd through `MDNRNN.step`, which the tests compare it with.
"""

import torch
from torch import Tensor


class AttentiveLSTM(torch.autograd.Function):
    """hidden states `[time, batch, hidden]` and attention weights `[time, items, batch]`.

    Arguments of `apply`:
        gates: the part of the gates' input that is known beforehand, `[time, batch, 4 · hidden]`,
            in PyTorch's order (input, forget, cell, output).
        keys, values: what can be attended to at each step, `[time, items, batch, size]`; None if
            it is the LSTM's own past.
        query, score: the weights of the additive attention, `[size, hidden]` and `[size]`.
        weight: of the gates on [context, h], `[4 · hidden, context + hidden]`.
        key, key_bias, value, value_bias: how a hidden state becomes an item, or None.
        memory: how many past hidden states can be attended to.

    The attention weights carry no gradient. Those of the past come with the latest state last; the
    first rows are zero while there is less past than memory.
    """

    @staticmethod
    def forward(
        ctx, gates, keys, values, query, score, weight,
        key=None, key_bias=None, value=None, value_bias=None, memory=0,
    ):  # fmt: skip
        time, batch, _ = gates.shape
        hidden = query.shape[1]
        width = weight.shape[1] - hidden
        past = keys is None
        if past:
            keys = gates.new_empty(time, batch, len(key))
            values = gates.new_empty(time, batch, width)
        count = memory if past else keys.shape[1]
        # [context, h before the step] of each step; the last row only holds the last h.
        inputs = gates.new_zeros(time + 1, batch, width + hidden)
        cells = gates.new_zeros(time + 1, batch, hidden)
        weights = gates.new_zeros(time, count, batch)
        active = gates.clone()
        squashed = []  # tanh(W₁ f + W₂ h) of each step's items
        weight_t, query_t = weight.t(), query.t()
        for t in range(time):
            h = inputs[t, :, width:]
            if past and t:
                torch.addmm(key_bias, h, key.t(), out=keys[t - 1])
                torch.addmm(value_bias, h, value.t(), out=values[t - 1])
            k, v, n = _items(keys, values, t, count, past)
            squashed.append(torch.tanh(k + h @ query_t))
            if n:
                w = torch.softmax(squashed[t] @ score, dim=0)
                weights[t, count - n :] = w
                inputs[t, :, :width] = (w[..., None] * v).sum(0)
            g = active[t].addmm_(inputs[t], weight_t)
            g[:, : 2 * hidden].sigmoid_()
            g[:, 2 * hidden : 3 * hidden].tanh_()
            g[:, 3 * hidden :].sigmoid_()
            input_gate, forget_gate, cell_gate, output_gate = g.chunk(4, dim=1)
            c = torch.addcmul(forget_gate * cells[t], input_gate, cell_gate, out=cells[t + 1])
            torch.mul(output_gate, torch.tanh(c), out=inputs[t + 1, :, width:])
        ctx.save_for_backward(
            keys, values, query, score, weight, key, value, inputs, cells, weights, active
        )
        ctx.squashed, ctx.past, ctx.count = squashed, past, count
        ctx.mark_non_differentiable(weights)
        return inputs[1:, :, width:].clone(), weights

    @staticmethod
    def backward(ctx, d_hidden, _):
        (keys, values, query, score, weight, key, value, inputs, cells, weights,
         active) = ctx.saved_tensors  # fmt: skip
        time, batch, hidden = d_hidden.shape
        width = weight.shape[1] - hidden
        past, count = ctx.past, ctx.count
        input_gate, forget_gate, cell_gate, output_gate = active.chunk(4, dim=2)
        bent = torch.tanh(cells[1:])
        # By what the gradients of c (three times) and of h become those of the gates' inputs.
        factors = torch.stack(
            [
                cell_gate * input_gate * (1 - input_gate),
                cells[:-1] * forget_gate * (1 - forget_gate),
                input_gate * (1 - cell_gate.square()),
                bent * output_gate * (1 - output_gate),
            ],
            dim=2,
        )
        from_h = output_gate * (1 - bent.square())
        d_gates = torch.empty_like(factors)
        d_context = d_hidden.new_empty(time, batch, width)
        d_query = d_hidden.new_empty(time, batch, len(score))
        d_keys, d_values = torch.zeros_like(keys), torch.zeros_like(values)
        d_score = torch.zeros_like(score)
        dh, dc = torch.zeros_like(d_hidden[0]), torch.zeros_like(d_hidden[0])
        for t in reversed(range(time)):
            dh = dh + d_hidden[t]
            if past:  # as an item of the steps after it; the last state never was one
                dh.addmm_(d_keys[t], key).addmm_(d_values[t], value)
            dc.addcmul_(dh, from_h[t])
            torch.mul(factors[t, :, :3], dc[:, None], out=d_gates[t, :, :3])
            torch.mul(factors[t, :, 3], dh, out=d_gates[t, :, 3])
            dc = dc * forget_gate[t]
            back = d_gates[t].view(batch, -1) @ weight
            dx, dh = back[:, :width], back[:, width:]
            d_context[t] = dx
            k, v, n = _items(keys, values, t, count, past)
            if not n:
                d_query[t] = 0
                continue
            w, s = weights[t, count - n :], ctx.squashed[t]
            dw = (v * dx).sum(-1)
            de = w * (dw - (w * dw).sum(0))
            d_score.addmv_(s.view(-1, len(score)).t(), de.view(-1))
            # tanh' = 1 - tanh²
            dk = torch.addcmul(score.expand_as(s), s, s * score, value=-1).mul_(de[..., None])
            torch.sum(dk, dim=0, out=d_query[t])
            dh = torch.addmm(dh, d_query[t], query)
            if past:
                d_keys[t - n : t] += dk
                d_values[t - n : t] += w[..., None] * dx
            else:
                d_keys[t] = dk
        before = inputs[:-1, :, width:].reshape(-1, hidden)
        after = inputs[1:, :, width:].reshape(-1, hidden)
        d_gates = d_gates.view(time, batch, -1)
        found = [
            d_gates,
            None if past else d_keys,
            None if past else weights[..., None] * d_context[:, None],
            d_query.view(-1, len(score)).t() @ before,
            d_score,
            d_gates.view(time * batch, -1).t() @ inputs[:-1].reshape(time * batch, -1),
        ]
        if not past:
            return *found, None, None, None, None, None
        flat_keys, flat_values = d_keys.view(-1, len(score)), d_values.view(-1, width)
        return (
            *found,
            flat_keys.t() @ after,
            flat_keys.sum(0),
            flat_values.t() @ after,
            flat_values.sum(0),
            None,
        )


def _items(keys: Tensor, values: Tensor, t: int, count: int, past: bool):
    """Keys and values `[items, batch, size]` of a step, and how many there are."""
    if not past:
        return keys[t], values[t], count
    n = min(t, count)
    return keys[t - n : t], values[t - n : t], n
