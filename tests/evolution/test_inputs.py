"""What C's inputs are standardised by."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.evolution.inputs import input_spread, input_statistics, inputs_seen
from awm.ids import Memory
from awm.store import Workspace
from awm.training import mdn_rnn, vae


@pytest.mark.parametrize("kind", ["V", "plain", "spatial"])
def test_c_sees_z_and_the_state_before_the_step(kind, smoke):
    rollouts, latents = open_rollouts(smoke), encode_latents(smoke, vae.load(smoke))
    for episode, seen in inputs_seen(smoke, Memory(kind), "test"):
        steps = int(rollouts.lengths[episode])
        z, action = latents.mu[episode, :steps], rollouts.read("actions", episode)
        assert np.allclose(seen[:, :32], z)
        if kind == "V":
            assert seen.shape == (steps, 32)
            continue
        m = mdn_rnn.load(smoke, Memory(kind))
        state = m.initial_state(1)
        maps = torch.from_numpy(latents.maps(episode)).float()
        with torch.inference_mode():
            for t in range(10):
                assert np.allclose(seen[t, 32:], state.h[0], atol=1e-5)
                row = torch.from_numpy(z[t : t + 1]), torch.from_numpy(action[t : t + 1])
                state, _ = m.step(*row, state, maps[t : t + 1])


def test_the_spread_is_that_of_the_training_episodes(smoke):
    mean, deviation = input_spread(smoke, Memory())
    seen = np.concatenate([x for _, x in inputs_seen(smoke, Memory(), "train")])
    assert np.allclose(mean, seen.mean(0)) and np.allclose(deviation, seen.std(0))


@pytest.mark.parametrize("smallest", [0.2, 0.01])
def test_small_deviations_are_not_blown_up(smallest, smoke):
    evolution = replace(smoke.profile.evolution, smallest_deviation=smallest)
    ws = Workspace(replace(smoke.profile, evolution=evolution), smoke.root)
    mean, deviation = input_spread(smoke, Memory())
    found = input_statistics(ws, Memory())
    assert np.array_equal(found.mean, mean)
    assert np.array_equal(found.deviation, np.maximum(deviation, smallest))
    assert (found.deviation == 0.2).any() or smallest < 0.2
