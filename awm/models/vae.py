"""V: the convolutional variational autoencoder that compresses a frame to z.

Ha & Schmidhuber 2018, appendix A.1; Kingma & Welling 2014. The network and its loss; how it is
trained is in `awm.training.vae`.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from awm.errors import AwmError

#: A latent of more nats than this is said to carry information.
INFORMATIVE_NATS = 0.1


#: Convolutions from 64×64×3 on, each (channels, kernel, stride).
ENCODERS = {
    "ha2018": ((32, 4, 2), (64, 4, 2), (128, 4, 2), (256, 4, 2)),  # Ha & Schmidhuber 2018
    "patches": ((32, 4, 4), (64, 4, 2), (128, 3, 2)),  # 4×4 patches first: 4.5 times as fast
}
#: Rows and columns that z is expanded to, their channels, and transposed convolutions of stride 2
#: from there to 64×64×3, each (channels, kernel). Those from a single place have no padding, the
#: others as much as makes them double rows and columns.
DECODERS = {
    "ha2018": (1, 1024, ((128, 5), (64, 5), (32, 6), (3, 6))),
    # The same function: nothing bends between the first two layers of `ha2018`. As one linear map
    # they have a thirtieth of the weights; as two they learn better, so V is folded in the end.
    "folded": (5, 128, ((64, 5), (32, 6), (3, 6))),
}
#: Attention looks at the deepest of the encoder's maps that has so many rows and columns.
_LOOKED_AT = 6


class VAE(nn.Module):
    """Encoder, Gaussian posterior of z, decoder.

    Args:
        encoder: a name of `ENCODERS`, or layers as there.
        decoder: a name of `DECODERS`, or layers as there.

    Attributes:
        map_shape: `[places, channels]` of the map that spatial attention looks at.

    Raises:
        AwmError: for a name that is neither.
    """

    def __init__(self, z_size: int = 32, encoder="ha2018", decoder="ha2018"):
        super().__init__()
        self.z_size, self.encoder = z_size, encoder
        self.manifest: dict = {}  #: of its training, once it is loaded
        self.sides, self.looked_at, self.map_shape = _maps(encoder)
        layers = _named(ENCODERS, encoder, "encoder")
        widths = [3, *(width for width, _, _ in layers)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[i], width, kernel, stride)
            for i, (width, kernel, stride) in enumerate(layers)
        )
        self.posterior = nn.Linear(self.sides[-1] ** 2 * widths[-1], 2 * z_size)
        side, first, layers = _named(DECODERS, decoder, "decoder")
        widths, doubling = [first, *(width for width, _ in layers)], side * 2 ** len(layers) == 64
        self.expanded = (first, side, side)
        self.expand = nn.Linear(z_size, side * side * first)
        self.deconvolutions = nn.ModuleList(
            nn.ConvTranspose2d(
                widths[i], width, kernel, stride=2, padding=kernel // 2 - 1 if doubling else 0
            )
            for i, (width, kernel) in enumerate(layers)
        )
        self.to(memory_format=torch.channels_last)

    def encode(self, x: Tensor, with_map: bool = False) -> tuple[Tensor, ...]:
        """Posterior of frames `[batch, 3, 64, 64]` in [0, 1].

        Returns `mu` and `logvar`, `[batch, z]` each; `with_map` adds the activations of the layer
        that attention looks at, `[batch, *map_shape]`.
        """
        looked_at = None
        for n, (layer, side) in enumerate(zip(self.convolutions, self.sides, strict=True)):
            x = (_convolve_small(layer, x) if side <= _FEW else layer(x)).relu_()
            if n == self.looked_at:
                looked_at = x
        mu, logvar = self.posterior(x.flatten(1)).chunk(2, dim=1)
        if not with_map:
            return mu, logvar
        return mu, logvar, looked_at.flatten(2).transpose(1, 2)

    def decode(self, z: Tensor) -> Tensor:
        """Frames `[batch, 3, 64, 64]` in [0, 1] of latents `[batch, z]`."""
        first, *others = self.deconvolutions
        x = self._spread(first, z) if self.expanded[1] == 1 else first(self._expand(z).relu())
        for layer in others:
            x = layer(x.relu_())
        return torch.sigmoid(x)

    def _expand(self, z: Tensor) -> Tensor:
        """`[batch, channels, side, side]`, channels last."""
        channels, side, _ = self.expanded
        return self.expand(z).unflatten(1, (side, side, channels)).permute(0, 3, 1, 2)

    def _spread(self, first: nn.ConvTranspose2d, z: Tensor) -> Tensor:
        """`expand` and the first transposed convolution, which sees a single place.

        Nothing bends between the two: they are one linear map of z. For a batch of more frames than
        z has entries that map is the cheaper way; in training, 19 times as cheap as the layers.
        """
        kernel = first.kernel_size[0]
        weight = first.weight.permute(0, 2, 3, 1).reshape(first.in_channels, -1)
        if len(z) > self.z_size:
            x = torch.addmm(self.expand.bias @ weight, z, self.expand.weight.t() @ weight)
        else:
            x = self.expand(z) @ weight
        x = x.view(-1, kernel, kernel, first.out_channels) + first.bias
        return x.permute(0, 3, 1, 2)

    def forward(self, x: Tensor, generator: torch.Generator | None = None):
        """Reconstruction from a sample of the posterior; returns (frames, mu, logvar)."""
        mu, logvar = self.encode(x)
        return self.decode(sample(mu, logvar, generator)), mu, logvar

    @torch.no_grad()
    def folded(self) -> "VAE":
        """This V with its decoder `ha2018` as `folded`: the same pictures up to rounding."""
        first, *others = self.deconvolutions
        other = VAE(self.z_size, self.encoder, "folded")
        for name in ("convolutions", "posterior"):
            getattr(other, name).load_state_dict(getattr(self, name).state_dict())
        for mine, its in zip(others, other.deconvolutions, strict=True):
            its.load_state_dict(mine.state_dict())
        # What the two layers make of no z, and of each of its entries alone.
        codes = torch.cat([torch.zeros(1, self.z_size), torch.eye(self.z_size)])
        spread = self._spread(first, codes).permute(0, 2, 3, 1).flatten(1)
        other.expand.bias[:] = spread[0]
        other.expand.weight[:] = (spread[1:] - spread[0]).t()
        return other

    @property
    def informative(self) -> list[int]:
        """The latents whose average KL exceeds `INFORMATIVE_NATS`; the others are noise."""
        return np.flatnonzero(np.array(self.manifest["kl_per_latent"]) > INFORMATIVE_NATS).tolist()

    @torch.inference_mode()
    def encode_frames(self, frames: np.ndarray, batch: int = 128):
        """Frames uint8 `[n, 64, 64, 3]` to numpy `mu`, `logvar` `[n, z]` and maps."""
        parts = [
            self.encode(to_input(frames[i : i + batch]), with_map=True)
            for i in range(0, len(frames), batch)
        ]
        return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


def map_shape(encoder) -> tuple[int, int]:
    """`[places, channels]` of the map that spatial attention looks at, for a name of `ENCODERS`."""
    return _maps(encoder)[2]


def _maps(encoder) -> tuple[list[int], int, tuple[int, int]]:
    """The side of each layer's map, the number of the one that is looked at, and its shape."""
    layers, sides = _named(ENCODERS, encoder, "encoder"), [64]
    for _, kernel, stride in layers:
        sides.append((sides[-1] - kernel) // stride + 1)
    large = [n for n, side in enumerate(sides[1:]) if side >= _LOOKED_AT]
    return sides[1:], large[-1], (sides[large[-1] + 1] ** 2, layers[large[-1]][0])


def _named(known: dict, layers, what: str):
    if not isinstance(layers, str):
        return layers
    if layers not in known:
        raise AwmError(f"V has no {what} {layers!r}. Choose one of: {', '.join(known)}.")
    return known[layers]


#: A map of so few rows and columns is small.
_FEW = 2


def _convolve_small(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A convolution to few places as one matrix product: oneDNN is slow where the map is small.

    The same result up to rounding. (benchmarks/training.py)
    """
    kernel, stride = layer.kernel_size[0], layer.stride[0]
    patches = x.permute(0, 2, 3, 1).unfold(1, kernel, stride).unfold(2, kernel, stride)
    batch, height, width = patches.shape[:3]
    patches = patches.permute(0, 1, 2, 4, 5, 3).reshape(batch * height * width, -1)
    weight = layer.weight.permute(0, 2, 3, 1).reshape(layer.out_channels, -1)
    out = F.linear(patches, weight, layer.bias).view(batch, height, width, -1)
    return out.permute(0, 3, 1, 2)


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
    # Drawn where the generator is: the same noise on every device.
    noise = torch.empty(mu.shape).normal_(generator=generator).to(mu.device)
    return mu + torch.exp(0.5 * logvar) * noise


def squared_error(reconstruction: Tensor, x: Tensor) -> Tensor:
    """Summed squared error of each frame, `[batch]`, on the scale where a channel is in [0, 1]."""
    return F.mse_loss(reconstruction, x, reduction="none").flatten(1).sum(1)


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) ‖ N(0, 1)) of every latent in nats, `[batch, z]`."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def losses(vae: VAE, x: Tensor, free_nats: float, generator=None) -> dict[str, Tensor]:
    """Averages over the batch: `loss`, and of it `reconstruction` (squared error) and `kl` (nats).

    Up to `free_nats` a latent, counted in total, the KL divergence costs nothing (the paper's
    code, `kl_tolerance`).
    """
    reconstruction, mu, logvar = vae(x, generator)
    error = squared_error(reconstruction, x).mean()
    kl = kl_divergence(mu, logvar).sum(1)
    loss = error + kl.clamp(min=free_nats * vae.z_size).mean()
    return {"loss": loss, "reconstruction": error, "kl": kl.mean()}


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
