"""The head that shows a spatially attentive M its own dream."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from awm import config, dataset, dream, evolution, map_head, mdn_rnn, vae
from awm.config import get_profile
from awm.errors import AwmError


@pytest.fixture
def head(smoke_copy):
    return map_head.train("smoke")


def test_it_is_trained_once_and_loads_as_it_was_saved(head, monkeypatch):
    z = torch.randn(5, 32)
    assert head(z).shape == (5, 36, 128) and head(z).min() >= 0
    monkeypatch.setattr(map_head, "_frames", None)  # not trained again
    assert torch.equal(map_head.train("smoke")(z), head(z))
    history = head.manifest["history"]
    assert history[-1]["train_error"] > 0 and head.manifest["wall_time_s"] > 0


def test_a_guess_is_compared_with_what_m_saw_in_training(head):
    found = head.manifest["test"]
    m = mdn_rnn.load("smoke", "spatial")
    # Real maps give the likelihood that M's own manifest tells; a worse map need not.
    assert found["nll"]["real"] == pytest.approx(m.manifest["test"]["nll"], rel=1e-5)
    assert set(found["nll"]) == set(found["r2"]) == {"real", "frames", "head"}
    assert found["nll"]["head"] != found["nll"]["frames"] != found["nll"]["real"]


def test_a_few_updates_come_closer_to_the_maps(head):
    profile = get_profile("smoke")
    rollouts = dataset.open_rollouts(profile)
    latents = dataset.encode_latents(profile, vae.load(profile))
    mu, sigma, maps = map_head._frames(rollouts, latents, "train", 2)
    z = mu + sigma * torch.randn(mu.shape)
    torch.manual_seed(0)
    fresh = map_head.MapHead(32)  # as it was when its training began
    with torch.inference_mode():
        before, after = ((h(z) - maps.float()).square().mean() for h in (fresh, head))
    assert after < 0.9 * before


def test_a_dream_looks_through_it_or_through_frames(head):
    world = dream.load("smoke", "spatial")
    assert world.head is not None and dream.load("smoke", "none").head is None
    z = torch.randn(4, 32)
    with torch.inference_mode():
        assert torch.equal(world.look(z), head(z))
        assert dream.load("smoke", "none").look(z) is None
        path = map_head.path_of(get_profile("smoke"))
        path.unlink()
        slow = dream.load("smoke", "spatial")
        v = slow.v
        assert torch.equal(slow.look(z), v.encode(v.decode(z), with_map=True)[2])
    dreams = []
    for each in (world, world, slow):
        dreams.append(dream.replay(each, np.zeros((3, 97), np.float32), seed=3, steps=12)[1])
    assert np.array_equal(dreams[0], dreams[1]) and not np.array_equal(dreams[0], dreams[2])


def test_a_sequence_can_be_imagined_through_it(head):
    m, z, actions = mdn_rnn.load("smoke", "spatial"), torch.randn(20, 32), torch.rand(20, 3)
    dreamt, rewards = dream.imagine(m, z, actions, warm_up=5, head=head)
    assert torch.equal(dreamt[:6], z[:6]) and not torch.equal(dreamt[6:], z[6:])
    assert rewards.shape == (20,)
    # Before it is left alone it may look at real maps, and then remembers something else.
    seen = torch.rand(6, 36, 128)
    other, _ = dream.imagine(m, z, actions, warm_up=5, head=head, maps=seen)
    assert torch.equal(other[:6], z[:6]) and not torch.equal(other[6:], dreamt[6:])


def test_a_search_in_a_dream_keeps_to_one_head(head):
    with ThreadPoolExecutor(1) as pool:
        evolution.evolve_in_dream("smoke", "spatial", executor=pool, workers=1)
        map_head.path_of(get_profile("smoke")).unlink()
        with pytest.raises(AwmError, match="map_head"):
            evolution.evolve_in_dream("smoke", "spatial", executor=pool, workers=1)


def test_what_is_missing_is_said(workspace):
    with pytest.raises(AwmError, match="awm train map-head --profile smoke"):
        map_head.load("smoke")
    assert not config.data_dir("smoke").exists()
