"""V's view of the rollouts: the posterior of every frame, and V's feature map of it.

Stored beside the rollouts, because M passes over them many times and V is the dearest part. What
is stored is the Gaussian, not a sample of it.
"""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from tqdm.auto import tqdm

from awm import stages, store
from awm.data import arrays
from awm.data.rollouts import Rollouts
from awm.ids import PLAIN, Memory
from awm.models.vae import VAE
from awm.store import Stage, Workspace

#: Steps of a chunk: M is trained on sequences of 128, a small part of the longest episodes.
_CHUNK = 128


class Latents:
    """`mu` and `logvar` `[N, T+1, z]` in memory (a few dozen MB); the feature maps on disk.

    Raises:
        AwmError: if they are damaged.
    """

    def __init__(self, places: Sequence[str]):
        self.mu, self.logvar = (
            np.concatenate([_verified(place, name) for place in places])
            for name in ("mu", "logvar")
        )
        self._maps = []
        for place in places:
            with store.reading(place):
                maps = arrays.opened(place)["maps"]
                self._maps += [(maps, i) for i in range(maps.shape[0])]
        self._unverified = list(places)

    @property
    def map_shape(self) -> tuple[int, int]:
        """Places and channels."""
        return self._maps[0][0].shape[2:]

    def maps(self, episode: int, steps: slice = slice(None)) -> np.ndarray:
        """Feature maps of an episode's frames, float16 `[time, places, channels]`."""
        while self._unverified:  # once, a second a gigabyte
            _verified(self._unverified.pop(), "maps", keep=False)
        array, place = self._maps[episode]
        return array[place, steps]


def _verified(place: str, name: str, keep: bool = True) -> np.ndarray | None:
    """An array of all episodes, as it was written; None if it is too large to `keep`.

    Raises:
        AwmError: if it is not what was written.
    """
    kept = []
    with store.reading(place):
        group = arrays.opened(place)
        for values, checksum in zip(group[name], group.attrs["checksums"][name], strict=True):
            if crc32(values) != checksum:
                raise ValueError(f"{name} are not what was written")
            kept.append(values if keep else None)
        return np.stack(kept) if keep else None


def encode_latents(ws: Workspace, vae: VAE, memory: Memory = PLAIN) -> Latents:
    """Encode every frame of what a memory learns from; returns at once if that has been done."""
    return Latents([_encoded(ws, vae, each) for each in stages.recorded(ws.profile, memory)])


def _encoded(ws: Workspace, vae: VAE, recording: Stage) -> str:
    stage = stages.latents(ws.profile, recording)
    with ws.lock(stage.name):
        return _encode(ws, vae, recording, stage)


def _encode(ws: Workspace, vae: VAE, recording: Stage, stage: Stage) -> str:
    place = arrays.address(ws, stage.name)
    # What they were made from, by content: latents are made again rather than refused.
    source = [ws.manifest(each)["content"] for each in stage.inputs.values()]
    if arrays.exists(place) and arrays.opened(place).attrs.get("source") == source:
        return place
    rollouts = Rollouts([arrays.address(ws, recording.name)])
    group = arrays.opened(place, "w")
    count, steps = len(rollouts), rollouts.longest + 1
    for name, shape, dtype in (
        ("mu", (vae.z_size,), "float32"),
        ("logvar", (vae.z_size,), "float32"),
        ("maps", vae.map_shape, "float16"),
    ):
        group.create_array(
            name,
            shape=(count, steps, *shape),
            chunks=(1, min(steps, _CHUNK), *shape),
            dtype=dtype,
            compressors=None,  # noise to a compressor, and reading speed counts
        )
    checksums = {name: [] for name in ("mu", "logvar", "maps")}
    for i in tqdm(range(count), unit="episode", desc="latents"):
        encoded = vae.encode_frames(rollouts.episode(i).frames)
        for name, values in zip(checksums, encoded, strict=True):
            padded = np.zeros(group[name].shape[1:], group[name].dtype)
            padded[: len(values)] = values
            group[name][i] = padded
            checksums[name].append(crc32(padded))
    # Last of all: latents with a source are whole.
    group.attrs.update(source=source, checksums=checksums)
    return place
