"""Frames collected and stored a second, and the memory that it takes.

Driving, drawing, compressing and writing. Ten times the episodes need no more memory; the start of
the workers weighs on the shorter run.

    python benchmarks/collection.py
"""

import json
import resource
import subprocess
import sys
import tempfile
import time

from timing import keep, table

from awm.config import PRESETS
from awm.data.rollouts import collect
from awm.store import Workspace

EPISODES = (12, 120)


def measure(episodes: int) -> dict:
    """What it takes to collect, in a process of its own, so that the peak of memory is its own."""
    with tempfile.TemporaryDirectory(prefix="awm-benchmark-") as folder:
        command = [sys.executable, __file__, str(episodes), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(episodes: int, folder: str) -> None:
    profile = PRESETS["paper"].but("benchmark", data__rollouts=episodes)
    ws = Workspace.open(profile, folder)
    started = time.perf_counter()
    rollouts = collect(ws)
    seconds = time.perf_counter() - started
    everyone = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in everyone)
    frames = int((rollouts.lengths + 1).sum())
    print(json.dumps({"speed": frames / seconds, "peak_mib": peak / 1024}))


def main() -> None:
    found = {f"{n} episodes of 384 steps": measure(n) for n in EPISODES}
    keep(
        "collection",
        table(
            "Collecting rollouts, all cores, start of the workers included", "frames/s",
            {name: each["speed"] for name, each in found.items()},
        ),
        table(
            "Largest process while collecting", "MiB",
            {name: each["peak_mib"] for name, each in found.items()},
        ),
    )  # fmt: skip


if __name__ == "__main__":
    child(int(sys.argv[1]), sys.argv[2]) if sys.argv[1:] else main()
