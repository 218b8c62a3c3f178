"""The original's faults are faults: measured beside what is right, they differ as they should."""

import numpy as np
import pytest

from awm import faults, rollout, vae
from awm.config import get_profile


def test_the_faults_are_measured_once(smoke_copy, short_laps, monkeypatch):
    monkeypatch.setattr(faults, "validation", lambda profile: {"right": {}, "wrong": {}})
    found = faults.measure("smoke", "none")
    right, wrong = found["softmax"]["right"], found["softmax"]["wrong"]
    assert right["sum"] == pytest.approx([1, 1]) and right["change"] == pytest.approx(0, abs=1e-5)
    assert wrong["change"] > 1e-3
    assert set(found["ranking"]["agreement"]) == {"1"}, "of two tracks, one leaves one other"
    assert found["memory"]["tracks"] == 2
    monkeypatch.setattr(faults, "sampling", lambda profile: pytest.fail("it has been measured"))
    assert faults.measure("smoke", "none") == found


def test_a_wrong_sample_loses_the_sign(smoke):
    found = faults.sampling(get_profile("smoke"))
    assert found["wrong"]["error"] >= found["right"]["error"] * 0.99


def test_the_sign_of_a_clear_latent_is_a_coin_toss_when_sampled_wrongly(smoke, monkeypatch):
    """Codes two deviations from zero, known to a tenth: the right sample never errs on the side."""
    v = vae.load("smoke")
    z_size = len(v.manifest["kl_per_latent"])

    def clear_codes(frames):
        mu = np.where(np.random.default_rng(0).random((len(frames), z_size)) < 0.5, -2, 2)
        return mu.astype(np.float32), np.full(mu.shape, 2 * np.log(0.1), np.float32), mu

    monkeypatch.setattr(v, "encode_frames", clear_codes)
    v.manifest = {**v.manifest, "kl_per_latent": [5.0] * z_size}
    monkeypatch.setattr(vae, "load", lambda profile: v)
    found = faults.sampling(get_profile("smoke"))
    assert found["right"]["sign"] == 1
    assert found["wrong"]["sign"] == pytest.approx(0.5, abs=0.03)


def test_validation_that_trains_flatters_itself(smoke):
    found = faults.validation(get_profile("smoke"), updates=30, batch=2)
    gain = {k: found["right"][k] - found["wrong"][k] for k in ("validation", "test")}
    assert gain["validation"] > 0.5, "its score on what it was shown is better"
    assert gain["test"] < gain["validation"]


def test_a_forgetful_agent_drives_otherwise_and_starts_alike(smoke):
    import torch

    from awm.rollout import WorldModel

    v, m = rollout._load_models(get_profile("smoke"), "none")
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 64, 64, 3), dtype=np.uint8)
    seen = {}
    for forgetful in (False, True):
        world = WorldModel(v, m, 16, forgetful)
        steps = []
        with torch.inference_mode():
            for picture in frames:
                world.observe(picture)
                world.advance(torch.zeros(16, 3))
                steps.append(world.state.h.clone())
        seen[forgetful] = steps
    assert torch.equal(seen[True][0], seen[False][0])
    assert not torch.allclose(seen[True][1], seen[False][1])
    world = WorldModel(v, m, 16)
    with torch.inference_mode():
        world.observe(frames[2])
        world.advance(torch.zeros(16, 3))
    assert torch.equal(seen[True][2], world.state.h), "only the present frame and action"
