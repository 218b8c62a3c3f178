"""Killed at random moments, again and again, the study ends as if nothing had happened.

Takes minutes, and is left out unless AWM_KILLS says how many kills there shall be (`make attack`).
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from awm.data.rollouts import open_rollouts
from awm.evolution.search import log_of, searches
from awm.store import Workspace, read_json

KILLS = int(os.environ.get("AWM_KILLS", "0"))

STUDY = """
from awm import cli

STAGES = [
    "collect", "train vae", "train mdn-rnn --all", "train feature-map", "evolve plain_track",
    "evolve V_track", "evolve plain_track_refined", "evolve plain_dream", "iterate",
    "evaluate plain_track", "evaluate plain_track --frames reference", "evaluate V_track",
]
if __name__ == "__main__":
    for stage in STAGES:
        status = cli.main([*stage.split(), "--profile", "smoke"])
        assert status == 0, stage
"""


def run(script, root, lives_for: float | None) -> bool:
    """Run the study, for so many seconds; returns whether it has come to its end."""
    process = subprocess.Popen(
        [sys.executable, str(script)], env={**os.environ, "AWM_ROOT": str(root)},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=lives_for)
    except subprocess.TimeoutExpired:
        # The parent alone, or all of them: a worker must not go on writing by itself.
        whom = os.killpg if random.random() < 0.5 else os.kill
        whom(process.pid, signal.SIGKILL)
        process.communicate()
        return False
    assert process.returncode == 0, said[-3000:]
    return True


def outcome(root) -> dict:
    """All that was found, without when and how long."""
    ws = Workspace.open("smoke", root)
    found = {"rollouts": [open_rollouts(ws).column(n) for n in ("frames", "actions", "rewards")]}
    for name in ws.names("**/*.safetensors"):
        found[name] = ws.find(name).read_bytes()
    for agent in searches(ws):
        log = [
            {k: v for k, v in e.items() if k not in ("seconds", "record")}
            for e in log_of(ws, agent)
        ]
        found[str(agent)] = log
    for name in ws.names("evaluations/*.json"):
        found[name] = [read_json(ws.find(name))[key] for key in ("returns", "lengths", "seeds")]
    return found


def same(one, other) -> bool:
    if hasattr(one, "shape"):
        return one.shape == other.shape and bool((one == other).all())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.skipif(not KILLS, reason="takes minutes: set AWM_KILLS")
def test_killed_runs_end_like_one_that_was_not(tmp_path):
    script = tmp_path / "study.py"
    script.write_text(STUDY)
    random.seed(0)
    started = time.monotonic()
    assert run(script, tmp_path / "whole", None)
    whole, seconds = outcome(tmp_path / "whole"), time.monotonic() - started
    kills = study = 0
    while kills < KILLS:
        study += 1
        root = tmp_path / f"killed{study}"
        while not run(
            script, root, random.uniform(3, max(10, seconds / 4)) if kills < KILLS else None
        ):
            kills += 1
        found = outcome(root)
        assert found.keys() == whole.keys()
        for name, value in found.items():
            assert same(value, whole[name]), name
        # What a killed run has half-written is gone, but for what no later run has come by.
        left = [p for p in root.rglob(".*") if p.name != ".locks" and p.parent.name != ".locks"]
        assert not [path for path in left if path.suffix != ".zarr"], left
    print(f"{kills} kills in {study} studies of {seconds:.0f} s, all ended alike")
