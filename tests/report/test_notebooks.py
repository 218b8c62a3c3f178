"""Notebooks in order, with the profile, in this interpreter; and nothing half-written."""

import json
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from awm import store
from awm.errors import AwmError
from awm.report import build
from awm.report import notebooks as pipeline
from awm.store import Workspace


@pytest.fixture(autouse=True)
def machine(workspace, monkeypatch):
    """One where nobody ever installed a kernel; the report is only said to be built."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(workspace / "no-kernels-here"))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(workspace / "no-config-here"))
    monkeypatch.setattr(build, "build", lambda ws: ws.report / "index.html")


@pytest.fixture
def notebooks(workspace):
    """Writes tiny notebooks: `add("01_first", "code of a cell", ...)`."""
    folder = workspace / "notebooks"
    folder.mkdir()

    def add(name, *cells):
        given = new_code_cell('profile = "quick"', metadata={"tags": ["parameters"]})
        code = [new_code_cell(cell) for cell in cells]
        notebook = new_notebook(cells=[new_markdown_cell(f"# {name}"), given, *code])
        nbformat.write(notebook, folder / f"{name}.ipynb")

    add.folder = folder
    return add


LOG = """
import json, os, sys, pathlib
root = pathlib.Path(os.environ["AWM_ROOT"])
entry = {"profile": profile, "python": sys.executable, "cwd": os.getcwd(),
         "retraining": (root / "data" / profile / "retraining.json").exists()}
with open(root / "log.jsonl", "a") as file:
    file.write(json.dumps({"name": NAME, **entry}) + "\\n")
"""


def logged(workspace):
    path = workspace / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def executed(name):
    return Workspace.open("smoke").own / "notebooks" / f"{name}.ipynb"


def test_notebooks_run_in_order_with_the_profile_in_this_interpreter(workspace, notebooks, capsys):
    notebooks("02_second", f"NAME = 'second'\n{LOG}")
    notebooks(
        "01_first",
        f"NAME = 'first'\n{LOG}",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(50), desc='counting'): pass",
    )
    notebooks("notes", "raise RuntimeError('not numbered, not run')")
    assert pipeline.run("smoke") == workspace / "report" / "index.html"
    entries = logged(workspace)
    assert [entry.pop("name") for entry in entries] == ["first", "second"]
    expected = {"profile": "smoke", "python": sys.executable, "retraining": False}
    assert entries == [expected | {"cwd": str(notebooks.folder)}] * 2
    manifest = store.read_json(executed("01_first").with_suffix(".json"))
    assert manifest["notebook"] == "01_first" and manifest["profile"] == "smoke"
    assert manifest["wall_time_s"] > 0
    # Progress is seen, and settled in what is kept.
    shown = capsys.readouterr().err
    assert "1/2 01_first" in shown and "counting" in shown
    cells = nbformat.read(executed("01_first"), as_version=4).cells
    (stream,) = [output for cell in cells for output in cell.get("outputs", ())]
    assert stream.name == "stderr" and "50/50" in stream.text and stream.text.count("\r") <= 1


def test_a_failure_names_notebook_and_cause_and_is_mended(workspace, notebooks, monkeypatch):
    notebooks("01_first", "print('well')")
    notebooks("02_second", "raise ValueError('no road in sight')")
    notebooks("03_third", f"NAME = 'third'\n{LOG}")
    built = []
    monkeypatch.setattr(build, "build", built.append)
    with pytest.raises(AwmError) as failure:
        pipeline.run("smoke")
    failed = executed("02_second.failed")
    for words in ("02_second.ipynb", "ValueError: no road in sight", str(failed)):
        assert words in str(failure.value)
    assert nbformat.read(failed, as_version=4).cells[-1].outputs[0].ename == "ValueError"
    assert logged(workspace) == [] and built == []
    kept = {"01_first.ipynb", "01_first.json", "02_second.failed.ipynb"}
    assert {p.name for p in failed.parent.iterdir()} == kept
    before = executed("01_first").read_text()
    notebooks("01_first", "raise KeyError('bad')")
    notebooks("02_second", "1 / 1")
    with pytest.raises(AwmError):
        pipeline.run("smoke", only=["1"])
    assert executed("01_first").read_text() == before, "an older copy survives"
    pipeline.run("smoke", only=["2"])
    assert executed("02_second").exists() and not failed.exists() and len(built) == 1


def test_a_kernel_that_dies_is_reported(notebooks):
    notebooks("01_first", "import os\nos._exit(1)")
    with pytest.raises(AwmError, match=r"01_first\.ipynb.*kernel died"):
        pipeline.run("smoke")
    assert [p.name for p in executed("01_first").parent.iterdir()] == ["01_first.failed.ipynb"]


def test_a_damaged_notebook_is_reported(notebooks):
    notebooks("01_first", "1")
    (notebooks.folder / "02_second.ipynb").write_text("{ not a notebook")
    with pytest.raises(AwmError, match=r"02_second\.ipynb cannot be run"):
        pipeline.run("smoke", only=["2"])


def test_retraining_moves_the_old_run_aside_and_resumes(workspace, notebooks):
    here = Workspace.open("smoke")
    old = here.own / "vae.safetensors"
    old.parent.mkdir(parents=True)
    old.write_text("yesterday")
    store.write_json(here.committed / "vae.json", {})
    notebooks(
        "01_first",
        f"NAME = 'first'\n{LOG}",
        "from awm.store import Workspace\nhere = Workspace.open(profile)\n"
        "assert here.find('vae.json') is None\nvae = here.own / 'vae.safetensors'\n"
        "found = vae.exists()\nvae.write_text('half')\nassert found, 'interrupted'",
    )
    with pytest.raises(AwmError, match="interrupted"):
        pipeline.run("smoke", retrain=True)
    (aside,) = old.parent.parent.glob("smoke.before-*")
    assert (aside / "vae.safetensors").read_text() == "yesterday"
    # The second attempt finds what the first one left, and nothing is moved again.
    pipeline.run("smoke", retrain=True)
    assert len(list(old.parent.parent.glob("smoke.before-*"))) == 1
    assert [entry["retraining"] for entry in logged(workspace)] == [True, True]
    assert not here.retraining and here.find("vae.json")


def test_retraining_keeps_a_profile_of_ones_own(workspace, notebooks):
    mine = Workspace.open("smoke").profile.but("mine", vae__updates=3)
    Workspace.open(mine)
    notebooks(
        "01_first",
        f"NAME = 'first'\n{LOG}",
        "from awm.store import Workspace\nassert Workspace.open(profile).profile.vae.updates == 3",
    )
    pipeline.run("mine", retrain=True)
    assert Workspace.open("mine").profile == mine


@pytest.mark.parametrize("name", ["02", "2", "02_vae", "vae", "02_vae.ipynb"])
def test_a_notebook_has_several_names(tmp_path, name):
    for stem in ("01_data", "02_vae"):
        (tmp_path / f"{stem}.ipynb").touch()
    assert [path.stem for path in pipeline.select(tmp_path, [name])] == ["02_vae"]
    assert [path.stem for path in pipeline.select(tmp_path, [name, "1"])] == ["01_data", "02_vae"]


def test_what_is_not_there_is_refused_and_destroys_nothing(workspace, notebooks):
    notebooks("01_first", "1")
    with pytest.raises(AwmError, match=r"no notebook '09'.*01_first"):
        pipeline.run("smoke", only=["09"])
    with pytest.raises(AwmError, match="smoke, quick, paper"):
        pipeline.run("huge", retrain=True)
    assert not (workspace / "data").exists()
