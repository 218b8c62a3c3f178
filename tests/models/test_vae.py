"""V: its shapes, its layers against PyTorch's, its loss against torch.distributions."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.distributions import kl_divergence as torchs_kl

from awm.errors import AwmError
from awm.models import vae
from awm.models.vae import VAE


def frames(n=3):
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3)).astype(np.uint8)


def test_the_papers_shapes():
    v = VAE()
    x = vae.to_input(frames())
    mu, logvar, feature_map = v.encode(x, with_map=True)
    assert mu.shape == logvar.shape == (3, 32)
    assert feature_map.shape == (3, *v.map_shape)
    assert v.decode(mu).shape == (3, 3, 64, 64)
    assert torch.equal(v.encode(x)[0], mu)
    widths = [c.out_channels for c in v.convolutions]
    kernels = [c.kernel_size[0] for c in v.deconvolutions]
    assert widths == [32, 64, 128, 256] and kernels == [5, 5, 6, 6]
    assert VAE(7).encode(x)[0].shape == (3, 7)


@pytest.mark.parametrize("encoder", vae.ENCODERS)
@pytest.mark.parametrize("decoder", vae.DECODERS)
def test_every_encoder_and_decoder_fit(encoder, decoder):
    v = VAE(7, encoder, decoder)
    mu, _, feature_map = v.encode(vae.to_input(frames()), with_map=True)
    assert mu.shape == (3, 7) and v.decode(mu).shape == (3, 3, 64, 64)
    assert feature_map.shape == (3, *v.map_shape) == (3, *vae.map_shape(encoder))
    assert 6 <= v.map_shape[0] ** 0.5 <= 8


def test_a_folded_decoder_draws_the_same():
    torch.manual_seed(0)
    v, z = VAE(7, "patches").requires_grad_(False), torch.randn(3, 7)
    folded = v.folded().requires_grad_(False)
    assert torch.allclose(folded.decode(z), v.decode(z), atol=1e-5)
    x = vae.to_input(frames())
    assert torch.equal(folded.encode(x)[0], v.encode(x)[0])
    assert folded.expand.weight.shape == (5 * 5 * 128, 7)


def test_unknown_layers_are_named():
    with pytest.raises(AwmError, match="no encoder 'ha2019'.*ha2018"):
        VAE(encoder="ha2019")
    with pytest.raises(AwmError, match="no decoder"):
        VAE(decoder="ha2019")


def test_layers_computed_another_way_are_the_papers_layers():
    torch.manual_seed(0)
    v = VAE()
    x = vae.to_input(frames())
    y = x
    for layer in v.convolutions:
        y = torch.relu(layer(y))
    mu, _ = v.posterior(y.flatten(1)).chunk(2, dim=1)
    assert torch.allclose(v.encode(x)[0], mu, atol=1e-5)
    z = torch.randn(3, 32)
    y = v.expand(z)[:, :, None, None]
    for layer in v.deconvolutions[:-1]:
        y = torch.relu(layer(y))
    y = torch.sigmoid(v.deconvolutions[-1](y))
    assert y.shape == (3, 3, 64, 64)
    assert torch.allclose(v.decode(z), y, atol=1e-5)


def test_the_map_is_the_third_convolutions():
    v, x = VAE(), vae.to_input(frames())
    y = x
    for layer in v.convolutions[:3]:
        y = torch.relu(layer(y))
    feature_map = v.encode(x, with_map=True)[2]
    assert torch.allclose(feature_map, y.flatten(2).transpose(1, 2), atol=1e-5)


def test_frames_survive_the_way_in_and_out():
    assert np.array_equal(vae.to_frames(vae.to_input(frames())), frames())


def test_kl_is_torchs():
    mu, logvar = torch.randn(5, 32), torch.randn(5, 32)
    expected = torchs_kl(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    assert torch.allclose(vae.kl_divergence(mu, logvar), expected, atol=1e-5)


def test_samples_are_mu_plus_sigma_eps():
    """The original drew (mu + sigma) · eps."""
    mu, logvar = torch.full((20_000, 1), 3.0), torch.full((20_000, 1), np.log(0.25))
    z = vae.sample(mu, logvar, torch.Generator().manual_seed(0))
    assert abs(z.mean() - 3) < 0.02 and abs(z.std() - 0.5) < 0.02


@pytest.mark.parametrize("free_nats", [0.5, 0.1])
def test_free_nats_leave_a_cheap_posterior_alone(free_nats):
    v = VAE()
    v.posterior.weight.data.zero_()
    v.posterior.bias.data.zero_()  # the posterior is the prior: KL 0
    terms = vae.losses(v, vae.to_input(frames()), free_nats)
    assert terms["kl"].item() == pytest.approx(0, abs=1e-6)
    difference = (terms["loss"] - terms["reconstruction"]).item()
    assert difference == pytest.approx(free_nats * 32, abs=1e-3)


def test_the_loss_is_squared_error_and_kl():
    torch.manual_seed(0)
    v, x = VAE(), vae.to_input(frames())
    v.posterior.bias.data[:32] = 3  # dear enough for nothing to be free
    terms = vae.losses(v, x, 0.5, torch.Generator().manual_seed(1))
    reconstruction, mu, logvar = v(x, torch.Generator().manual_seed(1))
    assert terms["reconstruction"].item() == pytest.approx(
        np.square((reconstruction - x).detach().numpy()).sum() / 3, rel=1e-4
    )
    expected = torchs_kl(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    assert terms["kl"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert terms["loss"].item() == pytest.approx(
        (terms["reconstruction"] + terms["kl"]).item(), rel=1e-5
    )


def test_frames_are_encoded_in_batches():
    v = VAE().eval()
    mu, logvar, maps = v.encode_frames(frames(5), batch=2)
    with torch.inference_mode():
        expected = v.encode(vae.to_input(frames(5)), with_map=True)
    for found, whole in zip((mu, logvar, maps), expected, strict=True):
        assert np.allclose(found, whole.numpy(), atol=1e-5)
    kl = vae.kl_per_latent(v, frames(5))
    exact = vae.kl_divergence(*expected[:2]).mean(0).numpy()
    assert np.allclose(kl, exact, atol=1e-5)


def test_informative_latents_cost_more_than_a_tenth_of_a_nat():
    v = VAE(4)
    v.manifest = {"kl_per_latent": [0.5, 0.05, 0.2, 0.0]}
    assert v.informative == [0, 2]


def test_a_traverse_sets_one_latent_after_another():
    torch.manual_seed(0)
    v = VAE().eval()
    pictures = vae.traverse(v, frames()[0], [3, 5], [-2.0, 0.0, 2.0])
    assert pictures.shape == (2, 3, 64, 64, 3) and pictures.dtype == np.uint8
    with torch.inference_mode():
        z = v.encode(vae.to_input(frames()[:1]))[0]
        z[0, 5] = 2.0
        assert np.abs(vae.to_frames(v.decode(z))[0].astype(int) - pictures[1, 2]).max() <= 1
