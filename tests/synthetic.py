"""Rollouts out of thin air, for tests that need something to look at and no simulator."""

from dataclasses import dataclass

import numpy as np
import torch

from awm.vae import VAE


@dataclass(frozen=True)
class Episode:
    frames: np.ndarray
    driver: str
    seed: int


class Rollouts:
    """`count` episodes of `length` frames: a grey road that bends, on grass. As awm.dataset's."""

    def __init__(self, count: int = 3, length: int = 20):
        self.lengths = [length + 5 * i for i in range(count)]

    def __len__(self) -> int:
        return len(self.lengths)

    def indices(self, split: str):
        return np.arange(len(self))[{"train": 0, "validation": 1, "test": 2}[split] :: 3]

    def episode(self, index: int) -> Episode:
        length = self.lengths[index]
        return Episode(road_frames(length, bend=8 * (index + 1)), f"driver-{index}", 100 + index)


def road_frames(count: int, bend: float = 8) -> np.ndarray:
    """Frames uint8 [count, 64, 64, 3], every one different."""
    y, x = np.mgrid[:64, :64]
    turn = np.linspace(-2, 2, count)[:, None, None] * bend
    centre = 32 + turn * ((63 - y) / 63) ** 2
    frames = np.full((count, 64, 64, 3), (100, 202, 100), np.uint8)
    frames[np.abs(x - centre) < 8] = (105, 105, 105)
    frames[:, 44:52, 30:34] = (204, 0, 0)
    frames[:, 0, 0, 0] = np.arange(count) % 256
    return frames


def random_vae(z_size: int = 32) -> VAE:
    """V with random weights, large enough that its pictures depend on z and z on the frame."""
    torch.manual_seed(0)
    vae = VAE(z_size)
    with torch.no_grad():
        for layer in (vae.posterior, vae.expand, *vae.deconvolutions):
            layer.weight *= 4
        vae.posterior.weight *= 8
    return vae.eval().requires_grad_(False)
