"""The study itself, in small: all seven notebooks from an empty workspace to the report."""

import json
import re

import nbformat
import numpy as np
import pytest
from PIL import Image

from awm import pipeline, provenance, report
from awm.config import get_profile

FIGURES = (
    "MDP.png",
    "world_model.png",
    "rollout.png",
    "dream_training.png",
    "CarRacing.gif",
    "vae_recon_input.png",
    "vae_recon_output.png",
    "vae_dream_image.png",
    "vae_training_loss.png",
    "vae_val_loss.png",
    "mdn_rnn_learning_curves.png",
    "attn_mdn_rnn_learning_curves.png",
    "controller_training.png",
)

NOTEBOOKS = sorted(pipeline.notebooks_dir().glob("*.ipynb"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The smoke study, run once from nothing by the command that `make report` calls."""
    from awm import cli

    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWM_ROOT", str(root))
        assert cli.main(["report", "--profile", "smoke"]) == 0
    return root


def test_every_figure_of_the_report_is_made_and_has_a_caption(study):
    captions = json.loads((study / "images" / "captions.json").read_text())
    for name in FIGURES:
        assert (study / "images" / name).stat().st_size > 500, name
        assert len(captions[name.split(".")[0]]["caption"]) > 20


def test_the_report_misses_nothing(study):
    page = (study / "report" / "index.html").read_text()
    missing = re.findall(r'class="missing[^"]*"[^>]*>(.*?)<', page)
    assert not missing
    for heading in ("Introduction", "Models", "Environment", "Methodology", "Results",
                    "Discussion", "Citations"):  # fmt: skip
        assert re.search(rf"<h2[^>]*>.*?{heading}", page), heading
    for path in NOTEBOOKS:
        assert (study / "report" / f"{path.stem}.html").exists()


def test_every_number_has_its_origin(study):
    data = study / "data" / "smoke"
    manifests = [p for p in data.rglob("*.json") if ".zarr" not in str(p)]
    assert len(manifests) > 10
    for path in manifests:
        manifest = provenance.read_json(path)
        for key in ("profile", "config", "commit", "date", "machine"):
            assert key in manifest, (path.name, key)
        if "mdn_rnn-baselines" not in path.name:
            assert manifest["wall_time_s"] >= 0, path.name


def test_a_second_run_trains_nothing(study, monkeypatch):
    """Finished stages return at once: their files stay as they are."""
    monkeypatch.setenv("AWM_ROOT", str(study))
    data = study / "data" / "smoke"
    before = {p: p.stat().st_mtime_ns for p in data.rglob("*.safetensors")}
    pipeline.run("smoke", only=["02"])
    assert before == {p: p.stat().st_mtime_ns for p in data.rglob("*.safetensors")}
    assert report.build(get_profile("smoke")).exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_read_like_prose(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", ())]
    assert len(tagged) == 1 and tagged[0].source == 'profile = "quick"'
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, "committed without outputs"
            assert not re.search(r"^\s*(def|class) ", cell.source, re.M), "logic belongs in awm"
    text = [c for c in notebook.cells if c.cell_type == "markdown"]
    assert notebook.cells[0].source.startswith("# ") and len(text) >= 3


def test_pictures_are_what_their_texts_say(study):
    """The first frame of the report shows the car on the road, and curves have no code names."""
    text = json.loads((study / "images" / "captions.json").read_text())["vae_recon_input"]["alt"]
    assert "on a grey road" in text
    shown = np.asarray(Image.open(study / "images" / "vae_recon_input.png").convert("RGB"), int)
    scale = len(shown) // 64
    around = shown[42 * scale : 60 * scale, 27 * scale : 37 * scale].reshape(-1, 3)
    grey = np.abs(around - around.mean(axis=1, keepdims=True)).max(axis=1) < 12
    assert grey.mean() > 0.4


def test_there_are_seven_in_order():
    assert [p.stem for p in NOTEBOOKS] == [
        "01_data_collection",
        "02_vae",
        "03_mdn_rnn",
        "04_attention",
        "05_controller_evolution",
        "06_dreaming",
        "07_results",
    ]
