"""For tests in a browser: random models that dream visibly, on episodes along circles."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from awm import stages
from awm.data import rollouts as data
from awm.ids import Agent, Memory
from awm.models.controller import Controller, Inputs
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import VAE
from awm.store import Workspace
from awm.training import mdn_rnn

KINDS = ("plain", "feature", "temporal")
Z, HIDDEN = 32, 64


class Drives:
    """Test episodes along circles: to the left, to the right, and to the left on the grass."""

    lengths = np.array([340, 340, 340])

    def indices(self, split):
        return np.arange(3)

    def column(self, name):
        if name == "actions":
            return [np.tile(np.float32([0.1, 0.3, 0]), (340, 1))] * 3
        columns = []
        for sense, wheels in ((1, 4), (-1, 4), (1, 0)):
            angle = sense * np.arange(341) / 40
            x, y, still = 40 * np.cos(angle), 40 * np.sin(angle), np.ones(341)
            rows = (x, y, 50 * still, 0 * still, still if wheels else 20 * still, wheels * still)
            columns.append(np.stack(rows, axis=1).astype(np.float32))
        return columns

    def episode(self, index):
        frames = np.random.default_rng(index).integers(0, 255, (341, 8, 8, 3), np.uint8)
        frames = frames.repeat(8, axis=1).repeat(8, axis=2)
        return type("Episode", (), {"frames": frames, "actions": self.column("actions")[index]})


@torch.no_grad()
def random_v() -> VAE:
    """A V whose pictures depend on z, and z on the frame."""
    torch.manual_seed(0)
    v = VAE(Z, "patches", "folded")
    for layer in (v.posterior, v.expand, *v.deconvolutions):
        layer.weight *= 4
    v.posterior.weight *= 8
    return v.eval().requires_grad_(False)


@torch.no_grad()
def random_m(profile, kind: str) -> MDNRNN:
    """An M whose dreams depend on everything: on z, action, memory and attention."""
    m = mdn_rnn.build(profile, Memory(kind)).eval().requires_grad_(False)
    logits, mu, _ = m.head.weight[:-2].chunk(3)
    logits *= 8
    mu *= 4
    m.head.bias[:-2].chunk(3)[2].fill_(-1)
    if m.attention is not None:
        m.attention.score.weight *= 8
    if kind == "feature":  # this one ends its dreams at once
        m.head.bias[-1] = 20
    return m


@contextmanager
def dreaming(root):
    """The workspace (of the smoke profile), V, every M and C; while it is open it has rollouts."""
    ws = Workspace.open("smoke", root)
    v = random_v()
    kl = {"kl_per_latent": [3.0, *np.linspace(2, 0, Z - 1)]}
    ws.save(stages.vae(ws.profile), v.state_dict(), **kl)
    ms = {kind: random_m(ws.profile, kind) for kind in KINDS}
    for kind, m in ms.items():
        ws.save(stages.mdn_rnn(ws.profile, Memory(kind)), m.state_dict())
    drivers = {}
    for memory, size in (
        (Memory("V"), Z),
        (Memory(), Z + HIDDEN),
        (Memory("temporal"), Z + HIDDEN),
    ):
        rng = np.random.default_rng(0)
        inputs = Inputs(rng.normal(size=size), rng.uniform(0.2, 1, size=size))
        driver = Controller(rng.normal(size=inputs.parameters) / 5, inputs)
        layer = {"parameters": driver.parameters}
        layer |= {"input_mean": inputs.mean, "input_deviation": inputs.deviation}
        tensors = {name: torch.from_numpy(value) for name, value in layer.items()}
        drivers[memory.kind] = driver
        for agent in (Agent(memory), Agent(memory).refined()):
            ws.save(stages.agent(ws.profile, agent), tensors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "open_rollouts", lambda ws: Drives())
        yield ws, v, ms, drivers
