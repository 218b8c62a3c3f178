"""Notebooks in order, with the profile, in this interpreter; and nothing half-written."""

import json
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from awm import config, pipeline
from awm.errors import AwmError
from awm.provenance import read_json


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("AWM_ROOT", str(tmp_path))
    # As on a machine where nobody ever installed a kernel.
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "no-kernels-here"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path / "no-config-here"))
    return tmp_path


@pytest.fixture
def notebooks(workspace):
    """Writes tiny notebooks: `add("01_first", "code of a cell", ...)`; returns their folder."""
    folder = workspace / "notebooks"
    folder.mkdir()

    def add(name, *cells):
        nbformat.write(
            new_notebook(
                cells=[
                    new_markdown_cell(f"# {name}"),
                    new_code_cell('profile = "quick"', metadata={"tags": ["parameters"]}),
                    *(new_code_cell(cell) for cell in cells),
                ]
            ),
            folder / f"{name}.ipynb",
        )
        return folder

    add.folder = folder
    return add


LOG = """
import json, os, sys, pathlib
entry = {"profile": profile, "python": sys.executable, "cwd": os.getcwd(),
         "retrain": os.environ.get("AWM_RETRAIN")}
with open(pathlib.Path(os.environ["AWM_ROOT"]) / "log.jsonl", "a") as file:
    file.write(json.dumps({"name": NAME, **entry}) + "\\n")
"""


def logged(workspace):
    path = workspace / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def executed(name, profile="smoke"):
    return config.data_dir(profile) / "notebooks" / f"{name}.ipynb"


def test_notebooks_run_in_order_with_the_profile_in_this_interpreter(workspace, notebooks):
    notebooks("02_second", f"NAME = 'second'\n{LOG}")
    notebooks("01_first", f"NAME = 'first'\n{LOG}", "import awm.config")
    notebooks("notes", "raise RuntimeError('not numbered, not run')")
    index = pipeline.run("smoke")
    entries = logged(workspace)
    assert [entry["name"] for entry in entries] == ["first", "second"]
    for entry in entries:
        assert entry["profile"] == "smoke"
        assert entry["python"] == sys.executable
        assert entry["cwd"] == str(notebooks.folder)
        assert entry["retrain"] is None
    assert index == workspace / "report" / "index.html"
    assert {p.name for p in index.parent.iterdir()} == {
        "index.html",
        "01_first.html",
        "02_second.html",
        "results.json",
    }
    manifest = read_json(executed("01_first").with_suffix(".json"))
    assert manifest["notebook"] == "01_first"
    assert manifest["wall_time_s"] > 0
    assert manifest["profile"] == "smoke"


def test_progress_of_a_cell_is_seen_and_settled(notebooks, capsys):
    notebooks(
        "01_first",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(50), desc='counting'): pass",
    )
    pipeline.run("smoke")
    shown = capsys.readouterr().err
    assert "1/1 01_first" in shown
    assert "counting" in shown
    (stream,) = [
        output
        for cell in nbformat.read(executed("01_first"), as_version=4).cells
        for output in cell.get("outputs", ())
    ]
    assert stream.name == "stderr"
    assert "\r" not in stream.text
    assert "50/50" in stream.text


def test_a_failure_names_notebook_and_cause_and_leaves_the_report(workspace, notebooks):
    notebooks("01_first", "print('well')")
    notebooks("02_second", "raise ValueError('no road in sight')")
    notebooks("03_third", f"NAME = 'third'\n{LOG}")
    report = workspace / "report"
    report.mkdir()
    (report / "index.html").write_text("the report of yesterday")
    with pytest.raises(AwmError) as failure:
        pipeline.run("smoke")
    message = str(failure.value)
    assert "02_second.ipynb" in message
    assert "ValueError: no road in sight" in message
    failed = executed("02_second.failed")
    assert str(failed) in message
    outputs = nbformat.read(failed, as_version=4).cells[-1].outputs
    assert outputs[0].ename == "ValueError"
    assert logged(workspace) == []
    assert [p.name for p in report.iterdir()] == ["index.html"]
    assert (report / "index.html").read_text() == "the report of yesterday"
    assert {p.name for p in failed.parent.iterdir()} == {
        "01_first.ipynb",
        "01_first.json",
        "02_second.failed.ipynb",
    }
    assert not list(workspace.glob(".report-*"))


