"""The store: there and fitting, there and not fitting, not there; and nothing half-written."""

import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import pytest
import torch

from awm import store
from awm.config import PRESETS
from awm.errors import AwmError
from awm.store import Stage, Workspace

SOURCE = Stage("source.safetensors", {"updates": 3}, how="awm train source")
RESULT = Stage("deep/result.safetensors", {"size": 2}, {"source": SOURCE}, "awm train result")
RECORD = Stage("study/record.json", {"episodes": 2}, {"result": RESULT})


def weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3, 5), value), "b": torch.arange(4)}


@pytest.fixture
def ws(workspace):
    store.note.cache_clear()
    found = Workspace.open("smoke")
    found.save(SOURCE, weights())
    found.save(RESULT, weights(2.0), wall_time_s=1.5)
    return found


def files(ws) -> dict:
    return {p: p.read_bytes() for p in ws.root.rglob("*") if p.is_file()}


def test_what_is_saved_is_loaded(ws):
    tensors, manifest = ws.load(RESULT)
    assert all(torch.equal(tensors[name], value) for name, value in weights(2.0).items())
    assert manifest["wall_time_s"] == 1.5 and manifest["key"] == RESULT.key
    assert manifest["settings"] == {"size": 2} and manifest["profile"] == "smoke"
    assert manifest["inputs"]["source"] == {
        "key": SOURCE.key, "content": ws.manifest(SOURCE)["content"]
    }  # fmt: skip
    for key in ("commit", "dirty", "date", "machine", "cpu_count", "python", "torch", "numba"):
        assert key in manifest
    linear = torch.nn.Linear(5, 3)
    linear.load_state_dict = lambda found: found.keys() == tensors.keys()
    ws.load_into(linear, RESULT)
    assert linear.manifest == manifest and not linear.training
    assert not any(p.requires_grad for p in linear.parameters())


