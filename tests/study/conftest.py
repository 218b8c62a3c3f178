"""Workers of the study that are threads of this process: they start at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from awm.data import rollouts
from awm.worlds import crew


@pytest.fixture
def threads(monkeypatch, short_laps):
    """In the place of processes; so that short laps reach them."""
    for module in (crew, rollouts):
        monkeypatch.setattr(module, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
