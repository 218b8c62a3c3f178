"""Fixtures: a workspace of its own for every test, and one with the smoke profile's models."""

import os

# Before anything imports them. No test needs a window; and test processes side by side that each
# compute with all cores would wait for each other more than they compute.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """Nothing that a test writes lands in the repository."""
    monkeypatch.setenv("AWM_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def smoke_root(tmp_path_factory):
    """A workspace with the smoke profile's models trained and controllers evolved, once."""
    from awm import dataset, evolution, mdn_rnn, vae

    root = tmp_path_factory.mktemp("smoke")
    before = os.environ.get("AWM_ROOT")
    os.environ["AWM_ROOT"] = str(root)
    try:
        dataset.collect("smoke")
        vae.train("smoke")
        for model in ("none", "spatial", "temporal", "feature"):
            mdn_rnn.train("smoke", model)
        evolution.evolve("smoke", "none")
    finally:
        if before is None:
            del os.environ["AWM_ROOT"]
        else:
            os.environ["AWM_ROOT"] = before
    return root


@pytest.fixture
def smoke(smoke_root, monkeypatch):
    """The smoke workspace, to read from."""
    monkeypatch.setenv("AWM_ROOT", str(smoke_root))
    return smoke_root


@pytest.fixture
def smoke_copy(smoke_root, tmp_path, monkeypatch):
    """A copy of the smoke workspace, to damage."""
    import shutil

    shutil.copytree(smoke_root / "data", tmp_path / "data")
    monkeypatch.setenv("AWM_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def browser():
    """Chromium; its tests are skipped where there is none."""
    import shutil

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def short_laps(monkeypatch):
    """Threads of this process in the place of workers, and episodes of a few steps."""
    from concurrent.futures import ThreadPoolExecutor
    from contextlib import contextmanager

    from awm import rollout

    @contextmanager
    def threads(count=None):
        with ThreadPoolExecutor(1) as pool:
            pool._max_workers = 1
            yield pool

    monkeypatch.setattr(rollout, "workers", threads)
    monkeypatch.setattr(rollout, "MAX_EPISODE_STEPS", 12)


@pytest.fixture
def dies_at_first_checkpoint(monkeypatch):
    """Training that is killed right after its first checkpoint; a list of checkpoints written."""
    from awm import weights

    original, written = weights.Checkpoint.save, []

    def save(self, *arguments):
        original(self, *arguments)
        written.append(self.file)
        if len(written) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(weights.Checkpoint, "save", save)
    return written
