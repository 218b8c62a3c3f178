"""The study itself, in small: all seven notebooks from an empty workspace to the report."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from awm import cli, figures, store
from awm.report import build, notebooks
from awm.store import Workspace

#: The figures that the original's report has.
FIGURES = {
    "MDP",
    "world_model",
    "rollout",
    "dream_training",
    "CarRacing",
    "vae_recon_input",
    "vae_recon_output",
    "vae_dream_image",
    "vae_training_loss",
    "vae_val_loss",
    "mdn_rnn_learning_curves",
    "attn_mdn_rnn_learning_curves",
    "controller_training",
}

NOTEBOOKS = sorted((store.CHECKOUT / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The smoke study, run once from nothing by the command that `make report` calls."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWM_ROOT", str(root))
        assert cli.main(["report", "--profile", "smoke"]) == 0
    return Workspace.open("smoke", root)


@pytest.mark.slow
def test_every_figure_of_the_report_is_made_and_has_a_caption(study):
    saved = figures.captions(study.images)
    assert saved.keys() >= FIGURES
    for words in saved.values():
        assert (study.images / words["file"]).stat().st_size > 500
        assert len(words["caption"]) > 20 and words["alt"]


@pytest.mark.slow
def test_the_report_misses_nothing(study):
    page = (study.report / "index.html").read_text()
    assert not re.findall(r'class="missing[^"]*"[^>]*>(.*?)<', page)
    assert "There is no picture" not in page and "has not been run" not in page
    for heading in ("Introduction", "How the agent works", "Method", "Results", "Discussion",
                    "Related work", "Reproducing this report", "References"):  # fmt: skip
        assert re.search(rf"<h2[^>]*>.*?{heading}", page), heading
    for path in NOTEBOOKS:
        assert (study.report / f"{path.stem}.html").exists()


@pytest.mark.slow
def test_every_number_has_its_origin(study):
    records = [p for p in study.own.rglob("*.json") if ".zarr" not in str(p)]
    assert len(records) > 20
    for path in records:
        record = store.read_json(path)
        for key in ("profile", "commit", "date", "machine", "wall_time_s"):
            assert key in record, (path.name, key)
        if path.parent.name != "notebooks":
            assert {"key", "settings", "inputs"} <= record.keys(), path.name


@pytest.mark.slow
def test_a_second_run_trains_nothing(study, monkeypatch):
    """Finished stages return at once: their files stay as they are."""
    monkeypatch.setenv("AWM_ROOT", str(study.root))
    before = {p: p.stat().st_mtime_ns for p in study.own.rglob("*.safetensors")}
    notebooks.run(study, only=["02"])
    assert before == {p: p.stat().st_mtime_ns for p in study.own.rglob("*.safetensors")}
    assert build.build(study).exists()


@pytest.mark.slow
def test_pictures_are_what_their_texts_say(study):
    """The first frame of the report shows the car on the road."""
    words = json.loads((study.images / "captions.json").read_text())["vae_recon_input"]
    assert "on a grey road" in words["alt"]
    shown = np.asarray(Image.open(study.images / words["file"]).convert("RGB"), int)
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
