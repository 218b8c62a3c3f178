"""V: its shapes, its loss against torch.distributions, and training that can be interrupted."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from awm import dataset, provenance, vae
from awm.config import get_profile
from awm.errors import AwmError


def frames(n=3):
    return np.random.default_rng(0).integers(0, 256, (n, 64, 64, 3)).astype(np.uint8)


def test_the_papers_shapes():
    v = vae.VAE()
    x = vae.to_input(frames())
    mu, logvar, frame_map = v.encode(x, with_map=True)
    assert mu.shape == logvar.shape == (3, 32)
    assert frame_map.shape == (3, *vae.VAE.map_shape)
    assert v.decode(mu).shape == (3, 3, 64, 64)
    assert torch.equal(v.encode(x)[0], mu)
    widths = [c.out_channels for c in v.convolutions]
    kernels = [c.kernel_size[0] for c in v.deconvolutions]
    assert widths == [32, 64, 128, 256] and kernels == [5, 5, 6, 6]


def test_layers_computed_another_way_are_the_papers_layers():
    torch.manual_seed(0)
    v = vae.VAE()
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


def test_frames_survive_the_way_in_and_out():
    assert np.array_equal(vae.to_frames(vae.to_input(frames())), frames())


def test_kl_is_torchs():
    mu, logvar = torch.randn(5, 32), torch.randn(5, 32)
    expected = kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0))
    assert torch.allclose(vae.kl_divergence(mu, logvar), expected, atol=1e-5)


def test_samples_are_mu_plus_sigma_eps():
    mu, logvar = torch.full((20_000, 1), 3.0), torch.full((20_000, 1), np.log(0.25))
    z = vae.sample(mu, logvar, torch.Generator().manual_seed(0))
    assert abs(z.mean() - 3) < 0.02 and abs(z.std() - 0.5) < 0.02


def test_free_bits_leave_a_cheap_posterior_alone():
    v = vae.VAE()
    v.posterior.weight.data.zero_()
    v.posterior.bias.data.zero_()  # the posterior is the prior: KL 0
    loss, error, kl = vae.loss_terms(v, vae.to_input(frames()))
    assert kl.item() == pytest.approx(0, abs=1e-6)
    assert (loss - error).item() == pytest.approx(0.5 * 32)


class Numbered:
    """Episodes whose frames hold their episode's number."""

    def __init__(self, lengths):
        self.lengths = lengths

    def indices(self, split):
        return np.arange(len(self.lengths))

    def episode(self, index):
        frames = np.full((self.lengths[index], 64, 64, 3), index, np.uint8)
        return type("Episode", (), {"frames": frames})


@pytest.mark.parametrize("count", [5, 8, 50, 1024])
def test_held_out_frames_are_of_every_episode_alike(count):
    found = vae.held_out_frames(Numbered([385] * 50), "validation", count)
    each = np.bincount(found[:, 0, 0, 0], minlength=50)
    assert len(found) == count and each.max() - each.min() <= 1
    if count < 50:  # not the first episodes alone
        assert np.flatnonzero(each).max() >= 40
    assert len(vae.held_out_frames(Numbered([3, 4]), "validation", 100)) == 7


def test_validation_does_not_train(smoke):
    v = vae.load("smoke")
    before = {k: t.clone() for k, t in v.state_dict().items()}
    first, second = vae.validate(v, frames(8)), vae.validate(v, frames(8))
    assert first == second
    assert all(torch.equal(before[k], t) for k, t in v.state_dict().items())


def test_saved_and_loaded_v_is_the_same(smoke):
    a, b = vae.load("smoke"), vae.load("smoke")
    x = vae.to_input(frames())
    assert torch.equal(a.encode(x)[0], b.encode(x)[0])
    history = a.manifest["history"]
    assert history[-1]["update"] == get_profile("smoke").vae_updates
    assert np.isfinite(history[-1]["validation_loss"])
    assert a.manifest["test"]["test_loss"] > 0


def test_interrupted_training_ends_like_uninterrupted(
    smoke_copy, monkeypatch, dies_at_first_checkpoint
):
    whole = vae.load("smoke")
    for suffix in (".safetensors", ".json"):
        (smoke_copy / "data/smoke/vae").with_suffix(suffix).unlink()
    monkeypatch.setattr(vae, "_CHECKPOINT_EVERY", 10)
    with pytest.raises(KeyboardInterrupt):
        vae.train("smoke")
    (checkpoint,) = dies_at_first_checkpoint
    assert checkpoint.exists() and not vae.path_of(get_profile("smoke")).exists()
    whole_file = checkpoint.read_bytes()
    checkpoint.write_bytes(whole_file[:-10])
    with pytest.raises(AwmError, match="is damaged.*to start afresh"):
        vae.train("smoke")
    checkpoint.write_bytes(whole_file)
    again = vae.train("smoke")
    assert not checkpoint.exists(), "finished runs leave none behind"
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    strip = [{k: e[k] for k in e if k != "seconds"} for e in whole.manifest["history"]]
    assert strip == [{k: e[k] for k in e if k != "seconds"} for e in again.manifest["history"]]


def test_batches_are_a_function_of_seed_and_number(smoke):
    rollouts = dataset.open_rollouts("smoke")
    from_start = vae.batches(rollouts, 16, seed=1)
    three = [next(from_start) for _ in range(30)][27:]
    later = vae.batches(rollouts, 16, seed=1, start=27)
    assert all(torch.equal(a, next(later)) for a in three)


def test_damaged_weights_are_refused_with_the_remedy(smoke_copy):
    path = smoke_copy / "data" / "smoke" / "vae.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-10])
    with pytest.raises(AwmError, match="awm train vae"):
        vae.load("smoke")
    assert path.read_bytes() == data[:-10], "nothing is destroyed"
    path.with_suffix(".json").write_text("{")
    with pytest.raises(AwmError, match="damaged"):
        vae.load("smoke")
    path.unlink()
    with pytest.raises(AwmError, match="awm train vae --profile smoke"):
        vae.load("smoke")


def test_atomic_writes_keep_the_old_file_when_they_fail(tmp_path):
    path = tmp_path / "a.json"
    provenance.write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        provenance.write_json(path, {"a": float("nan")})
    assert provenance.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
