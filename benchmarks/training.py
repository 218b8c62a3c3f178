"""Training throughput at the paper's sizes: V with our layers and with PyTorch's, and each M.

python benchmarks/training.py
"""

import torch
from timing import keep, rates, table
from torch.nn import functional as F

from awm.config import PRESETS
from awm.ids import ATTENTIONS, PLAIN, Memory
from awm.models import vae
from awm.models.mdn_rnn import MDNRNN
from awm.training.sequences import Sequences, losses

FREE_NATS = PRESETS["paper"].vae.free_nats


class PlainVAE(vae.VAE):
    """The same network, every layer as PyTorch computes it."""

    def encode(self, x, with_map=False):
        for layer in self.convolutions:
            x = F.relu(layer(x))
        return self.posterior(x.flatten(1)).chunk(2, dim=1)

    def decode(self, z):
        x = self.expand(z)[:, :, None, None]
        for layer in self.deconvolutions[:-1]:
            x = F.relu(layer(x))
        return torch.sigmoid(self.deconvolutions[-1](x))


def training_v(kind, batch: int = 64):
    v = kind()
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
    m = MDNRNN(kind)
    maps = torch.rand(batch, length, *vae.map_shape("ha2018")) if m.needs_map else None
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


def main() -> None:
    contenders = {"V, as here": training_v(vae.VAE), "V, PyTorch's layers": training_v(PlainVAE)}
    found = rates(contenders, rounds=3)
    v = table("Training V, batches of 64, all cores", "frames/s", found, "V, PyTorch's layers")
    contenders = {Memory(kind).label: training_m(kind) for kind in ("plain", *ATTENTIONS)}
    found = rates(contenders, rounds=3)
    m = table("Training M, batches of 40 × 128, all cores", "steps/s", found, PLAIN.label)
    keep("training", v, m)


if __name__ == "__main__":
    main()
