"""What M's likelihood is worth: beside simple predictors, with each attention, and for rewards."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from awm import stages, store
from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.errors import AwmError
from awm.ids import PLAIN, Memory
from awm.study import likelihood
from awm.study.likelihood import attention_weights, control_of, gains, reward_quality
from awm.training import mdn_rnn, vae


def manifest(ws, memory):
    return ws.manifest(stages.mdn_rnn(ws.profile, memory))


def retold(ws, name, **changes):
    """Change a record on disk, to see whether it is read again."""
    path = ws.own / f"study/{name}.json"
    store.write_json(path, store.read_json(path) | changes)


# Simple predictors.


def test_baselines_are_likelihoods_of_the_same_sequences(smoke_copy):
    found = likelihood.baselines(smoke_copy)
    for name in ("persistence", "linear_gaussian", "untrained", "plain"):
        assert all(
            math.isfinite(found[name][key])
            for key in ("nll", "nll_informative", "validation_nll", "reward_r2")
        )
    assert found["linear_gaussian"]["nll"] < found["persistence"]["nll"]
    assert found["plain"]["nll"] == manifest(smoke_copy, PLAIN)["test"]["nll"]
    echo = found["untrained"]
    assert echo["faint_units"] == echo["units"] == 64 and 0 < echo["deviation"] < 0.2
    retold(smoke_copy, "baselines", plain="as it was recorded")
    assert likelihood.baselines(smoke_copy)["plain"] == "as it was recorded"


def test_simple_predictors_are_torchs_gaussians_and_least_squares(smoke):
    """Persistence and the linear model, written out on all test steps."""
    found = likelihood.baselines(smoke)
    data, batch = mdn_rnn.sequences(smoke), smoke.profile.mdn_rnn.batch

    def steps(batches):
        z, a, reward, after = [], [], [], []
        for b in batches:
            there = b.mask > 0
            z.append(b.z[:, :-1][there])
            a.append(b.action[there])
            reward.append(b.reward[there])
            after.append(b.z[:, 1:][there])
        return map(torch.cat, (z, a, reward, after))

    z, a, reward, after = steps(data.training_batch(batch, False, 0, n) for n in range(24))
    x = torch.cat([z, a, torch.ones(len(z), 1)], 1).double()
    weights = torch.linalg.lstsq(x, torch.cat([after, reward[:, None]], 1).double()).solution
    drift, spread = (after - z).std(0), (after - x @ weights[:, :-1]).std(0)
    z, a, earned, after = steps(data.held_out("test", False))
    x = torch.cat([z, a, torch.ones(len(z), 1)], 1).double()
    informative = found["informative"]
    for name, mean, deviation, guess in (
        ("persistence", z, drift, reward.mean()),
        ("linear_gaussian", x @ weights[:, :-1], spread, x @ weights[:, -1]),
    ):
        exact = -torch.distributions.Normal(mean, deviation).log_prob(after).mean(0)
        assert found[name]["nll"] == pytest.approx(float(exact.sum()), rel=1e-3)
        assert found[name]["nll_informative"] == pytest.approx(
            float(exact[informative].sum()), rel=1e-3, abs=1e-3
        )
        r2 = 1 - (earned - guess).square().mean() / earned.var(unbiased=False)
        assert found[name]["reward_r2"] == pytest.approx(float(r2), abs=0.02)


# Attention.


def test_attention_is_compared_training_by_training(smoke_copy):
    ws = smoke_copy
    found = likelihood.attentions(ws)
    assert list(found["nll"]) == list(ws.profile.predictors)
    assert found["episodes"] == len(open_rollouts(ws).indices("test"))
    for kind, each in found["nll"].items():
        assert len(each) == 2 and each[0] != each[1]
        for seed, nll in enumerate(each):
            assert nll == manifest(ws, Memory(kind, seed))["test"]["nll"]
    compared = gains(found["nll"])
    assert list(compared) == ["feature", "spatial", "temporal", "even"]
    retold(ws, "attentions", episodes="as it was recorded")
    assert likelihood.attentions(ws)["episodes"] == "as it was recorded"
    # Another training in the place of one of them: told anew.
    stage = stages.mdn_rnn(ws.profile, Memory("feature", 1))
    tensors, other = ws.load(stages.mdn_rnn(ws.profile, Memory("feature")))
    ws.save(stage, tensors, test=other["test"])
    again = likelihood.attentions(ws)
    assert again["episodes"] == found["episodes"]
    assert again["nll"]["feature"] == [found["nll"]["feature"][0]] * 2
    # A committed manifest is enough; none is not.
    (ws.own / "study/attentions.json").unlink()
    (ws.own / stage.name).unlink()
    told = (ws.own / stage.name).with_suffix(".json")
    (ws.committed / "mdn_rnn").mkdir(parents=True)
    told = told.rename(ws.committed / "mdn_rnn" / told.name)
    assert likelihood.attentions(ws)["nll"] == again["nll"]
    told.unlink()
    (ws.own / "study/attentions.json").unlink()
    with pytest.raises(AwmError, match="--kind feature --seed 1"):
        likelihood.attentions(ws)


def test_ends_are_counted_over_all_trainings(smoke_copy):
    ws = smoke_copy
    for seed, (expected, found) in enumerate(((3, 2), (1, 0))):
        stage = stages.mdn_rnn(ws.profile, Memory("plain", seed))
        tensors, told = ws.load(stage)
        ends = {"true": 4, "expected": expected, "found": found}
        ws.save(stage, tensors, test=told["test"] | {"ends": ends})
    found = likelihood.ends(ws)
    assert (found["steps"], found["threshold"]) == (16, 0.5)
    assert list(found["kinds"]) == list(ws.profile.predictors)
    assert found["kinds"]["plain"] == {
        "true": 4, "found": [2, 0], "false_alarms": [1, 1], "precision": 0.5, "recall": 0.25,
    }  # fmt: skip
    assert found["kinds"]["wide"]["recall"] is None, "no test episode of smoke ends"
    # Manifests of before ends were counted do not tell.
    (ws.own / "study/ends.json").unlink()
    ws.save(stage, tensors, test={"nll": 1.0})
    assert "plain" not in likelihood.ends(ws)["kinds"]


def test_attention_is_compared_with_an_m_of_equal_size():
    nll = {"plain": [31.0, 31.1], "feature": [30.2, 30.21], "temporal": [30.4, 30.5]}
    assert control_of(nll) == "plain"
    nll["wide"] = [30.4, 30.42]
    assert control_of(nll) == "wide"
    found = gains(nll)
    assert list(found) == ["feature", "temporal"], "plain M is neither arm nor control"
    assert found["feature"].value == pytest.approx(-0.205) and found["feature"].sign == -1
    assert gains({kind: each[:1] for kind, each in nll.items()}) == {}, "one training each"


@pytest.mark.parametrize(("kind", "items"), [("feature", 35), ("spatial", 49), ("temporal", 32)])
def test_where_an_m_looks_is_told_for_every_step(kind, items, smoke):
    episode = open_rollouts(smoke).episode(0)
    weights = attention_weights(mdn_rnn.load(smoke, Memory(kind)), vae.load(smoke), episode)
    assert weights.shape == (len(episode.actions), items)
    assert weights[1:].sum(1) == pytest.approx(1, abs=1e-5)


def test_an_m_without_attention_looks_nowhere(smoke):
    with pytest.raises(AwmError, match="no attention"):
        attention_weights(mdn_rnn.load(smoke), vae.load(smoke), open_rollouts(smoke).episode(0))


def test_real_maps_are_the_best_that_m_can_look_at(smoke):
    found = likelihood.feature_maps(smoke)
    ways = {"real", "frames", "head"}
    assert found["nll"].keys() == found["r2"].keys() == ways and found["r2"]["real"] == 1
    # Real maps give the likelihood that M's own manifest tells; a guessed one need not.
    test = manifest(smoke, Memory("spatial"))["test"]
    assert found["nll"]["real"] == pytest.approx(test["nll"], rel=1e-5)
    assert len(set(found["nll"].values())) == 3
    assert max(found["r2"]["frames"], found["r2"]["head"]) < 1


def test_the_share_of_maps_that_is_explained_knows_the_mean_from_the_truth(smoke):
    rollouts, latents = open_rollouts(smoke), encode_latents(smoke, vae.load(smoke))
    i = int(rollouts.indices("test")[0])
    truth = torch.from_numpy(latents.maps(i, slice(int(rollouts.lengths[i])))).float()
    parts = iter(truth.split(256))
    found = likelihood._explained(lambda z: next(parts), rollouts, latents)
    assert found == pytest.approx(1)
    flat = likelihood._explained(lambda z: truth.mean(0).expand(len(z), -1, -1), rollouts, latents)
    assert flat == pytest.approx(0, abs=0.05)


# Rewards.


class Oracle:
    """An "M" that expects the reward it is told."""

    needs_map = False

    def __init__(self, rewards):
        self.rewards = iter(rewards)

    def __call__(self, z, action, maps):
        return next(self.rewards), None

    def predict(self, reward):
        return SimpleNamespace(reward=torch.as_tensor(reward)[None])


def test_reward_quality_knows_chance_from_foresight(smoke):
    data = mdn_rnn.sequences(smoke)
    test = data.rollouts.indices("test")
    rewards = [np.maximum(data.rewards[i], -1) for i in test]
    perfect = reward_quality(Oracle(rewards), data, windows=(1, 5))
    assert perfect["r2"] == pytest.approx({"1": 1, "5": 1})
    assert perfect["found"] == 1 and perfect["tiles"] == sum((r > 0).sum() for r in rewards)
    assert perfect["chance"] == pytest.approx(np.mean(np.concatenate(rewards) > 0))
    mean = np.concatenate(rewards).mean()
    flat = reward_quality(Oracle([np.full_like(r, mean) for r in rewards]), data, windows=(1,))
    assert flat["r2"]["1"] == pytest.approx(0, abs=1e-5)
    assert flat["ends"] == 0
    data.terminated[test[0]][-1] = True
    assert reward_quality(Oracle(rewards), data, windows=(1,))["ends"] == 1


def test_rewards_are_judged_once(smoke_copy):
    found = likelihood.rewards(smoke_copy)
    kinds = [kind for kind in smoke_copy.profile.predictors if kind != "wide"]
    assert found.keys() >= set(kinds) and set(found["plain"]["r2"]) == {"1", "5", "20", "50"}
    retold(smoke_copy, "rewards", plain="as it was recorded")
    assert likelihood.rewards(smoke_copy)["plain"] == "as it was recorded"
