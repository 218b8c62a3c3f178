"""Training V: frames in random order, the negative evidence lower bound with free bits."""

from collections.abc import Iterator

import numpy as np
import torch

from awm import stages
from awm.config import Profile
from awm.data.rollouts import Rollouts, held_out_frames, open_rollouts
from awm.models.vae import VAE, kl_per_latent, losses, to_input
from awm.store import Stage, Workspace
from awm.training.loop import Recipe, finish, fit


def build(profile: Profile) -> VAE:
    """V with fresh weights."""
    return VAE(profile.vae.z_size, profile.vae.encoder, profile.vae.decoder)


def load(ws: Workspace) -> VAE:
    """The trained V, ready to encode. AwmError if there is none, or it does not fit."""
    vae = build(ws.profile)
    ws.load_into(vae, stages.vae(ws.profile))
    return vae


def train(ws: Workspace, device: str = "cpu") -> VAE:
    """Train V on the rollouts; returns at once if it is trained, goes on if interrupted.

    The weights of the best validation loss are kept. The manifest has the `test` losses and
    `kl_per_latent`, which tells the latents that carry information.

    Args:
        device: as for `awm.training.loop.device_of`.
    """
    stage = stages.vae(ws.profile)
    with ws.making(stage) as made:
        return load(ws) if made else _train(ws, stage, device)


def _train(ws: Workspace, stage: Stage, device: str) -> VAE:
    config, seed = ws.profile.vae, ws.profile.seed
    rollouts = open_rollouts(ws)
    held_out = held_out_frames(rollouts, "validation")
    torch.manual_seed(seed)
    fold = config.decoder == "folded"
    vae = VAE(config.z_size, config.encoder, "ha2018") if fold else build(ws.profile)
    data = FrameBatches(rollouts, config.batch, seed)

    def batch(update: int):
        return data[update], torch.Generator().manual_seed(seed + update)

    recipe = Recipe(
        config.updates,
        config.learning_rate,
        batch,
        losses=lambda pair: losses(vae, pair[0], config.free_nats, pair[1]),
        validate=lambda: validate(vae, held_out, config.free_nats),
    )
    facts = fit(ws, stage, vae, recipe, "V", device)
    vae = vae.folded().eval() if fold else vae
    finish(
        ws,
        stage,
        vae,
        test=validate(vae, held_out_frames(rollouts, "test"), config.free_nats),
        kl_per_latent=kl_per_latent(vae, held_out).tolist(),
        **facts,
    )
    return vae


@torch.inference_mode()
def validate(vae: VAE, frames: np.ndarray, free_nats: float, seed: int = 0) -> dict[str, float]:
    """`losses` on held-out frames, without a step of training; the same noise every time."""
    vae.eval()
    generator = torch.Generator().manual_seed(seed)
    parts = np.array_split(frames, max(1, len(frames) // 128))
    where = vae.expand.weight.device
    found = [losses(vae, to_input(part).to(where), free_nats, generator) for part in parts]
    return {
        key: sum(
            float(terms[key]) * len(part) for terms, part in zip(found, parts, strict=True)
        ) / len(frames)
        for key in found[0]
    }  # fmt: skip


class FrameBatches:
    """Shuffled training batches by their number.

    Frames are drawn from a pool of episodes that is exchanged bit by bit, so a store larger than
    memory trains as well; which frames make up batch n depends on `seed` and n alone.
    """

    def __init__(self, rollouts: Rollouts, batch: int, seed: int):
        self.rollouts, self.batch, self.seed = rollouts, batch, seed
        self.episodes = rollouts.indices("train")
        self.size = min(len(self.episodes), 48)
        length = int(rollouts.lengths[self.episodes].mean())
        self.per_pool = max(1, length * self.size // batch)
        self.source: Iterator | None = None
        self.next = -1

    def __getitem__(self, n: int) -> torch.Tensor:
        if n != self.next:
            self.source, self.next = self._from(n), n
        self.next += 1
        return next(self.source)

    def _from(self, start: int) -> Iterator[torch.Tensor]:
        for n in range(start // self.per_pool, 1 << 62):
            # Pool n: the next slice of an endless sequence of permutations of the episodes.
            begin, order = n * self.size, []
            while len(order) < self.size:
                turn, place = divmod(begin + len(order), len(self.episodes))
                shuffled = np.random.default_rng((self.seed, turn)).permutation(self.episodes)
                order.extend(shuffled[place : place + self.size - len(order)])
            pool = np.concatenate([self.rollouts.read("frames", int(i)) for i in order])
            rng = np.random.default_rng((self.seed, n, 1))
            for k in range(self.per_pool):
                choice = rng.integers(len(pool), size=self.batch)
                if n * self.per_pool + k >= start:
                    yield to_input(pool[choice])
