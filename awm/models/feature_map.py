"""V's feature map straight from z: an M that looks at frames can dream without drawing them.

Spatial attention reads a map of V's encoder. A dream has no frame, so its code would
have to be decoded and encoded again at every step, which costs far more than M itself. This head
guesses the map from the code, as an average over the frames that share it.
"""

from torch import Tensor, nn

from awm.models.vae import VAE


class FeatureMapHead(nn.Module):
    """z `[..., z]` → the map that attention looks at, `[..., *map_shape]`."""

    def __init__(self, z_size: int, map_shape: tuple[int, int], hidden_size: int = 128):
        super().__init__()
        self.manifest: dict = {}  #: of its training, once it is loaded
        self.layers = nn.Sequential(
            nn.Linear(z_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, map_shape[0] * map_shape[1]),
            nn.ReLU(),  # as V's own
            nn.Unflatten(-1, map_shape),
        )

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z)


def through_frames(v: VAE, z: Tensor) -> Tensor:
    """The exact way, and the slow one: the maps of the frames that V's decoder draws."""
    return v.encode(v.decode(z), with_map=True)[2]