def test_a_mended_notebook_takes_the_place_of_the_failed_copy(notebooks):
    notebooks("01_first", "1 / 0")
    with pytest.raises(AwmError, match="ZeroDivisionError"):
        pipeline.run("smoke")
    assert not executed("01_first").exists()
    notebooks("01_first", "1 / 1")
    pipeline.run("smoke")
    assert executed("01_first").exists()
    assert not executed("01_first.failed").exists()


def test_an_older_copy_survives_a_failure(notebooks):
    notebooks("01_first", "'good'")
    pipeline.run("smoke")
    before = executed("01_first").read_text()
    notebooks("01_first", "raise KeyError('bad')")
    with pytest.raises(AwmError):
        pipeline.run("smoke")
    assert executed("01_first").read_text() == before


def test_a_kernel_that_dies_is_reported(notebooks):
    notebooks("01_first", "import os\nos._exit(1)")
    with pytest.raises(AwmError, match=r"01_first\.ipynb.*kernel died"):
        pipeline.run("smoke")


def test_a_damaged_notebook_is_reported(notebooks):
    notebooks("01_first", "1")
    (notebooks.folder / "02_second.ipynb").write_text("{ not a notebook")
    with pytest.raises(AwmError, match=r"02_second\.ipynb cannot be run"):
        pipeline.run("smoke", only=["2"])


def test_only_runs_a_part_in_order(workspace, notebooks):
    for name in ("01_first", "02_second", "03_third"):
        notebooks(name, f"NAME = '{name}'\n{LOG}")
    pipeline.run("smoke", only=["third", "1"])
    assert [entry["name"] for entry in logged(workspace)] == ["01_first", "03_third"]
    assert not (workspace / "report" / "02_second.html").exists()


def test_only_refuses_what_is_not_there(workspace, notebooks):
    notebooks("01_first", "1")
    with pytest.raises(AwmError, match=r"no notebook '09'.*01_first"):
        pipeline.run("smoke", only=["09"])
    assert not (workspace / "data").exists()


@pytest.mark.parametrize("name", ["02", "2", "02_vae", "vae", "02_vae.ipynb"])
def test_a_notebook_has_several_names(tmp_path, name):
    for stem in ("01_data", "02_vae"):
        (tmp_path / f"{stem}.ipynb").touch()
    assert [path.stem for path in pipeline.select(tmp_path, [name])] == ["02_vae"]


def test_an_unknown_profile_destroys_nothing(workspace, notebooks):
    notebooks("01_first", "1")
    with pytest.raises(AwmError, match="smoke, quick, paper"):
        pipeline.run("huge", retrain=True)
    assert not (workspace / "data").exists()


def test_retraining_moves_the_old_run_aside_and_resumes(workspace, notebooks):
    old = config.data_dir("smoke") / "vae.safetensors"
    old.parent.mkdir(parents=True)
    old.write_text("yesterday")
    notebooks(
        "01_first",
        f"NAME = 'first'\n{LOG}",
        "vae = pathlib.Path(os.environ['AWM_ROOT']) / 'data' / 'smoke' / 'vae.safetensors'\n"
        "found = vae.exists()\nvae.write_text('half')\nassert found, 'interrupted'",
    )
    with pytest.raises(AwmError, match="interrupted"):
        pipeline.run("smoke", retrain=True)
    (aside,) = old.parent.parent.glob("smoke.before-*")
    assert (aside / "vae.safetensors").read_text() == "yesterday"
    # The second attempt finds what the first one left, and nothing is moved again.
    pipeline.run("smoke", retrain=True)
    assert len(list(old.parent.parent.glob("smoke.before-*"))) == 1
    assert [entry["retrain"] for entry in logged(workspace)] == ["1", "1"]
    assert not (old.parent / "retraining.json").exists()
