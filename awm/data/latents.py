"""V's view of the rollouts: the posterior of every frame, and V's feature map of it.

Stored beside the rollouts, because M passes over them many times and V is the dearest part. What
is stored is the Gaussian, not a sample of it.
"""

import shutil
from pathlib import Path

import numpy as np
import zarr
from tqdm.auto import tqdm

from awm import stages
from awm.data.rollouts import Rollouts
from awm.ids import PLAIN, Memory
from awm.models.vae import VAE
from awm.store import Stage, Workspace


class Latents:
    """`mu` and `logvar` `[N, T+1, z]` in memory (a few dozen MB); the feature maps on disk."""

    def __init__(self, paths: list[Path]):
        groups = [zarr.open_group(path, mode="r") for path in paths]
        self.mu = np.concatenate([group["mu"][:] for group in groups])
        self.logvar = np.concatenate([group["logvar"][:] for group in groups])
        self._maps = [(group["maps"], i) for group in groups for i in range(group["mu"].shape[0])]

    @property
    def map_shape(self) -> tuple[int, int]:
        """Places and channels."""
        return self._maps[0][0].shape[2:]

    def maps(self, episode: int, steps: slice = slice(None)) -> np.ndarray:
        """Feature maps of an episode's frames, float16 `[time, places, channels]`."""
        array, place = self._maps[episode]
        return array[place, steps]


def encode_latents(ws: Workspace, vae: VAE, memory: Memory = PLAIN) -> Latents:
    """Encode every frame of what a memory learns from; returns at once if that has been done."""
    return Latents([_encoded(ws, vae, each) for each in stages.recorded(ws.profile, memory)])


def _encoded(ws: Workspace, vae: VAE, recording: Stage) -> Path:
    stage = stages.latents(ws.profile, recording)
    path = ws.own / stage.name
    # What they were made from, by content: latents are made again rather than refused.
    source = [ws.manifest(each)["content"] for each in stage.inputs.values()]
    if path.exists():
        if zarr.open_group(path, mode="r").attrs.get("source") == source:
            return path
        shutil.rmtree(path)
    rollouts = Rollouts([ws.own / recording.name])
    new = path.with_name(f".{path.name}.new")
    group = zarr.open_group(new, mode="w")
    count, steps = len(rollouts), ws.profile.data.steps + 1
    for name, shape, dtype in (
        ("mu", (vae.z_size,), "float32"),
        ("logvar", (vae.z_size,), "float32"),
        ("maps", vae.map_shape, "float16"),
    ):
        group.create_array(
            name,
            shape=(count, steps, *shape),
            chunks=(1, steps, *shape),
            dtype=dtype,
            compressors=None,  # noise to a compressor, and reading speed counts
        )
    for i in tqdm(range(count), unit="episode", desc="latents"):
        encoded = vae.encode_frames(rollouts.episode(i).frames)
        for name, values in zip(("mu", "logvar", "maps"), encoded, strict=True):
            group[name][i, : len(values)] = values
    group.attrs["source"] = source
    new.rename(path)
    return path
