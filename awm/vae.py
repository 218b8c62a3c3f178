"""V: the convolutional variational autoencoder that compresses a frame to z.

Ha & Schmidhuber 2018, appendix A.1; Kingma & Welling 2014. Everything about V is here: the
network, its loss, its training and how it is loaded.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from awm import config, dataset, provenance, weights
from awm.config import Profile, get_profile

#: Nats a latent may cost for free: no pressure on the posterior below `FREE_NATS * z_size`
#: (the paper's code, `kl_tolerance`).
FREE_NATS = 0.5

#: A latent of more nats than this is said to carry information.
INFORMATIVE_NATS = 0.1

# A multiple of 10: the history averages over ten updates, and a checkpoint keeps none half done.
_CHECKPOINT_EVERY = 250
_VALIDATE_EVERY = 50
#: What decides which weights a training ends with, beside its data.
_SETTINGS = ("z_size", "vae_updates", "vae_batch", "vae_learning_rate", "seed")


class VAE(nn.Module):
    """Encoder 32-64-128-256 of 4×4 stride 2, z, decoder 128-64-32-3 of 5-5-6-6 stride 2."""

    #: The third convolution's map, `[places, channels]`: what spatial attention looks at.
    map_shape = (36, 128)

    def __init__(self, z_size: int = 32):
        super().__init__()
        self.z_size = z_size
        self.manifest: dict = {}
        channels = (3, 32, 64, 128, 256)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(i, o, 4, stride=2) for i, o in zip(channels, channels[1:], strict=False)
        )
        self.posterior = nn.Linear(2 * 2 * 256, 2 * z_size)
        self.expand = nn.Linear(z_size, 1024)
        sizes = ((1024, 128, 5), (128, 64, 5), (64, 32, 6), (32, 3, 6))
        self.deconvolutions = nn.ModuleList(
            nn.ConvTranspose2d(i, o, kernel, stride=2) for i, o, kernel in sizes
        )
        self.to(memory_format=torch.channels_last)

    def encode(self, x: Tensor, with_map: bool = False):
        """Posterior of frames `[batch, 3, 64, 64]` in [0, 1].

        Returns `mu` and `logvar`, `[batch, z]` each; `with_map` adds the third convolution's
        activations, `[batch, 36, 128]`.
        """
        first, second, third, fourth = self.convolutions
        third_map = third(second(first(x).relu_()).relu_()).relu_()
        last = _convolve_small(fourth, third_map).relu_()
        mu, logvar = self.posterior(last.flatten(1)).chunk(2, dim=1)
        if not with_map:
            return mu, logvar
        return mu, logvar, third_map.flatten(2).transpose(1, 2)

    def decode(self, z: Tensor) -> Tensor:
        """Frames `[batch, 3, 64, 64]` in [0, 1] of latents `[batch, z]`."""
        first, second, third, fourth = self.deconvolutions
        x = _deconvolve_one_place(first, self.expand(z)).relu_()
        x = second(x).relu_()
        x = _deconvolve_by_phases(third, x).relu_()
        return torch.sigmoid(_deconvolve_by_phases(fourth, x))

    def forward(self, x: Tensor, generator: torch.Generator | None = None):
        """Reconstruction from a sample of the posterior; returns (frames, mu, logvar)."""
        mu, logvar = self.encode(x)
        return self.decode(sample(mu, logvar, generator)), mu, logvar

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray, batch: int = 128):
        """Frames uint8 `[n, 64, 64, 3]` to numpy `mu`, `logvar` `[n, z]`, maps `[n, 36, 128]`."""
        parts = [
            self.encode(to_input(frames[i : i + batch]), with_map=True)
            for i in range(0, len(frames), batch)
        ]
        return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


# Three layers are computed another way than PyTorch would, with the same result up to rounding;
# together they make training and encoding about 1.5 times as fast (benchmarks/training.py).


def _convolve_small(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution to few places as one matrix product: oneDNN is slow where the map is small."""
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    patches = x.permute(0, 2, 3, 1).unfold(1, kernel, stride).unfold(2, kernel, stride)
    batch, height, width = patches.shape[:3]
    patches = patches.permute(0, 1, 2, 4, 5, 3).reshape(batch * height * width, -1)
    weight = layer.weight.permute(0, 2, 3, 1).reshape(layer.out_channels, -1)
    out = F.linear(patches, weight, layer.bias).view(batch, height, width, -1)
    return out.permute(0, 3, 1, 2)


