"""Rollouts, models and logs out of thin air, for tests that need something to look at."""

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import torch

from awm import stages, store
from awm.config import Profile
from awm.data import rollouts as recording
from awm.evolution.search import _line
from awm.ids import ATTENTIONS, Agent, Memory
from awm.models.vae import VAE
from awm.store import Workspace
from awm.training import feature_map, mdn_rnn


@dataclass(frozen=True)
class Episode:
    frames: np.ndarray
    driver: str
    seed: int


class Rollouts:
    """`count` episodes of `length` frames: a grey road that bends, on grass. As awm's own."""

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
    """Frames uint8 `[count, 64, 64, 3]`, every one different."""
    y, x = np.mgrid[:64, :64]
    turn = np.linspace(-2, 2, count)[:, None, None] * bend
    centre = 32 + turn * ((63 - y) / 63) ** 2
    frames = np.full((count, 64, 64, 3), (100, 202, 100), np.uint8)
    frames[np.abs(x - centre) < 8] = (105, 105, 105)
    frames[:, 44:52, 30:34] = (204, 0, 0)
    frames[:, 0, 0, 0] = np.arange(count) % 256
    return frames


def random_vae(z_size: int = 32, encoder: str = "ha2018", decoder: str = "ha2018") -> VAE:
    """V with random weights, large enough that its pictures depend on z and z on the frame."""
    torch.manual_seed(0)
    vae = VAE(z_size, encoder, decoder)
    with torch.no_grad():
        for layer in (vae.posterior, vae.expand, *vae.deconvolutions):
            layer.weight *= 4
        vae.posterior.weight *= 8
    vae.manifest = {"kl_per_latent": np.linspace(1, 0, z_size).tolist()}
    return vae.eval().requires_grad_(False)


def workspace(
    root: Path | None = None,
    profile: Profile | str = "smoke",
    length: int = 48,
    kinds=("plain", *ATTENTIONS),
    agents=("plain_track",),
) -> Workspace:
    """What the stages would leave of a profile: rollouts, and V, Ms and agents of random weights.

    In `root`, or else in AWM_ROOT.
    """
    ws = Workspace.open(profile, root)
    record(ws, length)
    config = ws.profile.vae
    vae = random_vae(config.z_size, config.encoder, config.decoder)
    ws.save(stages.vae(ws.profile), vae.state_dict(), **vae.manifest)
    for memory in map(Memory, kinds):
        m = mdn_rnn.build(ws.profile, memory)
        with torch.no_grad():  # attention that tells one item from another
            for name, weight in m.named_parameters():
                if name.startswith("attention"):
                    weight *= 4
        ws.save(stages.mdn_rnn(ws.profile, memory), m.state_dict(), kind=memory.kind)
    head = feature_map.build(ws.profile)
    ws.save(stages.feature_map(ws.profile), head.state_dict())
    for agent in agents:
        save_agent(ws, Agent.parse(agent))
    return ws


def record(ws: Workspace, length: int = 48) -> None:
    """Finished rollouts of a bending road, with random actions."""
    rng, stage = np.random.default_rng(0), stages.rollouts(ws.profile)
    count = ws.profile.data.rollouts
    group = recording._open_for_writing(ws, stage, ["synthetic"] * count, 0)
    for i in range(count):
        episode = {
            "frames": road_frames(length + 1, bend=4 * (i + 1)),
            "actions": rng.uniform(0, 1, (length, 3)).astype(np.float32),
            "rewards": rng.choice([-0.1, 3.2], length).astype(np.float32),
            "terminated": np.zeros(length, bool),
            "telemetry": np.zeros((length + 1, 6), np.float32),
        }
        for name, values in episode.items():
            group[name][i, : len(values)] = values
        group["lengths"][i] = length
        group["checksums"][i] = [crc32(episode[name]) for name in recording.ARRAYS]
    content = recording._content(group)
    manifest = ws.describe(stage, content=content, frames=count * (length + 1))
    store.write_json(ws.own / "rollouts.json", manifest)


def save_agent(ws: Workspace, agent: Agent, seed: int = 0) -> None:
    """A controller of random weights."""
    inputs = ws.profile.vae.z_size
    if agent.memory.kind != "V":
        inputs += mdn_rnn.build(ws.profile, agent.memory).hidden_size
    rng = np.random.default_rng(seed)
    tensors = {
        "parameters": rng.normal(size=3 * (inputs + 1)) / 5,
        "input_mean": rng.normal(size=inputs),
        "input_deviation": rng.uniform(0.2, 1, inputs),
    }
    tensors = {name: torch.from_numpy(value) for name, value in tensors.items()}
    ws.save(stages.agent(ws.profile, agent), tensors, validation=200.0, generation=0)


def log_generation(ws: Workspace, agent: Agent | None = None, over: bool = False) -> None:
    """One more line of a search's log; with `over` the one that ends it."""
    agent = agent or Agent()
    path = ws.own / f"agents/{agent}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    n = len(path.read_text().splitlines()) if path.exists() else 0
    entry = {"generation": n, "steps": 1000 * (n + 1), "seconds": 60.0 * n, "validation": 200.0 + n}
    if not over:
        entry |= {"best": 300.0 + n, "mean": 100.0 + n, "worst": -50.0, "fitness": [100.0 + n]}
    if n == 0:
        entry["record"] = ws.describe(stages.log(ws.profile, agent))
    with path.open("a") as file:
        file.write(_line(entry))