def test_a_key_is_settings_and_inputs_and_nothing_else():
    assert replace(RESULT, name="elsewhere", how="awm").key == RESULT.key
    assert replace(RESULT, settings={"size": 3}).key != RESULT.key
    other = replace(SOURCE, settings={"updates": 4})
    assert replace(RESULT, inputs={"source": other}).key != RESULT.key
    assert replace(RESULT, inputs={}).key != RESULT.key
    many = Stage("x", {"a": 1, "b": (1, 2)})
    assert replace(many, settings={"b": [1, 2], "a": 1}).key == many.key


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": {"size": 3}}, "other settings .size 2, now 3"),
        ({"settings": {"size": 2, "seed": 1}}, "seed None, now 1"),
        ({"settings": {}}, "size 2, now None"),
        ({"inputs": {"source": replace(SOURCE, settings={"updates": 4})}}, "another source"),
        ({"inputs": {}}, "another source"),
        ({"inputs": {"source": SOURCE, "more": SOURCE}}, "another more"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused_and_kept(ws, change, said):
    before = files(ws)
    for ask in (ws.manifest, ws.load):
        with pytest.raises(AwmError, match=f"{said}.*Move it.*name of its own"):
            ask(replace(RESULT, **change))
    assert ws.fitting(replace(RESULT, **change)) is None
    assert files(ws) == before, "nothing is destroyed"


def test_a_result_of_other_weights_of_the_same_settings_is_refused(ws):
    ws.save(SOURCE, weights(7.0))
    with pytest.raises(AwmError, match="another source.*same settings and other weights"):
        ws.load(RESULT)
    ws.save(SOURCE, weights())
    ws.load(RESULT)


def test_a_result_needs_no_weights_of_its_sources(ws):
    (ws.own / SOURCE.name).unlink()
    ws.load(RESULT)


def test_weights_with_flipped_bytes_are_refused(ws):
    path = ws.own / RESULT.name
    whole = path.read_bytes()
    for place in (len(whole) // 2, len(whole) - 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(AwmError, match="not the file that its manifest.*awm train result"):
            ws.load(RESULT)
    path.write_bytes(whole[:-3])
    with pytest.raises(AwmError, match="damaged"):
        ws.load(RESULT)
    path.write_bytes(whole)
    ws.load(RESULT)


def test_a_file_that_was_never_weights_is_refused(ws):
    path = ws.own / RESULT.name
    path.write_bytes(b"not weights")
    manifest = store.read_json(path.with_suffix(".json"))
    store.write_json(path.with_suffix(".json"), {**manifest, "content": store.sha256_of(path)})
    with pytest.raises(AwmError, match="is damaged.*awm train result"):
        ws.load(RESULT)


def test_a_lost_or_damaged_manifest_is_said(ws):
    path = ws.own / RESULT.name
    path.with_suffix(".json").write_text('{"key": ')
    with pytest.raises(AwmError, match="damaged"):
        ws.load(RESULT)
    path.with_suffix(".json").unlink()
    for ask in (ws.load, ws.manifest):
        with pytest.raises(AwmError, match="lost its manifest.*awm train result"):
            ask(RESULT)
    assert path.exists()


def test_what_is_not_there_names_its_remedy(ws):
    missing = Stage("missing.safetensors", {}, how="awm train missing")
    assert ws.manifest(missing) is None and ws.find(missing.name) is None
    with pytest.raises(AwmError, match="Run `awm train missing`"):
        ws.load(missing)


def commit(ws):
    ws.committed.parent.mkdir(parents=True)
    ws.own.rename(ws.committed)


def test_a_committed_result_stands_in_while_it_fits(ws, capsys):
    commit(ws)
    before = files(ws)
    assert ws.load(RESULT)[1] == ws.manifest(RESULT)
    assert ws.find(RESULT.name) == ws.committed / RESULT.name
    assert ws.names("deep/*.safetensors") == [RESULT.name]
    assert capsys.readouterr().err == "" and files(ws) == before

    changed = replace(RESULT, settings={"size": 3})
    for _ in range(2):
        assert ws.manifest(changed) is None
    with pytest.raises(AwmError, match="There is no deep/result.*awm train result"):
        ws.load(changed)
    said = capsys.readouterr().err
    assert said.count("note: ") == 1 and "size 2, now 3" in said and "not used" in said

    ws.save(changed, weights(3.0))  # one's own comes first from now on, and is asked first
    assert ws.load(changed)[0]["a"][0, 0] == 3
    with pytest.raises(AwmError, match="size 3, now 2"):
        ws.load(RESULT)
    assert {path: files(ws)[path] for path in before} == before


def test_a_committed_result_is_not_used_when_its_source_was_made_anew(ws, capsys):
    commit(ws)
    ws.save(SOURCE, weights(7.0))
    assert ws.manifest(RESULT) is None
    assert "another source" in capsys.readouterr().err


def test_of_weights_that_are_not_committed_the_manifest_tells(ws):
    commit(ws)
    told = ws.told(RESULT)
    assert told == ws.manifest(RESULT)
    (ws.committed / RESULT.name).unlink()
    assert ws.manifest(RESULT) is None and ws.told(RESULT) == told
    assert ws.record(RECORD, dict)["inputs"]["result"]["content"] == told["content"]
    with pytest.raises(AwmError, match="awm train result"):
        ws.load(RESULT)
    assert ws.told(replace(RESULT, settings={"size": 3})) is None
    store.write_json(ws.own / "retraining.json", {})
    assert ws.told(RESULT) is None
    (ws.own / "retraining.json").unlink()
    # A manifest of one's own that has lost its weights tells nothing.
    (ws.own / RESULT.name).parent.mkdir(parents=True, exist_ok=True)
    (ws.committed / "deep/result.json").rename(ws.own / "deep/result.json")
    assert ws.told(RESULT) is None


def test_nothing_committed_stands_in_while_all_is_trained_anew(ws):
    commit(ws)
    store.write_json(ws.own / "retraining.json", {})
    assert ws.retraining and ws.manifest(RESULT) is None and ws.find(RESULT.name) is None
    assert ws.names("deep/*") == []
    with pytest.raises(AwmError, match="There is no"):
        ws.load(RESULT)
    (ws.own / "retraining.json").unlink()
    ws.load(RESULT)


def test_a_record_is_made_once_and_again_when_it_does_not_fit(ws):
    asked = []

    def compute():
        asked.append(1)
        return {"found": len(asked)}

    first = ws.record(RECORD, compute)
    assert first["found"] == 1 and first["wall_time_s"] >= 0
    assert first == ws.record(RECORD, compute) == store.read_json(ws.own / RECORD.name)
    assert ws.record(replace(RECORD, settings={"episodes": 3}), compute)["found"] == 2
    ws.save(SOURCE, weights(7.0))
    ws.save(RESULT, weights(8.0))
    assert ws.record(replace(RECORD, settings={"episodes": 3}), compute)["found"] == 3
    (ws.own / RECORD.name).write_text("{")
    assert ws.record(RECORD, compute)["found"] == 4
    with pytest.raises(ZeroDivisionError):
        ws.record(replace(RECORD, settings={"episodes": 9}), lambda: {"found": 1 / 0})
    assert ws.record(RECORD, compute)["found"] == 4, "one that fails replaces nothing"


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    store.write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        store.write_json(path, {"a": float("nan")})
    with pytest.raises(KeyboardInterrupt), store.atomic(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert store.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644, "others may read what is committed"


def test_a_save_that_fails_leaves_both_old_files(ws, monkeypatch):
    before = files(ws)
    monkeypatch.setattr(store, "save_file", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ws.save(RESULT, weights(9.0))
    assert files(ws) == before


def test_a_save_that_is_killed_between_its_files_is_noticed(ws, monkeypatch):
    original = store.write_json

    def killed(path, value):
        original(path, value)
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        ws.save(RESULT, weights(9.0))
    with pytest.raises(AwmError, match="only one of the two was replaced"):
        ws.load(RESULT)


def test_missing_and_damaged_json_is_said(tmp_path):
    with pytest.raises(AwmError, match="does not exist"):
        store.read_json(tmp_path / "a.json")
    for content in (b"{", b"\xff\xfe", b""):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(AwmError, match="damaged"):
            store.read_json(tmp_path / "a.json")


def test_settings_are_compared_as_json_keeps_them(ws):
    stage = Stage("x.safetensors", {"shares": (("a", 0.1),), "search": PRESETS["smoke"].data})
    ws.save(stage, weights())
    ws.load(stage)
    with pytest.raises(AwmError, match="shares"):
        ws.load(replace(stage, settings={**stage.settings, "shares": (("a", 0.2),)}))


def test_two_runs_make_a_result_once(ws, capsys):
    begun, go_on, made = Event(), Event(), []

    def compute():
        made.append(1)
        begun.set()
        assert go_on.wait(10)
        return {"found": 7}

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ws.record, RECORD, compute)
        assert begun.wait(10)
        second = pool.submit(ws.record, RECORD, compute)
        while "Waiting" not in (said := capsys.readouterr().err):
            time.sleep(0.02)
        go_on.set()
        assert first.result() == second.result() and made == [1]
    assert f"record.json is being made by process {os.getpid()} on " in said, said


def test_a_lock_of_a_killed_run_is_free_and_its_leftovers_go(ws, tmp_path):
    target = ws.own / "deep/result.safetensors"
    script = tmp_path / "holds.py"
    script.write_text(
        "import os, signal, sys\n"
        "from awm.store import Workspace\n"
        "ws = Workspace.open('smoke', sys.argv[1])\n"
        "with ws.lock('deep/result.safetensors'):\n"
        "    (ws.own / 'deep/.result.safetensors.x.safetensors').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, str(script), str(ws.root)], check=False)
    assert (target.parent / ".result.safetensors.x.safetensors").exists()
    with ws.lock("deep/result.safetensors"):
        assert not (target.parent / ".result.safetensors.x.safetensors").exists()
    assert target.exists()


def test_a_record_that_was_changed_is_refused(tmp_path):
    path = tmp_path / "a.json"
    store.write_json(path, {"mean": 912.5, "returns": [1.0, 2.0]})
    whole = path.read_text()
    for damaged in (whole.replace("912", "952"), whole.replace("checksum", "checkmum"), "[1, 2]"):
        path.write_text(damaged)
        with pytest.raises(AwmError, match="is damaged"):
            store.read_json(path)
    path.write_text("[" * 100_000)
    with pytest.raises(AwmError, match="is damaged"):
        store.read_json(path)
    path.write_text(whole)
    assert store.read_json(path) == {"mean": 912.5, "returns": [1.0, 2.0]}