def _deconvolve_one_place(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A transposed convolution of one place, `[batch, channels]`: each pixel is linear in it."""
    kernel = layer.kernel_size[0]
    weight = layer.weight.permute(0, 2, 3, 1).reshape(layer.in_channels, -1)
    out = (x @ weight).view(-1, kernel, kernel, layer.out_channels) + layer.bias
    return out.permute(0, 3, 1, 2)


def _deconvolve_by_phases(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A transposed convolution 6×6 of stride 2 as a convolution 3×3 to each of its four phases."""
    inner, outer, size = layer.in_channels, layer.out_channels, x.shape[-1]
    # Tap 2m + p of the kernel belongs to phase p; a convolution runs through m backwards.
    weight = layer.weight.reshape(inner, outer, 3, 2, 3, 2).flip(2, 4)
    weight = weight.permute(3, 5, 1, 0, 2, 4).reshape(4 * outer, inner, 3, 3)
    weight = weight.contiguous(memory_format=torch.channels_last)
    out = F.conv2d(x, weight, layer.bias.repeat(4), padding=2).permute(0, 2, 3, 1)
    out = out.reshape(-1, size + 2, size + 2, 2, 2, outer).transpose(2, 3)
    return out.reshape(-1, 2 * size + 4, 2 * size + 4, outer).permute(0, 3, 1, 2)


def to_input(frames: np.ndarray) -> Tensor:
    """Frames uint8 `[batch, 64, 64, 3]` as float `[batch, 3, 64, 64]` in [0, 1].

    A channels-last array seen as channels-first: nothing is moved, and convolutions like it.
    """
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255


def to_frames(x: Tensor) -> np.ndarray:
    """Float `[batch, 3, 64, 64]` in [0, 1] as frames uint8 `[batch, 64, 64, 3]`."""
    return (x.detach().permute(0, 2, 3, 1).clamp(0, 1) * 255).round().byte().numpy()


def sample(mu: Tensor, logvar: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """z ~ N(mu, exp(logvar)): mu + sigma · eps."""
    noise = torch.empty_like(mu).normal_(generator=generator)
    return mu + torch.exp(0.5 * logvar) * noise


def squared_error(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Summed squared error of each frame, `[batch]`, on the scale where a channel is in [0, 1]."""
    return F.mse_loss(reconstruction, x, reduction="none").flatten(1).sum(1)


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) of every latent in nats, `[batch, z]`."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def loss_terms(vae: VAE, x: Tensor, generator=None) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, reconstruction, KL), averages over the batch; the loss has the paper's free bits."""
    reconstruction, mu, logvar = vae(x, generator)
    error = squared_error(reconstruction, x).mean()
    kl = kl_divergence(mu, logvar).sum(1)
    return error + kl.clamp(min=FREE_NATS * vae.z_size).mean(), error, kl.mean()


def path_of(profile: Profile) -> Path:
    """Where a profile's V lies; rounds of iterative training keep the first."""
    return config.artefact(replace(profile, round=0), "vae.safetensors")


def load(profile: Profile | str) -> VAE:
    """The trained V of a profile, ready to encode. AwmError if there is none or it is damaged."""
    profile = get_profile(profile)
    vae = VAE(profile.z_size)
    remedy = f"Run `awm train vae --profile {profile.name}` or notebook 02."
    vae.manifest = weights.load_into(vae, path_of(profile), remedy)
    return vae.eval().requires_grad_(False)


def batches(rollouts: dataset.Rollouts, batch: int, seed: int, start: int = 0) -> Iterator[Tensor]:
    """Endless shuffled training batches, beginning with number `start`.

    Frames are drawn from a pool of episodes that is exchanged bit by bit, so a store larger than
    memory trains as well; which frames make up batch n depends on `seed` and n alone.
    """
    episodes = rollouts.indices("train")
    pool_size = min(len(episodes), 48)
    per_pool = max(1, int(rollouts.lengths[episodes].mean()) * pool_size // batch)
    for n in range(start // per_pool, 1 << 62):
        # Pool n: the next slice of an endless sequence of permutations of the episodes.
        begin, order = n * pool_size, []
        while len(order) < pool_size:
            turn, place = divmod(begin + len(order), len(episodes))
            permutation = np.random.default_rng((seed, turn)).permutation(episodes)
            order.extend(permutation[place : place + pool_size - len(order)])
        pool = np.concatenate([rollouts.episode(int(i)).frames for i in order])
        rng = np.random.default_rng((seed, n, 1))
        for k in range(per_pool):
            choice = rng.integers(len(pool), size=batch)
            if n * per_pool + k >= start:
                yield to_input(pool[choice])


@torch.inference_mode()
def validate(vae: VAE, frames: np.ndarray, seed: int = 0) -> dict:
    """Losses on held-out frames, without a step of training; the same noise every time."""
    generator = torch.Generator().manual_seed(seed)
    terms = [
        torch.stack(loss_terms(vae, to_input(part), generator)) * len(part)
        for part in np.array_split(frames, max(1, len(frames) // 128))
    ]
    loss, error, kl = (torch.stack(terms).sum(0) / len(frames)).tolist()
    return {"validation_loss": loss, "validation_reconstruction": error, "validation_kl": kl}


def held_out_frames(rollouts: dataset.Rollouts, split: str, count: int = 1024) -> np.ndarray:
    """Up to `count` frames spread evenly over the episodes of a split, uint8 `[n, 64, 64, 3]`."""
    episodes = rollouts.indices(split)
    ends = (np.arange(len(episodes) + 1) * count) // len(episodes)
    shares = zip(episodes, np.diff(ends), strict=True)
    parts = [(rollouts.episode(int(i)).frames, int(share)) for i, share in shares if share]
    return np.concatenate([dataset.moments(f, min(share, len(f))) for f, share in parts])


def train(profile: Profile | str) -> VAE:
    """Train V on a profile's rollouts; returns at once if it is trained, goes on if interrupted.

    The weights of the best validation loss are kept. The manifest's `history` has one entry for
    every 10 updates.
    """
    profile = get_profile(profile)
    path = path_of(profile)
    if path.exists():
        vae = load(profile)
        provenance.check_config(vae.manifest, profile, _SETTINGS, path)
        return vae
    rollouts = dataset.open_rollouts(profile)
    held_out = held_out_frames(rollouts, "validation")
    torch.manual_seed(profile.seed)
    vae = VAE(profile.z_size)
    optimizer = torch.optim.Adam(vae.parameters(), lr=profile.vae_learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, profile.vae_learning_rate, total_steps=profile.vae_updates + 1
    )
    run = weights.Checkpoint(path, source={"rollouts": rollouts.hash, "seed": profile.seed})
    update = run.resume(vae, optimizer, schedule)
    data = batches(rollouts, profile.vae_batch, profile.seed, start=update)
    started, recent = time.perf_counter(), []
    bar = tqdm(total=profile.vae_updates, initial=update, unit="update", desc="V")
    while update < profile.vae_updates:
        vae.train()
        x = next(data)
        generator = torch.Generator().manual_seed(profile.seed + update)
        terms = loss_terms(vae, x, generator)
        optimizer.zero_grad()
        terms[0].backward()
        optimizer.step()
        schedule.step()
        update += 1
        recent.append([term.item() for term in terms])
        bar.update()
        last = update == profile.vae_updates
        if update % 10 == 0 or last:
            loss, error, kl = np.mean(recent, axis=0).tolist()
            recent = []
            entry = {
                "update": update,
                "frames": update * profile.vae_batch,
                "train_loss": loss,
                "train_reconstruction": error,
                "train_kl": kl,
                "seconds": round(run.seconds + time.perf_counter() - started, 1),
            }
            if update % _VALIDATE_EVERY == 0 or last:
                entry |= validate(vae.eval(), held_out)
                run.keep_if_best(vae, entry["validation_loss"])
            run.history.append(entry)
            bar.set_postfix(loss=f"{loss:.1f}", validation=f"{run.best_score or math.nan:.1f}")
        if update % _CHECKPOINT_EVERY == 0 and not last:
            run.save(vae, optimizer, schedule, update, time.perf_counter() - started)
    bar.close()
    vae.load_state_dict(run.best)
    test = validate(vae.eval(), held_out_frames(rollouts, "test"))
    kl = kl_per_latent(vae, held_out)
    run.finish(
        provenance.record(
            profile,
            wall_time_s=run.seconds + time.perf_counter() - started,
            seeds={"weights": profile.seed},
            sources={"rollouts": rollouts.hash},
            test={name.replace("validation", "test"): value for name, value in test.items()},
            kl_per_latent=kl.tolist(),
            history=run.history,
        )
    )
    return load(profile)


@torch.inference_mode()
def kl_per_latent(vae: VAE, frames: np.ndarray) -> np.ndarray:
    """Average KL of every latent over frames, nats `[z]`: which of them carry information."""
    mu, logvar, _ = vae.encode_frames(frames)
    return kl_divergence(torch.from_numpy(mu), torch.from_numpy(logvar)).mean(0).numpy()


@torch.inference_mode()
def traverse(vae: VAE, frame: np.ndarray, dims, values) -> np.ndarray:
    """Decode a frame's z with one latent after another set to `values`.

    Returns uint8 `[len(dims), len(values), 64, 64, 3]`.
    """
    mu, _ = vae.encode(to_input(frame[None]))
    z = mu.repeat(len(dims), len(values), 1)
    for row, dim in enumerate(dims):
        z[row, :, int(dim)] = torch.as_tensor(np.asarray(values), dtype=z.dtype)
    frames = to_frames(vae.decode(z.flatten(0, 1)))
    return frames.reshape(len(dims), len(values), *frames.shape[1:])
