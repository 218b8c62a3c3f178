"""Training throughput: V with each encoder, and each M as `awm train mdn-rnn --all` trains them.

Forward, backward and Adam on random data of the paper's sizes. The decoder, the same in all rows,
is most of V's cost. Two trainings of M side by side, with one thread each, are faster than one with
two.

    python benchmarks/training.py
"""

import os

import torch
from timing import keep, rates, table
from torch.nn import functional as F

from awm import processes
from awm.config import PRESETS
from awm.ids import ATTENTIONS, PLAIN, Memory
from awm.models import vae
from awm.models.mdn_rnn import MDNRNN
from awm.training.sequences import Sequences, losses

FREE_NATS = PRESETS["paper"].vae.free_nats
CORES = os.cpu_count() or 1
UPDATES = 8


class PlainVAE(vae.VAE):
    """The same network, every layer of the decoder as PyTorch computes it."""

    def decode(self, z):
        x = self.expand(z)[:, :, None, None]
        for layer in self.deconvolutions[:-1]:
            x = F.relu(layer(x))
        return torch.sigmoid(self.deconvolutions[-1](x))


def training_v(kind, encoder: str, batch: int = 64):
    v = kind(encoder=encoder)
    x = torch.rand(batch, 3, 64, 64).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(v.parameters())

    def run() -> int:
        for _update in range(3):
            optimizer.zero_grad()
            vae.losses(v, x, FREE_NATS)["loss"].backward()
            optimizer.step()
        return 3 * batch

    return run


def training_m(kind: str, batch: int = 40, length: int = 128):
    shape = vae.map_shape("patches")
    m = MDNRNN(kind, map_channels=shape[1])
    maps = torch.rand(batch, length, *shape) if m.needs_map else None
    zeros = torch.zeros(batch, length)
    data = Sequences(
        torch.randn(batch, length + 1, 32), torch.rand(batch, length, 3), zeros, zeros, maps,
        torch.ones(batch, length),
    )  # fmt: skip
    optimizer = torch.optim.Adam(m.parameters())

    def run() -> int:
        loss = losses(m, data)["nll"].sum() / data.mask.sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return batch * length

    return run


def some_updates(kind: str) -> int:
    """In a worker: a few updates of one M with one thread."""
    torch.set_num_threads(1)
    run = training_m(kind)
    return sum(run() for _ in range(UPDATES))


def side_by_side(pool, kind: str):
    def run() -> int:
        return sum(pool.map(some_updates, [kind] * CORES))

    return run


def main() -> None:
    contenders = {
        "patches": training_v(vae.VAE, "patches"),
        "ha2018": training_v(vae.VAE, "ha2018"),
        "ha2018, PyTorch's layers": training_v(PlainVAE, "ha2018"),
    }
    found = rates(contenders, rounds=3)
    baseline = "ha2018, PyTorch's layers"
    v = table("Training V by encoder, batches of 64, all cores", "frames/s", found, baseline)
    with processes.pool(CORES) as pool:
        kinds = ("plain", *ATTENTIONS, "even")
        contenders = {Memory(kind).label: side_by_side(pool, kind) for kind in kinds}
        contenders["plain M, alone, all threads"] = training_m("plain")
        found = rates(contenders, rounds=3)
    title = "Training M, batches of 40 × 128, one a core side by side"
    m = table(title, "steps/s", found, PLAIN.label)
    keep("training", v, m)


if __name__ == "__main__":
    main()
