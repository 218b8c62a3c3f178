"""V's map straight from z, so that an M that looks at frames can dream without drawing them.

Spatial attention reads the map of V's third convolution. A dream has no frame, so its code would
have to be decoded and encoded again at every step, which costs far more than M itself. This head
guesses the map from the code, as an average over the frames that share it.
"""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from awm import config, dataset, mdn_rnn, provenance, vae, weights
from awm.config import Profile, get_profile
from awm.mdn_rnn import MDNRNN, SequenceData
from awm.vae import VAE

HIDDEN = 128
#: Frames an update.
_BATCH = 256
#: Training episodes that are held in memory: their maps take 3.5 MB each.
_EPISODES = 100


class MapHead(nn.Module):
    """z `[..., z]` → the map of V's third convolution `[..., 36, 128]`."""

    def __init__(self, z_size: int):
        super().__init__()
        places, channels = VAE.map_shape
        self.layers = nn.Sequential(
            nn.Linear(z_size, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, places * channels),
            nn.ReLU(),  # as V's own
            nn.Unflatten(-1, VAE.map_shape),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


def through_frames(v: VAE, z: Tensor) -> Tensor:
    """The exact way, and the slow one: the maps of the frames that V's decoder draws."""
    return v.encode(v.decode(z), with_map=True)[2]


def path_of(profile: Profile) -> Path:
    """Where a profile's head lies; rounds of iterative training keep V, and so the first."""
    return config.artefact(replace(profile, round=0), "map_head.safetensors")


def load(profile: Profile | str) -> MapHead:
    """A trained head of a profile. AwmError if there is none or it is damaged."""
    profile = get_profile(profile)
    head = MapHead(profile.z_size)
    remedy = f"Run `awm train map-head --profile {profile.name}` or notebook 06."
    head.manifest = weights.load_into(head, path_of(profile), remedy)
    return head.eval().requires_grad_(False)


def train(profile: Profile | str) -> MapHead:
    """Train the head on codes and maps of recorded frames; returns at once if trained.

    Its manifest's `test` holds what `compare` finds.
    """
    profile = get_profile(profile)
    path = path_of(profile)
    if path.exists():
        head = load(profile)
        provenance.check_config(head.manifest, profile, ("map_updates", "seed"), path)
        return head
    rollouts, v = dataset.open_rollouts(profile), vae.load(profile)
    latents = dataset.encode_latents(profile, v)
    started = time.perf_counter()
    mu, sigma, maps = _frames(rollouts, latents, "train", _EPISODES)
    torch.manual_seed(profile.seed)
    head = MapHead(profile.z_size)
    optimizer = torch.optim.Adam(head.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, profile.map_updates + 1)
    history, recent = [], []
    for update in tqdm(range(1, profile.map_updates + 1), unit="update", desc="map head"):
        chosen = torch.randint(len(mu), (_BATCH,))
        # Samples, as dreams are made of: the head must learn to ignore latents that are noise.
        z = mu[chosen] + sigma[chosen] * torch.randn(_BATCH, profile.z_size)
        loss = (head(z) - maps[chosen].float()).square().sum((1, 2)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        recent.append(loss.item())
        if update % 50 == 0 or update == profile.map_updates:
            history.append({"update": update, "train_error": sum(recent) / len(recent)})
            recent = []
    head.eval().requires_grad_(False)
    m = mdn_rnn.load(profile, "spatial")
    weights.save(
        config.data_dir(replace(profile, round=0)) / path.name,
        head.state_dict(),
        provenance.record(
            profile,
            sources={
                "rollouts": rollouts.hash,
                "vae": v.manifest["hash"],
                "mdn_rnn": m.manifest["hash"],
            },
            seeds={"weights": profile.seed},
            parameters=sum(p.numel() for p in head.parameters()),
            test=compare(profile, v, m, head),
            wall_time_s=round(time.perf_counter() - started, 1),
            history=history,
        ),
    )
    return load(profile)


@torch.inference_mode()
def compare(profile: Profile, v: VAE, m: MDNRNN, head: MapHead) -> dict:
    """What is lost by a guessed map, on test episodes, with z sampled from V's posterior.

    For the `real` maps, those of the `frames` that V draws from z, and those of the `head`: `r2`,
    the share of the maps' variance that they explain, and `nll`, nats a step of the spatially
    attentive M that looks at them.
    """
    rollouts, latents = dataset.open_rollouts(profile), dataset.encode_latents(profile, v)
    looks = {"frames": lambda z: through_frames(v, z), "head": head}
    mu, sigma, maps = _frames(rollouts, latents, "test", 8)
    z = mu + sigma * torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    maps = maps.float()
    variance = maps.var(0).sum()
    r2 = {"real": 1.0}
    for name, look in looks.items():
        missed = [
            (look(a) - b).square().sum()
            for a, b in zip(z.split(_BATCH), maps.split(_BATCH), strict=True)
        ]
        r2[name] = float(1 - sum(missed) / len(z) / variance)
    sums = dict.fromkeys(("real", *looks), 0.0)
    steps = 0.0
    data = SequenceData(profile, rollouts, latents)
    for batch in data.held_out("test", True):
        flat = batch.z[:, :-1].flatten(0, 1)
        for name in sums:
            seen = batch.maps
            if name != "real":
                parts = [looks[name](part) for part in flat.split(_BATCH)]
                seen = torch.cat(parts).view_as(batch.maps)
            sums[name] += float(mdn_rnn.losses(m, replace(batch, maps=seen))["nll"].sum())
        steps += float(batch.mask.sum())
    return {"r2": r2, "nll": {name: total / steps for name, total in sums.items()}}


def _frames(rollouts, latents, split: str, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Of the first episodes of a split mean and deviation `[n, z]` of the codes, and the maps
    `[n, 36, 128]`, float16.
    """
    columns = []
    for i in rollouts.indices(split)[:most]:
        n = int(rollouts.lengths[i])
        sigma = np.exp(0.5 * latents.logvar[i, :n])
        columns.append([torch.from_numpy(part) for part in (latents.mu[i, :n], sigma)])
        columns[-1].append(torch.from_numpy(latents.maps[i, :n]))
    return tuple(torch.cat(column) for column in zip(*columns, strict=True))
