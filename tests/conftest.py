"""Fixtures: an empty workspace for every test, and one of the smoke profile with all results."""

import os
import shutil

# Before anything imports them. No test needs a window; and test processes side by side that each
# compute with all cores would wait for each other more than they compute.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from concurrent.futures import ThreadPoolExecutor

import pytest
from filelock import FileLock
from hypothesis import settings

# Machines that are busy are slow; and nothing is left behind where tests run.
settings.register_profile("awm", deadline=None, database=None)
settings.load_profile("awm")


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    """Nothing that a test writes lands in the repository."""
    monkeypatch.setenv("AWM_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """The smoke profile's `Workspace` with all that its stages make but rounds; to read from.

    It is made once, whatever the number of test processes: the others wait for it.
    """
    from awm.store import Workspace

    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "smoke"
    ws = Workspace.open("smoke", root)
    with FileLock(f"{root}.lock"):
        if not (root / "finished").exists():
            _make(ws)
            (root / "finished").touch()
    return ws


def _make(ws) -> None:
    from awm.data.rollouts import collect
    from awm.evolution.search import evolve
    from awm.ids import KINDS, Agent, Memory
    from awm.training import feature_map, mdn_rnn, vae

    collect(ws, workers=2)  # with processes, as everyone does
    vae.train(ws)
    for seed in range(ws.profile.mdn_rnn.seeds):
        for kind in KINDS:
            mdn_rnn.train(ws, Memory(kind, seed))
    feature_map.train(ws)
    with ThreadPoolExecutor(1) as pool:
        for agent in (*ws.profile.agents, *ws.profile.headline, Agent(found="dream")):
            evolve(ws, agent, pool)


@pytest.fixture
def smoke_copy(smoke, tmp_path):
    """A copy of it, to damage and to go on with."""
    from awm.store import Workspace

    shutil.copytree(smoke.root / "data", tmp_path / "data")
    return Workspace.open("smoke", tmp_path)


@pytest.fixture(scope="session")
def synthetic_ws(tmp_path_factory):
    """What the stages would leave of the smoke profile, out of thin air; to read from."""
    import synthetic

    return synthetic.workspace(tmp_path_factory.mktemp("synthetic"))


@pytest.fixture
def hands():
    """A thread of this process in the place of workers."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def short_laps(monkeypatch):
    """Episodes of a few steps, as long as they are driven in this process."""
    from awm.worlds import lanes

    monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 12)


@pytest.fixture(scope="module")
def browser():
    """Chromium; its tests are skipped where there is none."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def pytest_collection_modifyitems(items):
    """The whole study first: it takes minutes, in which the other processes run all the rest."""
    items.sort(key=lambda item: item.path.name != "test_all.py")
