"""Sequences of latents, actions, rewards and ends, as M is trained and judged on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from awm.config import MDNRNNConfig
from awm.data.latents import Latents
from awm.data.rollouts import Rollouts
from awm.models.mdn_rnn import ACTION_SIZE, MDNRNN
from awm.training.loop import to_device

#: Steps within which an end is expected and found.
END_SPAN = 16
#: More likely than this an end is expected.
EXPECTED = 0.5


@dataclass(frozen=True)
class Sequences:
    """A batch for training: z has one entry more than the rest, which is z' of the last step.

    `z` `[batch, time + 1, z]`, `action` `[batch, time, 3]`, `reward` and `done` `[batch, time]`,
    `maps` `[batch, time, places, channels]` or None, `mask` `[batch, time]`: 1 at every step.
    """

    z: Tensor
    action: Tensor
    reward: Tensor
    done: Tensor
    maps: Tensor | None
    mask: Tensor


class SequenceData:
    """Cuts sequences out of latents; z is sampled anew from V's posterior each time."""

    def __init__(self, config: MDNRNNConfig, rollouts: Rollouts, latents: Latents):
        self.length, self.smallest_reward = config.sequence_length, config.smallest_reward
        self.rollouts, self.latents = rollouts, latents
        self.actions = rollouts.column("actions")
        self.rewards = rollouts.column("rewards")
        self.terminated = rollouts.column("terminated")

    def cut(self, windows, with_maps: bool, rng: np.random.Generator) -> Sequences:
        """Sequences that start at `windows`, pairs of (episode, first step)."""
        count, length, z_size = len(windows), self.length, self.latents.mu.shape[-1]
        z = np.zeros((count, length + 1, z_size), np.float32)
        action = np.zeros((count, length, ACTION_SIZE), np.float32)
        reward, done, mask = np.zeros((3, count, length), np.float32)
        shape = (count, length, *self.latents.map_shape)
        maps = np.zeros(shape, np.float16) if with_maps else None
        for i, (episode, start) in enumerate(windows):
            n = min(length, int(self.rollouts.lengths[episode]) - start)
            span, steps = slice(start, start + n + 1), slice(start, start + n)
            mu, logvar = self.latents.mu[episode, span], self.latents.logvar[episode, span]
            noise = rng.standard_normal(mu.shape, dtype=np.float32)
            z[i, : n + 1] = mu + np.exp(0.5 * logvar) * noise
            action[i, :n] = self.actions[episode][steps]
            reward[i, :n] = self.rewards[episode][steps]
            done[i, :n] = self.terminated[episode][steps]
            mask[i, :n] = 1
            if with_maps:
                maps[i, :n] = self.latents.maps(int(episode), steps)
        return Sequences(
            torch.from_numpy(z),
            torch.from_numpy(action),
            torch.from_numpy(reward).clamp(min=self.smallest_reward),
            torch.from_numpy(done),
            None if maps is None else torch.from_numpy(maps).float(),
            torch.from_numpy(mask),
        )

    def training_batch(self, batch: int, with_maps: bool, seed: int, update: int) -> Sequences:
        """Batch number `update`: random windows of random training episodes."""
        rng = np.random.default_rng((seed, update))
        episodes = rng.choice(self.rollouts.indices("train"), size=batch)
        windows = [(e, rng.integers(self._starts(e))) for e in episodes]
        return self.cut(windows, with_maps, rng)

    def _starts(self, episode: int) -> int:
        """How many steps of an episode a sequence may start at.

        Where the episode ended, sequences run beyond its end: or else only one of them would show
        it. Where the recording ended, they are whole.
        """
        length = int(self.rollouts.lengths[episode])
        return length if self.terminated[episode][-1] else max(1, length - self.length + 1)

    def held_out(self, split: str, with_maps: bool, batch: int = 32) -> Iterator[Sequences]:
        """Batches that cover every episode of a split once, the same z every time."""
        rng = np.random.default_rng(0)
        windows = [
            (e, start)
            for e in self.rollouts.indices(split)
            for start in range(0, int(self.rollouts.lengths[e]), self.length)
        ]
        for i in range(0, len(windows), batch):
            yield self.cut(windows[i : i + batch], with_maps, rng)


def losses(model: MDNRNN, data: Sequences) -> dict[str, Tensor]:
    """Sums over the batch: `nll` nats `[z]`, `reward` squared error, `done` nats, `steps`."""
    hidden, _ = model(data.z[:, :-1], data.action, data.maps)
    expected = model.predict(hidden)
    done = F.binary_cross_entropy_with_logits(expected.done_logit, data.done, reduction="none")
    return {
        "nll": (expected.nll(data.z[:, 1:]) * data.mask[..., None]).sum((0, 1)),
        "reward": ((expected.reward - data.reward).square() * data.mask).sum(),
        "done": (done * data.mask).sum(),
        "steps": data.mask.sum(),
        **found_ends(expected.done_logit.detach(), data),
    }


def found_ends(logit: Tensor, data: Sequences) -> dict[str, Tensor]:
    """Of spans of `END_SPAN` steps: how many an episode ended in (`true`), how many M `expected`
    an end in, with more than the probability `EXPECTED`, and how many of these it `found`.

    Precision is found / expected, recall found / true. A single step is too much to ask for.
    """
    on = -F.softplus(logit) * data.mask  # the logarithm of the probability to go on
    on, ends = (
        F.pad(x, (0, -x.shape[1] % END_SPAN)).unflatten(1, (-1, END_SPAN)).sum(2)
        for x in (on, data.done * data.mask)
    )
    expected, true = on.exp() < 1 - EXPECTED, ends > 0
    found = expected & true
    return {"true": true.sum(), "expected": expected.sum(), "found": found.sum()}


@torch.inference_mode()
def validate(model: MDNRNN, data: SequenceData, split: str = "validation") -> dict:
    """Losses on held-out episodes without a step of training, averages over steps.

    `nll` nats over all latents, `nll_per_latent`, `reward_r2` (1 is perfect, 0 is the mean),
    `done` nats, and of the `ends` what `found_ends` counts.
    """
    sums, rewards = None, []
    where = model.head.weight.device
    for batch in data.held_out(split, model.needs_map):
        terms = losses(model, to_device(batch, where))
        sums = terms if sums is None else {name: sums[name] + terms[name] for name in sums}
        rewards.append(batch.reward[batch.mask > 0])
    steps = float(sums["steps"])
    per_latent = (sums["nll"] / steps).tolist()
    variance = float(torch.cat(rewards).var(unbiased=False))
    return {
        "nll": sum(per_latent),
        "nll_per_latent": per_latent,
        "reward_r2": 1 - float(sums["reward"]) / steps / max(variance, 1e-9),
        "done": float(sums["done"]) / steps,
        "ends": {name: int(sums[name]) for name in ("true", "expected", "found")},
    }
