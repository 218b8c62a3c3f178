"""Latents: V's view of every frame, made again when V is another."""

import shutil

import numpy as np
import pytest

from awm import stages
from awm.data import arrays
from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.errors import AwmError
from awm.training import vae


def test_latents_are_the_posterior_of_every_frame(smoke):
    v, rollouts = vae.load(smoke), open_rollouts(smoke)
    latents = encode_latents(smoke, v)
    assert len(latents.mu) == len(rollouts)
    for i in (0, len(rollouts) - 1):
        mu, logvar, maps = v.encode_frames(rollouts.episode(i).frames)
        assert np.allclose(latents.mu[i, : len(mu)], mu, atol=1e-6)
        assert np.allclose(latents.logvar[i, : len(mu)], logvar, atol=1e-6)
        assert np.allclose(latents.maps(i, slice(3, 9)), maps[3:9], rtol=1e-3, atol=1e-3)


def test_latents_are_encoded_once_and_again_when_v_changes(smoke_copy, monkeypatch):
    v = vae.load(smoke_copy)
    first = encode_latents(smoke_copy, v)
    with monkeypatch.context() as patch:
        patch.setattr(v, "encode_frames", None)
        encode_latents(smoke_copy, v)
    v.posterior.bias.data += 1
    smoke_copy.save(stages.vae(smoke_copy.profile), v.state_dict())
    second = encode_latents(smoke_copy, vae.load(smoke_copy))
    steps = int(open_rollouts(smoke_copy).lengths[0]) + 1
    assert np.allclose(second.mu[0, :steps], first.mu[0, :steps] + 1, atol=1e-5)


def test_an_encoding_that_was_killed_is_begun_anew(smoke_copy, monkeypatch):
    v, path = vae.load(smoke_copy), smoke_copy.own / "latents.zarr"
    whole = encode_latents(smoke_copy, v).mu
    shutil.rmtree(path)
    original, seen = v.encode_frames, []

    def killed(frames):
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return original(frames)

    monkeypatch.setattr(v, "encode_frames", killed)
    with pytest.raises(KeyboardInterrupt):
        encode_latents(smoke_copy, v)
    assert "source" not in arrays.opened(str(path)).attrs
    assert np.array_equal(encode_latents(smoke_copy, v).mu, whole)


def test_a_damaged_episode_is_said(smoke_copy):
    shutil.rmtree(smoke_copy.own / "latents.zarr")
    chunk = smoke_copy.own / "rollouts.zarr/frames/c/2/0/0/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    with pytest.raises(AwmError, match="episode 2, is damaged"):
        encode_latents(smoke_copy, vae.load(smoke_copy))
