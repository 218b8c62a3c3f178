"""What is committed: all that others need, whole, and nothing that is not finished."""

import shutil
from dataclasses import replace

import pytest
import torch
from records import log, write

from awm import stages, store
from awm.errors import AwmError
from awm.evolution.search import load
from awm.ids import Agent, Memory
from awm.store import Workspace
from awm.study.publish import publish


def test_publishing_copies_what_others_need(smoke_copy):
    ws = smoke_copy
    (ws.own / "vae.checkpoint.pt").write_bytes(b"half done")
    (ws.own / ".vae.safetensors.x.safetensors").write_bytes(b"half written")
    write(ws, "retraining.json", {})
    write(ws, "evaluations/other/plain_track.fast-3-from-5.json", {})
    copied = {path.relative_to(ws.committed).as_posix() for path in publish(ws)}
    assert {"vae.safetensors", "vae.json", "rollouts.json"} <= copied
    assert {"mdn_rnn/spatial-1.safetensors", "mdn_rnn/spatial-1.json"} <= copied
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
    kept = ("plain", "plain-round1", "plain-round3")
    assert weights == {f"mdn_rnn/{m}.safetensors" for m in kept} | {
        f"agents/{m}_dream.safetensors" for m in kept
    }
    assert {"mdn_rnn/plain-round2.json", "agents/plain-round2_dream.jsonl"} <= copied
