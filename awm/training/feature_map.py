"""Training the head that guesses V's feature map from z (`awm.models.feature_map`)."""

import numpy as np
import torch
from torch import Tensor

from awm import stages
from awm.config import Profile
from awm.data.latents import Latents, encode_latents
from awm.data.rollouts import Rollouts, open_rollouts
from awm.models.feature_map import FeatureMapHead
from awm.models.vae import map_shape
from awm.store import Stage, Workspace
from awm.training import vae
from awm.training.loop import Recipe, finish, fit


def build(profile: Profile) -> FeatureMapHead:
    """The head with fresh weights."""
    return FeatureMapHead(
        profile.vae.z_size, map_shape(profile.vae.encoder), profile.feature_map.hidden_size
    )


def load(ws: Workspace) -> FeatureMapHead:
    """The trained head. AwmError if there is none, or it does not fit."""
    head = build(ws.profile)
    ws.load_into(head, stages.feature_map(ws.profile))
    return head


def train(ws: Workspace) -> FeatureMapHead:
    """Train the head on codes and maps of recorded frames; returns at once if trained."""
    stage = stages.feature_map(ws.profile)
    with ws.making(stage) as made:
        return load(ws) if made else _train(ws, stage)


def _train(ws: Workspace, stage: Stage) -> FeatureMapHead:
    config, seed = ws.profile.feature_map, ws.profile.seed
    rollouts = open_rollouts(ws)
    latents = encode_latents(ws, vae.load(ws))
    mu, sigma, maps = codes_and_maps(rollouts, latents, "train", config.episodes)
    torch.manual_seed(seed)
    head = build(ws.profile)

    def batch(update: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed + update)
        chosen = torch.randint(len(mu), (config.batch,), generator=generator)
        noise = torch.randn(config.batch, mu.shape[1], generator=generator)
        # Samples, as dreams are made of: the head must learn to ignore latents that are noise.
        return mu[chosen] + sigma[chosen] * noise, maps[chosen].float()

    def losses(pair: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        z, truth = pair
        return {"loss": (head(z) - truth).square().sum((1, 2)).mean()}

    facts = fit(
        ws, stage, head, Recipe(config.updates, config.learning_rate, batch, losses), "feature map"
    )
    finish(ws, stage, head, parameters=sum(p.numel() for p in head.parameters()), **facts)
    return head


def codes_and_maps(
    rollouts: Rollouts, latents: Latents, split: str, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the first episodes of a split mean and deviation `[n, z]` of the codes, and the maps
    `[n, places, channels]`, float16.
    """
    columns = []
    for i in rollouts.indices(split)[:most].tolist():
        steps = slice(int(rollouts.lengths[i]))
        sigma = np.exp(0.5 * latents.logvar[i, steps])
        columns.append((latents.mu[i, steps], sigma, latents.maps(i, steps)))
    return tuple(torch.from_numpy(np.concatenate(c)) for c in zip(*columns, strict=True))
