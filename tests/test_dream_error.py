"""How far dreams can be trusted: where they begin, what is averaged, and what is compared."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from awm import config, dataset, dream, mdn_rnn, provenance, statistics, vae
from awm.config import get_profile
from awm.errors import AwmError


class Oracle:
    """An "M" that knows what comes: z' is z plus one, and the reward `expected`."""

    needs_map = False

    def __init__(self, expected):
        self.expected = expected

    def initial_state(self, batch):
        return self

    def step(self, z, action, state, seen=None):
        self.z, self.h = z, torch.zeros(len(z))
        return self, None

    def predict(self, h):
        self.reward = torch.full((len(self.z),), self.expected)
        return self

    def sample(self, temperature, generator):
        return self.z + 1


class Ramp:
    """Episodes whose codes rise by one a step, and whose rewards change after `zoom` steps."""

    def __init__(self, count=6, length=60, zoom=20):
        self.lengths = np.full(count, length)
        self.mu = np.zeros((count, length + 1, 32), np.float32)
        self.mu += np.arange(length + 1, dtype=np.float32)[None, :, None]
        self.rewards = [np.where(np.arange(length) < zoom, 100.0, 0.5).astype(np.float32)] * count
        self.read = []

    def indices(self, split):
        return np.arange(len(self.lengths))

    def column(self, name):
        actions = [np.zeros((n, 3), np.float32) for n in self.lengths]
        return actions if name == "actions" else self.rewards

    def episode(self, index):
        self.read.append(index)
        frames = np.zeros((len(self.mu[0]), 64, 64, 3), np.uint8)
        return type("Episode", (), {"frames": frames})


def measured(ramp, models, **options):
    torch.manual_seed(0)
    return dream.error_by_horizon(vae.VAE(), models, ramp, ramp, [0, 3], **options)


def test_dreams_begin_after_their_warm_up_with_what_happened_before_it():
    """An M that foresees all errs nowhere; the guesses err as they must, whenever it begins."""
    found = measured(Ramp(), {"none": [Oracle(0.5)]}, horizon=15, warm_up=25)
    assert found["steps"] == [1, 5, 10, 15] and found["dreams"] == 24
    assert found["models"]["none"]["mean"]["z"] == [0, 0, 0, 0]
    assert found["models"]["none"]["mean"]["return"] == [0, 0, 0, 0]
    assert found["still"]["z"] == [2 * n**2 for n in found["steps"]]
    # No dream's own steps lie in the zoom, where rewards were others.
    wrong = measured(Ramp(), {"none": [Oracle(1.5)]}, horizon=15, warm_up=25)
    assert wrong["models"]["none"]["mean"]["return"] == found["steps"]


def test_they_begin_at_many_moments_and_the_same_for_every_m():
    ramp = Ramp()
    ramp.rewards = [np.random.default_rng(i).normal(size=60).astype(np.float32) for i in range(6)]
    found = measured(ramp, {"none": [Oracle(0.0)] * 2, "wide": [Oracle(0.0)]}, horizon=5, warm_up=9)
    one, two = found["models"]["none"]["trainings"]
    assert one == two == found["models"]["wide"]["trainings"][0]
    again = measured(ramp, {"none": [Oracle(0.0)]}, horizon=5, warm_up=9)
    assert again["models"]["none"]["trainings"] == [one]
    single = measured(ramp, {"none": [Oracle(0.0)]}, horizon=5, warm_up=9, begun=1)
    assert single["models"]["none"]["trainings"] != [one] and single["dreams"] == 6


def test_the_interval_is_over_trainings():
    found = measured(
        Ramp(),
        {"none": [Oracle(c) for c in (1.5, 2.0, 3.5)], "wide": [Oracle(0.5)]},
        horizon=5,
        warm_up=25,
    )
    none, at = found["models"]["none"], found["steps"].index(5)
    each = [curve["return"][at] for curve in none["trainings"]]
    assert each == [5, 7.5, 15]
    expected = statistics.mean_of_runs(each)
    ends = [none[key]["return"][at] for key in ("mean", "low", "high")]
    assert ends == pytest.approx((expected.value, expected.low, expected.high), rel=1e-3)
    assert "low" not in found["models"]["wide"], "one training has no interval"


def test_ms_are_compared_after_a_second_with_the_control():
    curves = {
        name: {"trainings": [{"return": [0.0, value]} for value in values]}
        for name, values in {"none": (9, 9.1, 9.2), "wide": (5, 5.1, 5.2)}.items()
    }
    found = {"steps": [1, 50], "still": {"return": [0.0, 0.0]}, "models": curves}
    gap = dream._less_control(found, "wide")["none"]["return"]
    assert gap["mean"] == pytest.approx(4) and 0 < gap["low"] < 4 < gap["high"]
    assert dream._less_control(found | {"steps": [1, 45]}, "wide") == {}
    one = {name: {"trainings": each["trainings"][:1]} for name, each in curves.items()}
    assert dream._less_control(found | {"models": one}, "wide") == {}


def test_episodes_without_room_are_left_out_or_refused():
    ramp = Ramp()
    ramp.lengths[2:] = 20
    assert measured(ramp, {}, horizon=15, warm_up=25)["dreams"] == 8 and set(ramp.read) == {0, 1}
    with pytest.raises(AwmError, match="shorter"):
        measured(ramp, {}, horizon=50, warm_up=25)


def test_several_dreams_at_once_are_those_that_one_dreams_alone(smoke):
    profile = get_profile("smoke")
    rollouts = dataset.open_rollouts(profile)
    z = torch.from_numpy(dataset.encode_latents(profile, vae.load(profile)).mu[:2, :12])
    actions = torch.from_numpy(np.stack([rollouts.column("actions")[i][:12] for i in (0, 1)]))
    m = mdn_rnn.load(profile, "temporal")
    _, together = dream.imagine(m, z, actions, warm_up=11)
    for row in (0, 1):
        _, alone = dream.imagine(m, z[row], actions[row], warm_up=11)
        assert torch.allclose(together[row], alone, atol=1e-5)


def test_how_far_dreams_can_be_trusted_is_measured_once(smoke_copy):
    profile, kinds = replace(get_profile("smoke"), mdn_seeds=1), ("none", "temporal")
    found = dream.horizon(profile, kinds, steps=20)
    assert found["steps"][-1] == 20 and set(found["models"]) == set(kinds)
    path = config.data_dir("smoke") / "dream-horizon.json"
    provenance.write_json(path, {**provenance.read_json(path), "still": "as it was recorded"})
    assert dream.horizon(profile, kinds, steps=20)["still"] == "as it was recorded"
    assert dream.horizon(profile, kinds, steps=5)["steps"] == [1, 5]
    with pytest.raises(AwmError, match="--seed 1"):
        dream.horizon(replace(profile, mdn_seeds=2), kinds)
