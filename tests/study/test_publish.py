"""What is committed: all that others need, whole, and nothing that is not finished."""

import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from records import log, write

from awm import config, stages, store
from awm.config import PRESETS
from awm.errors import AwmError
from awm.evolution.search import evolve, load, log_of
from awm.ids import Agent, Memory
from awm.store import Workspace
from awm.study import likelihood
from awm.study.dream_error import dream_error
from awm.study.evaluation import evaluate, evaluate_altered
from awm.study.publish import _kept, publish
from awm.training import mdn_rnn
from awm.training.mdn_rnn import build
from awm.worlds import lanes


def test_publishing_copies_what_others_need(smoke_copy):
    ws = smoke_copy
    (ws.own / "vae.checkpoint.pt").write_bytes(b"half done")
    (ws.own / ".vae.safetensors.x.safetensors").write_bytes(b"half written")
    write(ws, "retraining.json", {})
    write(ws, "evaluations/other/plain_track.fast-3-from-5.json", {})
    copied = {path.relative_to(ws.committed).as_posix() for path in publish(ws)}
    assert {"vae.safetensors", "vae.json", "rollouts.json"} <= copied
    assert {"mdn_rnn/spatial.safetensors", "mdn_rnn/spatial-1.json"} <= copied
    assert "mdn_rnn/spatial-1.safetensors" not in copied, "another training's"
    assert "README.md" in copied
    assert {f"agents/plain_track.{end}" for end in ("safetensors", "json", "jsonl")} <= copied
    assert not any(
        word in name for name in copied for word in ("checkpoint", ".zarr", "other", "retraining")
    )
    assert all(not name.startswith(".") for name in copied)
    assert publish(ws) == [], "nothing has changed"
    before = load(ws, Agent()).parameters
    shutil.rmtree(ws.own)
    assert (load(ws, Agent()).parameters == before).all(), "found where it is committed"
    with pytest.raises(AwmError, match="nothing in"):
        publish(ws)


def test_what_has_changed_is_copied_again(smoke_copy):
    publish(smoke_copy)
    write(smoke_copy, "study/probes.json", {"r2": {}})
    assert publish(smoke_copy) == [smoke_copy.committed / "study/probes.json"]
    for name in ("bars-2-from-0", "bars-9-from-0"):
        alteration = name.split("-")[0]
        stage = stages.evaluation(smoke_copy.profile, Agent(), "fast", int(name[5]), 0, alteration)
        laps = {"returns": [1.0, 2.0], "seeds": [config.TEST_SEEDS, config.TEST_SEEDS + 1]}
        facts = laps | {"agent": "plain_track", "frames": "fast", "episodes": int(name[5])}
        write(smoke_copy, stage.name, smoke_copy.describe(stage, alteration=alteration, **facts))
    assert publish(smoke_copy) == [
        smoke_copy.committed / "evaluations/altered/plain_track.bars-2-from-0.json"
    ], "what the profile asks for"


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def unlink_manifest(path):
    path.with_suffix(".json").unlink()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("mdn_rnn/plain.safetensors", cut),
        ("vae.safetensors", flip),
        ("agents/plain_track.safetensors", unlink_manifest),
        ("rollouts.json", cut),
        ("study/probes.json", cut),
        ("agents/plain_track.jsonl", lambda path: path.write_text("no log\n\n")),
    ],
)
def test_nothing_damaged_is_published(name, damage, smoke_copy):
    write(smoke_copy, "study/probes.json", {"r2": {"V": {"speed": 0.5}} | {"x" * 100: 1}})
    damage(smoke_copy.own / name)
    with pytest.raises(AwmError, match=name.split("/")[-1].split(".")[0]):
        publish(smoke_copy)
    assert not smoke_copy.committed.exists(), "and nothing else is, either"


def test_a_damaged_file_leaves_what_was_published_before(smoke_copy):
    publish(smoke_copy)
    path = smoke_copy.own / "vae.safetensors"
    write(smoke_copy, "study/probes.json", {"r2": {}})
    flip(path)
    with pytest.raises(AwmError, match="damaged"):
        publish(smoke_copy)
    assert store.sha256_of(smoke_copy.committed / "vae.safetensors") != store.sha256_of(path)
    assert not (smoke_copy.committed / "study/probes.json").exists()


