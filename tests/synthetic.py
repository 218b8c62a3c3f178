"""Rollouts, models and logs out of thin air, for tests that need something to look at."""

import json
import re
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch

from awm import config, dataset, mdn_rnn, weights
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


def workspace(profile: str = "smoke", length: int = 48, kinds=config.ATTENTIONS) -> None:
    """In AWM_ROOT, what the stages would leave of a profile: rollouts, V, Ms of random weights."""
    profile = config.get_profile(profile)
    rng = np.random.default_rng(0)
    names = ["synthetic"] * profile.rollouts
    group = dataset._open_for_writing(profile, dataset.path_of(profile), names)
    for i in range(profile.rollouts):
        frames = road_frames(length + 1, bend=4 * (i + 1))
        group["frames"][i, : length + 1] = frames
        group["actions"][i, :length] = rng.uniform(0, 1, (length, 3))
        group["rewards"][i, :length] = rng.choice([-0.1, 3.2], length)
        group["lengths"][i], group["checksums"][i] = length, crc32(frames)
    group.attrs["hash"] = "synthetic"
    folder = config.data_dir(profile)
    weights.save(folder / "vae.safetensors", random_vae().state_dict(), {})
    for kind in kinds:
        m = mdn_rnn.build(profile, kind)
        with torch.no_grad():  # attention that tells one item from another
            for name, weight in m.named_parameters():
                if name.startswith("attention"):
                    weight *= 4
        weights.save(folder / f"mdn_rnn-{kind}.safetensors", m.state_dict(), {})


def log_generation(name: str = "none", profile: str = "smoke", over: bool = False) -> None:
    """One more line of a search's log in AWM_ROOT; with `over` the one that ends it."""
    path = config.data_dir(profile) / "evolution" / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    n = len(path.read_text().splitlines()) if path.exists() else 0
    entry = {"generation": n, "steps": 1000 * (n + 1), "seconds": 60.0 * n, "validation": 200.0 + n}
    if not over:
        entry |= {"best": 300.0 + n, "mean": 100.0 + n, "worst": -50.0}
    with path.open("a") as file:
        file.write(json.dumps(entry) + "\n")


def unsupported_verdicts(page: str) -> list[str]:
    """Verdicts of the report's page that what they stand on, their tooltip, does not carry.

    Read from the page alone, with a rule of its own: a claim needs an interval on its side of
    zero (or McNemar's p below 0.05), and "nothing is shown" one that holds it.
    """
    wrong = []
    for title, phrase in verdicts_of(page):
        signs = set()
        for ends in re.findall(r"\(([+−-][^ ]+) to ([+−-][^ )]+)\), (more|less)", title):
            low, high = (float(end.replace("−", "-")) for end in ends[:2])
            better = 1 if ends[2] == "more" else -1
            signs.add(better * ((low > 0) - (high < 0)))
        for first, second, p in re.findall(r"on (\d+) against (\d+), p = ([\d.e−-]+)", title):
            clear = float(p.replace("−", "-")) < 0.05
            signs.add(clear * ((int(first) > int(second)) - (int(first) < int(second))))
        claims = {
            1: re.search(r"better than|helps|is ahead", phrase),
            -1: re.search(r"worse than|hurts|is behind", phrase),
            0: re.search(r"no difference|not(hing is)? proven|none is proven|cannot be", phrase),
        }
        said = {sign for sign, claim in claims.items() if claim}
        # A list of what is proven may leave out what is not; nothing else may be left out.
        if not said <= signs or not signs - {0} <= said or not said:
            wrong.append(f"{phrase!r} stands on {title!r}")
    return wrong


def verdicts_of(page: str) -> list[tuple[str, str]]:
    """The report's verdicts: what each stands on, and the phrase."""
    found = re.findall(r'<span class="num verdict" title="([^"]*)">([^<]*)</span>', page)
    return [(title, phrase) for title, phrase in found if title]
