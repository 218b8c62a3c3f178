"""How far dreams can be trusted: where they begin, what is averaged, and what is compared."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from awm import stages, store
from awm.errors import AwmError
from awm.ids import Memory
from awm.models.vae import VAE
from awm.study import dream_error as errors
from awm.study import statistics
from awm.study.dream_error import dream_error, error_by_horizon
from awm.training import feature_map, mdn_rnn, vae


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


def ramp(count=6, length=60, zoom=20):
    """Episodes whose codes rise by one a step, and whose rewards change after `zoom` steps."""
    mu = np.zeros((count, length + 1, 32), np.float32)
    mu += np.arange(length + 1, dtype=np.float32)[None, :, None]
    frames = np.zeros((length + 1, 64, 64, 3), np.uint8)
    read = []

    def from_disk(name, index):
        read.append(index)
        return frames

    rollouts = SimpleNamespace(
        lengths=np.full(count, length), indices=lambda split: np.arange(count), read=from_disk
    )
    return SimpleNamespace(
        rollouts=rollouts,
        read=read,
        latents=SimpleNamespace(mu=mu),
        actions=[np.zeros((length, 3), np.float32)] * count,
        rewards=[np.where(np.arange(length) < zoom, 100.0, 0.5).astype(np.float32)] * count,
    )


def measured(data, models, **options):
    torch.manual_seed(0)
    v = VAE()
    v.manifest = {"kl_per_latent": [1.0, 0, 0, 1.0] + [0] * 28}
    return error_by_horizon(v.eval(), models, data, **options)


def test_dreams_begin_after_their_warm_up_with_what_happened_before_it():
    """An M that foresees all errs nowhere; the guesses err as they must, whenever it begins."""
    found = measured(ramp(), {"plain": [Oracle(0.5)]}, horizon=15, warm_up=25)
    assert found["steps"] == [1, 5, 10, 15] and found["dreams"] == 24
    assert found["models"]["plain"]["mean"]["z"] == [0, 0, 0, 0]
    assert found["models"]["plain"]["mean"]["return"] == [0, 0, 0, 0]
    assert found["persistence"]["z"] == [2 * n**2 for n in found["steps"]], "two latents count"
    assert found["models"]["plain"]["mean"]["frame"] != found["persistence"]["frame"]
    # No dream's own steps lie in the zoom, where rewards were others.
    wrong = measured(ramp(), {"plain": [Oracle(1.5)]}, horizon=15, warm_up=25)
    assert wrong["models"]["plain"]["mean"]["return"] == found["steps"]


def test_they_begin_at_many_moments_and_the_same_for_every_m():
    data = ramp()
    data.rewards = [np.random.default_rng(i).normal(size=60).astype(np.float32) for i in range(6)]
    ms = {"plain": [Oracle(0.0)] * 2, "wide": [Oracle(0.0)]}
    found = measured(data, ms, horizon=5, warm_up=9)
    one, two = found["models"]["plain"]["trainings"]
    assert one == two == found["models"]["wide"]["trainings"][0]
    again = measured(data, {"plain": [Oracle(0.0)]}, horizon=5, warm_up=9)
    assert again["models"]["plain"]["trainings"] == [one]
    single = measured(data, {"plain": [Oracle(0.0)]}, horizon=5, warm_up=9, begun=1)
    assert single["models"]["plain"]["trainings"] != [one] and single["dreams"] == 6


def test_the_interval_is_over_trainings():
    ms = {"plain": [Oracle(c) for c in (1.5, 2.0, 3.5)], "wide": [Oracle(0.5)]}
    found = measured(ramp(), ms, horizon=5, warm_up=25)
    plain, at = found["models"]["plain"], found["steps"].index(5)
    each = [curve["return"][at] for curve in plain["trainings"]]
    assert each == [5, 7.5, 15]
    expected = statistics.mean_of_runs(each)
    ends = [plain[key]["return"][at] for key in ("mean", "low", "high")]
    assert ends == pytest.approx((expected.value, expected.low, expected.high), rel=1e-3)
    assert "low" not in found["models"]["wide"], "one training has no interval"


def test_ms_are_compared_after_a_second_with_the_control():
    curves = {
        name: {"trainings": [{"return": [0.0, value]} for value in values]}
        for name, values in {"plain": (9, 9.1, 9.2), "wide": (5, 5.1, 5.2)}.items()
    }
    found = {"steps": [1, 50], "persistence": {"return": [0.0, 0.0]}, "models": curves}
    gap = errors._less_control(found, "wide")["plain"]["return"]
    assert gap["mean"] == pytest.approx(4) and 0 < gap["low"] < 4 < gap["high"]
    assert errors._less_control(found | {"steps": [1, 45]}, "wide") == {}
    one = {name: {"trainings": each["trainings"][:1]} for name, each in curves.items()}
    assert errors._less_control(found | {"models": one}, "wide") == {}


def test_episodes_without_room_are_left_out_or_refused():
    data = ramp()
    data.rollouts.lengths[2:] = 20
    assert measured(data, {}, horizon=15, warm_up=25)["dreams"] == 8 and set(data.read) == {0, 1}
    with pytest.raises(AwmError, match="shorter"):
        measured(data, {}, horizon=50, warm_up=25)


def test_how_far_dreams_can_be_trusted_is_measured_once(smoke_copy):
    kinds = ("plain", "spatial")
    found = dream_error(smoke_copy, kinds, steps=20)
    assert found["steps"][-1] == 20 and set(found["models"]) == set(kinds)
    assert found["control"] == "plain" and len(found["models"]["spatial"]["trainings"]) == 2
    assert "feature_map" in found["inputs"], "it dreams through the head"
    # Training by training comes to the same as all at once.
    ms = {k: [mdn_rnn.load(smoke_copy, Memory(k, s)) for s in (0, 1)] for k in kinds}
    how = {key: found["settings"][key] for key in ("horizon", "warm_up")}
    head, data = feature_map.load(smoke_copy), mdn_rnn.sequences(smoke_copy)
    whole = error_by_horizon(vae.load(smoke_copy), ms, data, head=head, **how)
    assert {key: found[key] for key in whole} == whole
    path = smoke_copy.own / "study/dream_error.json"
    store.write_json(path, store.read_json(path) | {"persistence": "as it was recorded"})
    assert dream_error(smoke_copy, kinds, steps=20)["persistence"] == "as it was recorded"
    assert dream_error(smoke_copy, ("plain",), steps=5)["steps"] == [1, 5]
    stage = stages.mdn_rnn(smoke_copy.profile, Memory("plain", 1))
    for suffix in (".safetensors", ".json"):
        (smoke_copy.own / stage.name).with_suffix(suffix).unlink()
    with pytest.raises(AwmError, match="--kind plain --seed 1"):
        dream_error(smoke_copy, ("plain",), steps=10)
