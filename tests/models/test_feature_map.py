"""The head that guesses V's feature map from z."""

import torch

from awm.models.feature_map import FeatureMapHead, through_frames
from awm.models.vae import VAE


def test_it_has_the_maps_shape_and_sign():
    torch.manual_seed(0)
    head, z = FeatureMapHead(32, VAE().map_shape, hidden_size=8), torch.randn(5, 4, 32)
    found = head(z)
    assert found.shape == (5, 4, *VAE().map_shape)
    assert found.min() == 0 < found.max(), "as activations after a ReLU are"


def test_the_slow_way_draws_the_frame_and_looks_at_it():
    v, z = VAE(), torch.randn(2, 32)
    assert torch.equal(through_frames(v, z), v.encode(v.decode(z), with_map=True)[2])
