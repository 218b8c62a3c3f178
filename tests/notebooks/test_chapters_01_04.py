"""Chapters 01 to 04 run on the smoke profile as written, and so does what they propose to try.

The cells run in this process on finished results, so that no kernel starts and nothing is trained
twice. That `awm` equals what a chapter builds by hand is asserted by the chapters themselves.
"""

import re
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
import torch

from awm import figures, processes, store
from awm.store import Workspace

#: Of each chapter the figures it draws, the tags of the cells that the report quotes, and the
#: profiles of one's own that it proposes.
CHAPTERS = {
    "01_data_collection": (
        {"fast_frames", "data_coverage", "tracks", "rollout_frames"},
        {"collect"},
        {"careful"},
    ),
    "02_vae": (
        {
            "vae_training_loss",
            "vae_val_loss",
            "vae_reconstructions",
            "vae_recon_input",
            "vae_recon_output",
            "vae_dream_image",
            "vae_kl_per_dimension",
            "vae_latent_traversal",
        },
        {"train"},
        {"narrow"},
    ),
    "03_mdn_rnn": (
        {"mdn_rnn_learning_curves", "mdn_rnn_dream"},
        {"train"},
        {"small_m"},
    ),
    "04_attention": (
        {
            "attn_mdn_rnn_learning_curves",
            "likelihood_gains",
            "probes",
            "attention_maps",
            "attention_over_frames",
            "attention_entries",
            "attention_time",
        },
        {"train"},
        {"short_memory"},
    ),
}


def read(name):
    return nbformat.read(store.CHECKOUT / "notebooks" / f"{name}.ipynb", as_version=4)


def to_try(name):
    """The code of the proposals at a chapter's end."""
    last = read(name).cells[-1].source
    assert last.startswith("## Things to try")
    return re.findall(r"```python\n(.*?)```", last, re.S)


@pytest.fixture
def run(smoke_copy, monkeypatch):
    """Runs a chapter's cells on the smoke profile; returns their names and a way to run more."""
    # Threads of this process for the workers: they start at once.
    monkeypatch.setattr(processes, "pool", lambda workers=None: ThreadPoolExecutor(1))

    def run(name):
        names = {}
        for cell in read(name).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, cell.id, "exec"), names)
            if "parameters" in cell.metadata.get("tags", ()):
                names["profile"] = "smoke"
        return names

    return run


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_runs_and_so_does_what_it_proposes(run, smoke_copy, name):
    drawn, _, profiles = CHAPTERS[name]
    names = run(name)
    saved = figures.captions(smoke_copy.images)
    assert saved.keys() == drawn
    for words in saved.values():
        assert (smoke_copy.images / words["file"]).stat().st_size > 500
    proposals = to_try(name)
    assert len(proposals) >= 2
    for proposal in proposals:
        exec(proposal, names)
    own = {path.parent.name for path in smoke_copy.root.glob("data/*/profile.json")}
    assert own == profiles
    for profile in own:  # what a proposal changes was computed under a name of its own
        assert Workspace.open(profile).names("*.json") != ["profile.json"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_is_whole(name):
    book = read(name)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    tags = [tag for cell in code for tag in cell.metadata.get("tags", ())]
    assert tags.count("parameters") == 1 and CHAPTERS[name][1] <= set(tags)
    assert [c.source for c in code if "parameters" in c.metadata.get("tags", ())] == [
        'profile = "quick"'
    ]
    assert not any(cell.outputs or cell.execution_count for cell in code)
    source = "\n".join(cell.source for cell in code)
    assert re.search(r"^(def|class) ", source, re.M), "it builds its idea"
    assert "assert_close" in source or "assert_array_equal" in source, "and checks it"
    assert "caption" not in source and book.cells[0].source.startswith(f"# {int(name[:2])} · ")


def test_the_checks_of_the_chapters_can_fail(run, monkeypatch):
    """The original's way of sampling would not pass for awm's, nor would other attention."""
    from awm.models import vae
    from awm.models.attention import AdditiveAttention

    wrong = lambda mu, logvar, generator: (  # noqa: E731
        (mu + torch.exp(0.5 * logvar)) * torch.empty_like(mu).normal_(generator=generator)
    )
    monkeypatch.setattr(vae, "sample", wrong)
    with pytest.raises(AssertionError, match="not close"):
        run("02_vae")
    right = AdditiveAttention.forward

    def over_the_batch(self, items, query):
        _, weights = right(self, items, query)
        weights = weights / weights.sum(0, keepdim=True)
        return torch.einsum("bi,biv->bv", weights, items.values), weights

    monkeypatch.setattr(AdditiveAttention, "forward", over_the_batch)
    with pytest.raises(AssertionError, match="not close"):
        run("04_attention")
