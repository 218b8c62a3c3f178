"""Workers of the study that are threads of this process: they start at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from awm import processes


@pytest.fixture
def threads(monkeypatch, short_laps):
    """In the place of processes; so that short laps reach them."""
    monkeypatch.setattr(processes, "pool", lambda workers=None: ThreadPoolExecutor(1))
