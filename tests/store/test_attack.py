"""Damage of every kind of artefact is refused with a sentence, or makes no difference.

A sample of the cases; AWM_ATTACK=10000 (`make attack`) tries so many.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from awm import stages
from awm.config import PRESETS
from awm.data.latents import encode_latents
from awm.data.rollouts import ARRAYS, open_rollouts
from awm.errors import AwmError
from awm.evolution import search
from awm.ids import Agent, Memory
from awm.store import Workspace
from awm.study.evaluation import evaluate
from awm.training import loop, vae

CASES = int(os.environ.get("AWM_ATTACK", "320"))
AGENT = Agent()


class Killed(Exception):
    pass


def checkpoint_of(ws):
    """V's training, begun and killed: its checkpoint, and how to read it."""
    stage = stages.mdn_rnn(ws.profile, Memory("plain", 1))
    module = torch.nn.Linear(2, 1)

    def batch(update):
        if update == 10:
            raise Killed
        return torch.full((1, 2), float(update))

    recipe = loop.Recipe(
        20, 1e-3, batch, lambda x: {"loss": module(x).square().mean()}, checkpoint_every=10
    )
    with pytest.raises(Killed):
        loop.fit(ws, stage, module, recipe, "a line")
    path = loop._checkpoint(ws, stage)

    def read():
        fresh, others = torch.nn.Linear(2, 1), {"optimizer": Whatever(), "schedule": Whatever()}
        state = loop._resume(ws, path, stage, {"module": fresh, **others})
        return [state["history"], fresh.weight.tolist()]

    return path, read


class Whatever:
    """Takes any state."""

    def load_state_dict(self, state):
        pass


def rollouts_of(ws):
    found = open_rollouts(ws)
    columns = [found.column(name) for name in ARRAYS]
    splits = [found.indices(split).tolist() for split in ("train", "validation", "test")]
    return [columns, found.lengths.tolist(), found.seeds.tolist(), found.drivers, splits]


def latents_of(ws):
    found = encode_latents(ws, vae.load(ws))
    return [found.mu, found.logvar, [found.maps(i) for i in range(len(found.mu))]]


def same(one, other) -> bool:
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray | torch.Tensor):
        return one.shape == other.shape and bool((one == other).all())
    return one == other


@pytest.fixture(scope="module")
def artefacts(smoke, tmp_path_factory):
    """By kind: the files, how to read what they hold, and a valid file of another run."""
    ws = Workspace(smoke.profile, tmp_path_factory.mktemp("attacked"))
    shutil.copytree(smoke.own, ws.own)
    evaluate(ws, AGENT, workers=1)
    own = PRESETS["smoke"].but("mine", mdn_rnn__hidden_size=8)
    mine = Workspace.open(own, ws.root)
    agent = stages.agent(ws.profile, AGENT)
    weights = stages.mdn_rnn(ws.profile, Memory("plain"))
    laps = stages.evaluation(ws.profile, AGENT, "fast", ws.profile.test.episodes, 0)
    checkpoint, resume = checkpoint_of(ws)

    def files(name):
        return sorted(path for path in (ws.own / name).rglob("*") if path.is_file())

    found = {
        "manifest": ("vae.json", lambda: ws.manifest(stages.vae(ws.profile)), "feature_map.json"),
        "weights": (weights.name, lambda: ws.load(weights)[0], "mdn_rnn/plain-1.safetensors"),
        "controller": (agent.name, lambda: ws.load(agent)[0], "agents/V_track.safetensors"),
        "log": (f"agents/{AGENT}.jsonl", lambda: search.log_of(ws, AGENT), "agents/V_track.jsonl"),
        "evaluation": (laps.name, lambda: ws.manifest(laps), "vae.json"),
        "checkpoint": (checkpoint, resume, "vae.safetensors"),
        "profile": (
            mine.own / "profile.json",
            lambda: [Workspace.open("mine", ws.root).profile],
            "vae.json",
        ),
    }
    found = {
        kind: ([ws.own / name], read, ws.own / other) for kind, (name, read, other) in found.items()
    }
    # One chunk of an array in the place of another, one array's description in another's.
    found["rollouts"] = (files("rollouts.zarr"), lambda: rollouts_of(ws), None)
    found["latents"] = (files("latents.zarr"), lambda: latents_of(ws), None)
    return found


KINDS = (
    "manifest", "weights", "controller", "log", "evaluation", "checkpoint", "profile", "rollouts",
    "latents",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_refused_or_makes_no_difference(kind, artefacts):
    files, read, other = artefacts[kind]
    right, rng = read(), np.random.default_rng(KINDS.index(kind))
    refused = 0
    for case in range(max(8, CASES // len(KINDS))):
        path = files[rng.integers(len(files))]
        whole, how = path.read_bytes(), ("flip", "cut", "delete", "exchange")[case % 4]
        try:
            damage(path, how, rng, other or files[rng.integers(len(files))])
            found = read()
        except AwmError as error:
            assert len(str(error)) < 1000
            refused += 1
        else:
            if kind == "log":  # a last line that was cut by a kill is done again
                assert same(found, right[: len(found)]), (path, how)
            elif found is not None:
                assert same(found, right), (path, how)
        finally:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(whole)
    assert refused
    assert same(read(), right)


def damage(path: Path, how: str, rng: np.random.Generator, other: Path) -> None:
    whole = bytearray(path.read_bytes())
    match how:
        case "flip":
            whole[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        case "cut":
            whole = whole[: rng.integers(len(whole))]
        case "delete":
            path.unlink()
            return
        case "exchange":
            whole = other.read_bytes()
    path.write_bytes(whole)
