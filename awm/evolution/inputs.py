"""What C sees on the recorded rollouts, and the statistics that its inputs are standardised by."""

from collections.abc import Iterator

import numpy as np
import torch

from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.ids import Memory
from awm.models.controller import Inputs
from awm.store import Workspace
from awm.training import mdn_rnn, vae

#: Deviations of an untrained M's h are near 0.05.
_NEVER_ZERO = 1e-4


@torch.inference_mode()
def inputs_seen(ws: Workspace, memory: Memory, split: str) -> Iterator[tuple[int, np.ndarray]]:
    """What C would see at each step of recorded episodes: (episode, float64 `[time, inputs]`).

    Args:
        split: `"train"`, `"validation"` or `"test"`.
    """
    rollouts = open_rollouts(ws, memory)
    latents = encode_latents(ws, vae.load(ws), memory)
    m = mdn_rnn.load(ws, memory) if memory.has_m else None
    for episode in rollouts.indices(split).tolist():
        steps = slice(int(rollouts.lengths[episode]))
        seen = z = torch.from_numpy(latents.mu[episode, steps])[None]
        if memory.kind == "pair":
            seen = torch.cat([z, torch.cat([z[:, :1], z[:, :-1]], dim=1)], dim=-1)
        if m is not None:
            maps = None
            if m.needs_map:
                maps = torch.from_numpy(latents.maps(episode, steps)).float()[None]
            actions = torch.from_numpy(rollouts.read("actions", episode))[None]
            hidden, _ = m(z, actions, maps)
            # At step t C sees the state before the step: the first is zero.
            before = torch.cat([torch.zeros_like(hidden[:, :1]), hidden[:, :-1]], dim=1)
            seen = torch.cat([z, before], dim=-1)
        yield episode, seen[0].double().numpy()


def input_spread(ws: Workspace, memory: Memory) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of C's inputs, as M sees the training rollouts go by, `[inputs]` each."""
    count, total, squares = 0, 0.0, 0.0
    for _, seen in inputs_seen(ws, memory, "train"):
        count += len(seen)
        total = total + seen.sum(0)
        squares = squares + np.square(seen).sum(0)
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0))


def input_statistics(ws: Workspace, memory: Memory) -> Inputs:
    """What C's inputs are standardised by: `input_spread`, no deviation below the smallest."""
    mean, deviation = input_spread(ws, memory)
    smallest = np.full(len(mean), ws.profile.evolution.smallest_deviation)
    if memory.kind in ws.profile.evolution.standardised:
        smallest[ws.profile.vae.z_size :] = _NEVER_ZERO
    return Inputs(mean, np.maximum(deviation, smallest))
