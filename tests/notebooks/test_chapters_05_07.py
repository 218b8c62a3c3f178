"""What chapters 05 to 07 build by hand runs on the smoke profile, and so does what they propose.

Their stages are not run here: the study's own test runs every notebook whole, once. That `awm`
equals what a chapter builds is asserted by the chapters themselves.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
import torch
from test_chapters_01_04 import read, to_try

from awm import processes
from awm.models import controller
from awm.models.mdn_rnn import Prediction
from awm.store import Workspace
from awm.study import statistics
from awm.worlds import lanes

#: Of each chapter the last cell that builds something by hand, the tags of its cells, among which
#: the report quotes some, the figures it draws, and the profiles of one's own that it proposes.
CHAPTERS = {
    "05_controller_evolution": (
        "05-equal",
        {"evolve", "refine"},
        {"controller_training", "controller_refinement", "CarRacing", "agent_view"},
        {"larger_steps"},
    ),
    "06_dreaming": (
        "06-equal",
        {"dream", "rounds", "wake", "reward", "ends", "temperature", "idle"},
        {
            "dreamt_frames",
            "dream_film",
            "dream_error",
            "dream_and_reality",
            "dream_failure",
            "dream_temperatures",
            "dream_rounds",
            "routes",
        },
        {"calm_dreams"},
    ),
    "07_results": (
        "07-unit",
        {"evaluate", "compare", "worst", "altered", "recheck", "faults"},
        {
            "results_comparison",
            "equal_terms",
            "worst_laps",
            "altered_worlds",
            "MDP",
            "world_model",
            "rollout",
            "dream_training",
        },
        set(),
    ),
}


@pytest.fixture
def build(smoke_copy, monkeypatch):
    """Runs what a chapter builds by hand; returns its names."""
    monkeypatch.setattr(processes, "pool", lambda workers=None: ThreadPoolExecutor(1))

    def build(name):
        last, names = CHAPTERS[name][0], {}
        if name == "07_results":  # its laps only have to be there
            monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 12)
        for cell in read(name).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, cell.id, "exec"), names)
            if "parameters" in cell.metadata.get("tags", ()):
                names["profile"] = "smoke"
            if cell.id == last:
                return names
        raise AssertionError(f"{name} has no cell {last}")

    return build


@pytest.mark.parametrize("name", CHAPTERS)
def test_what_a_chapter_builds_runs_and_so_does_what_it_proposes(
    build, name, smoke_copy, monkeypatch
):
    names = build(name)
    monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 12)
    proposals = to_try(name)
    assert len(proposals) == 3
    for proposal in proposals:
        exec(proposal, names)
    own = {path.parent.name for path in smoke_copy.root.glob("data/*/profile.json")}
    assert own == CHAPTERS[name][3]
    for profile in own:  # the search that a proposal changes has been done under that name
        assert Workspace.open(profile).names("agents/*.safetensors")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_is_whole(name):
    _, tags, figures, _ = CHAPTERS[name]
    book = read(name)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    tagged = [tag for cell in code for tag in cell.metadata.get("tags", ())]
    assert tagged.count("parameters") == 1 and set(tagged) == tags | {"parameters"}
    assert not any(cell.outputs or cell.execution_count for cell in code)
    source = "\n".join(cell.source for cell in code)
    assert source.startswith('profile = "quick"\nfrom awm.store import Workspace\n')
    assert re.search(r"^(def|class) ", source, re.M) and "assert_close" in source
    for figure in figures:
        assert f'"{figure}"' in source, figure
    assert "caption" not in source and book.cells[0].source.startswith(f"# {int(name[:2])} · ")


@pytest.mark.parametrize(
    ("name", "owner", "function", "wrong"),
    [
        (
            "05_controller_evolution",
            controller,
            "act",
            lambda layer, seen: torch.sigmoid(layer[:, :, :-1] @ seen[:, :, None]).squeeze(-1),
        ),
        ("06_dreaming", Prediction, "pick", lambda self, choice, noise, heat=1.0: self.mean()),
        ("07_results", statistics, "mean_of_laps", lambda returns: (0.0, 900.0)),
    ],
    ids=CHAPTERS,
)
def test_the_checks_of_the_chapters_can_fail(build, monkeypatch, name, owner, function, wrong):
    monkeypatch.setattr(owner, function, wrong)
    with pytest.raises(AssertionError, match="not close|not equal"):
        build(name)
