"""The original's faults are faults: measured beside what is right, they differ as they should."""

import numpy as np
import pytest

from awm.ids import Agent, Memory
from awm.models.vae import VAE
from awm.study import faults as study
from awm.study.faults import faults, sampling, softmax, validation
from awm.training import vae
from awm.worlds.crew import Crew
from awm.worlds.lanes import Outcome


def test_the_faults_are_measured_once(smoke_copy, threads, monkeypatch):
    monkeypatch.setattr(study, "validation", lambda ws: {"right": {}, "wrong": {}})
    found = faults(smoke_copy, Agent())
    assert set(found["ranking"]["agreement"]) == {"1"}, "of two tracks, one leaves one other"
    assert found["memory"]["tracks"] == 2
    assert {"sampling", "softmax", "validation"} <= found.keys()
    monkeypatch.setattr(study, "sampling", lambda ws: pytest.fail("it has been measured"))
    assert faults(smoke_copy, Agent()) == found


def test_attention_over_the_batch_hangs_on_the_neighbours(smoke):
    found = softmax(smoke, Memory("spatial"))
    right, wrong = found["right"], found["wrong"]
    assert right["sum"] == pytest.approx([1, 1]) and right["change"] == pytest.approx(0, abs=1e-5)
    assert wrong["change"] > 1e-3 and wrong["sum"] != pytest.approx([1, 1], abs=1e-3)


def test_the_sign_of_a_clear_latent_is_a_coin_toss_when_sampled_wrongly(smoke, monkeypatch):
    """Codes two deviations from zero, known to a tenth: the right sample never errs on the side."""
    v = vae.load(smoke)

    def clear_codes(self, frames):
        mu = np.where(np.random.default_rng(0).random((len(frames), v.z_size)) < 0.5, -2, 2)
        return mu.astype(np.float32), np.full(mu.shape, 2 * np.log(0.1), np.float32), mu

    monkeypatch.setattr(VAE, "encode_frames", clear_codes)
    monkeypatch.setattr(VAE, "informative", property(lambda v: list(range(v.z_size))))
    found = sampling(smoke)
    assert found["right"]["sign"] == 1
    assert found["wrong"]["sign"] == pytest.approx(0.5, abs=0.03)
    monkeypatch.setattr(VAE, "informative", property(lambda v: []))
    assert sampling(smoke)["right"]["sign"] is None, "no latent is clear"


def test_validation_that_trains_flatters_itself(smoke):
    found = validation(smoke, updates=30, batch=2)
    gain = {k: found["right"][k] - found["wrong"][k] for k in ("validation", "test")}
    assert gain["validation"] > 0.5, "its score on what it was shown is better"
    assert gain["test"] < gain["validation"]


@pytest.mark.parametrize(("clean", "expected"), [(True, 1.0), (False, None)])
def test_few_tracks_rank_as_well_as_returns_differ(clean, expected, smoke, threads, monkeypatch):
    """Candidates that differ alike on every track, and candidates that all tie."""

    def drive(self, place, layers, jobs):
        return [
            Outcome(j.candidate, j.seed, float(j.candidate * clean + j.seed % 100), 9, 0.1, False)
            for j in jobs
        ]

    monkeypatch.setattr(Crew, "drive", drive)
    found = study.ranking(smoke, Agent(), candidates=6)
    assert found["candidates"] == 6
    assert found["agreement"] == {"1": expected and pytest.approx(expected)}


def test_a_memory_is_forgotten_in_one_of_two_runs(smoke, threads, monkeypatch):
    def drive(self, place, layers, jobs):
        earned = 5.0 if place.forgetful else 9.0
        return [Outcome(j.candidate, j.seed, earned, 9, 0.1, False) for j in jobs]

    monkeypatch.setattr(Crew, "drive", drive)
    assert study.memory(smoke, Agent()) == {"right": 9, "wrong": 5, "tracks": 2}
