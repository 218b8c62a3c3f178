"""C, the lanes, evolution and evaluation: exact where exactness is promised."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from awm import (
    config,
    controller,
    evaluation,
    evolution,
    mdn_rnn,
    names,
    provenance,
    publish,
    rollout,
    vae,
)
from awm.config import get_profile
from awm.controller import Inputs, act
from awm.errors import AwmError
from awm.rollout import Job
from awm.racing.car_racing import FastCarRacing


def random_layers(n, inputs=32 + 64, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, inputs + 1)).astype(np.float32) * 0.3


def without_times(log):
    return [{k: v for k, v in e.items() if k not in ("seconds", "record")} for e in log]


def test_evaluation_writes_what_a_sceptic_asks_for(smoke_copy, monkeypatch):
    monkeypatch.setattr(rollout, "MAX_EPISODE_STEPS", 60)
    monkeypatch.setattr(
        rollout, "workers", lambda count=None: _threads()
    )  # so that the patch reaches the loop
    result = evaluation.evaluate("smoke", "none", episodes=3, seed=5)
    path = config.data_dir("smoke") / "evaluations/other/none-fast-3-from-5.json"
    assert provenance.read_json(path) == json.loads(json.dumps(result))
    assert result["seeds"] == [config.TEST_SEEDS + 5 + i for i in range(3)]
    assert result["mean"] == pytest.approx(np.mean(result["returns"]))
    low, high = result["ci95"]
    assert low <= result["mean"] <= high
    for key in ("commit", "config", "wall_time_s", "controller_hash", "date"):
        assert key in result
    monkeypatch.setattr(rollout, "drive", None)  # not driven again
    assert evaluation.evaluate("smoke", "none", episodes=3, seed=5) == result
    with pytest.raises(AwmError, match="no controller 'best' .there is none"):
        evaluation.evaluate("smoke", "best")


class _threads(ThreadPoolExecutor):
    def __init__(self):
        super().__init__(1)


def jobs_key(outcome):
    return (outcome.candidate, outcome.seed)


def test_a_claim_is_driven_again(smoke_copy, monkeypatch):
    monkeypatch.setattr(rollout, "MAX_EPISODE_STEPS", 12)
    monkeypatch.setattr(rollout, "workers", lambda count=None: _threads())
    profile = get_profile("smoke")
    found = evaluation.recheck(profile, "none")
    assert found["same"] == 1 and found["within"] and found["again"] == found["claimed"]
    path = config.data_dir(profile) / "evaluations/none-reference.json"
    claim = provenance.read_json(path)
    provenance.write_json(path, {**claim, "returns": [900.0, 901.0], "mean": 900.5})
    found = evaluation.recheck(profile, "none")
    assert found["same"] == 0 and not found["within"]
    assert "OUTSIDE" in evaluation.verdict(found)
    assert provenance.read_json(path)["mean"] == 900.5, "the claim stays what it was"


def test_publishing_copies_what_others_need(smoke_copy):
    profile = get_profile("smoke")
    run = config.data_dir(profile) / "vae.checkpoint.safetensors"
    run.write_bytes(b"half done")
    committed = config.pretrained_dir() / "smoke"
    copied = {path.relative_to(committed).as_posix() for path in publish.publish(profile)}
    assert {"vae.safetensors", "vae.json", "controllers/none.safetensors"} <= copied
    assert "evolution/none.jsonl" in copied and not any("checkpoint" in name for name in copied)
    assert publish.publish(profile) == [], "nothing has changed"
    shutil.rmtree(config.data_dir(profile))
    assert controller.load(profile, "none").model == "none", "found where it is committed"
    with pytest.raises(AwmError, match="nothing in"):
        publish.publish(profile)


def test_nothing_damaged_is_published(smoke_copy):
    path = config.data_dir("smoke") / "mdn_rnn-none.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AwmError, match="Train it again"):
        publish.publish("smoke")
    assert not config.pretrained_dir().exists()