def test_what_a_profile_would_keep_is_small():
    """Weights of the second edition, as float32; the limit is 60 MB with logs and records."""
    p = PRESETS["second"]
    rounds = [replace(m, round=n) for m in p.chains for n in range(1, 4)]
    kept = [m for m in [*p.memories, *rounds] if _kept(p, Path(f"mdn_rnn/{m}.safetensors"))]
    assert [str(m) for m in kept if m.seed or m.round] == [
        "plain-round3", "plain-1-round3", "plain-2-round3",
    ]  # fmt: skip
    with torch.device("meta"):
        parameters = [build(p, m).parameters() for m in kept]
    assert sum(each.numel() for part in parameters for each in part) * 4 < 30e6


def test_the_card_says_what_to_expect_and_its_code_drives(smoke_copy, threads, monkeypatch, capsys):
    ws = smoke_copy
    evaluate(ws, ws.profile.headline[0])
    evaluate_altered(ws, ws.profile.headline[0])
    publish(ws)
    shutil.rmtree(ws.own)
    text = (ws.committed / "README.md").read_text("utf-8")
    mean = evaluate(ws, ws.profile.headline[0])["mean"]
    assert f"| plain M, refined | fast | 2 | {mean:.0f} ± " in text
    assert "| plain M, refined | fast, patch | 2 |" in text
    assert "Of the 6 episodes" in text and "{" not in text.replace("{lap.", "").replace("{len(", "")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(code.strip().split("\n\n")[1].splitlines()) == 3
    monkeypatch.setattr(lanes, "record", partial(lanes.record, steps=12))
    exec(code, {})
    assert re.fullmatch(r"return -?\d+ in 12 steps\n", capsys.readouterr().out)


def test_what_is_committed_is_shown_without_the_weights_of_other_trainings(
    smoke_copy, threads, monkeypatch
):
    """A clone has their manifests, controllers, logs and records, and trains none of them."""
    ws, other = smoke_copy, Memory("plain", 1)
    agent = Agent(other, "track", 1)
    evolve(ws, agent)
    shown = [likelihood.attentions, likelihood.ends, dream_error]
    before = [look(ws) for look in shown], evaluate(ws, agent), log_of(ws, agent)
    publish(ws)
    keep = shutil.move(ws.own / "rollouts.zarr", ws.root)
    shutil.rmtree(ws.own)
    ws.own.mkdir()
    shutil.move(keep, ws.own)
    shutil.copy(ws.committed / "rollouts.json", ws.own)
    with monkeypatch.context() as patch:
        patch.setattr(mdn_rnn, "_train", lambda *_: pytest.fail("trained"))
        mdn_rnn.train_all(ws, ws.profile.memories)
        assert ([look(ws) for look in shown], evaluate(ws, agent), evolve(ws, agent).log) == before
        # From the manifests, too.
        (ws.committed / "study/attentions.json").unlink()
        assert likelihood.attentions(ws)["nll"] == before[0][0]["nll"]
    assert not list(ws.own.rglob("*.safetensors"))
    with pytest.raises(AwmError, match="awm train mdn-rnn --kind plain --seed 1"):
        evaluate(ws, agent, episodes=1, seed=7)
    assert mdn_rnn.train(ws, other).manifest["history"], "as one may"


def test_of_rounds_the_weights_of_the_last_and_of_those_that_drive_on_are_kept(workspace):
    ws = Workspace.open("smoke")
    ws = Workspace(
        replace(ws.profile, dream=replace(ws.profile.dream, rounds=3, on_track=(1,))), ws.root
    )
    for n in range(4):
        memory = Memory("plain", 0, n)
        for stage in (
            stages.mdn_rnn(ws.profile, memory),
            stages.agent(ws.profile, Agent(memory, "dream")),
        ):
            ws.save(stage, {"weights": torch.zeros(2)})
        write(ws, f"agents/{memory}_dream.jsonl", log(10, 10))
    copied = {path.relative_to(ws.committed).as_posix() for path in publish(ws)}
    weights = {name for name in copied if name.endswith(".safetensors")}
    kept = ("plain", "plain-round1", "plain-round3")  # of the profile's chains
    assert weights == {f"mdn_rnn/{m}.safetensors" for m in kept} | {
        f"agents/{m}_dream.safetensors" for m in kept
    }
    assert {"mdn_rnn/plain-round2.json", "agents/plain-round2_dream.jsonl"} <= copied
