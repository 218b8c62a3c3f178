"""Frames collected and stored a second, and the memory that it takes.

Driving, drawing, compressing and writing. Ten times the episodes need no more memory; the start of
the workers weighs on the shorter run.

    python benchmarks/collection.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from timing import keep, table

EPISODES = (12, 120)

#: Run in a process of its own, so that the peak of its memory is its own.
CHILD = """
import json, resource, sys, time
from awm.config import PRESETS
from awm.data.rollouts import collect
from awm.store import Workspace

if __name__ == "__main__":
    profile = PRESETS["paper"].but("benchmark", data__rollouts=int(sys.argv[1]))
    ws = Workspace.open(profile, sys.argv[2])
    started = time.perf_counter()
    rollouts = collect(ws)
    seconds = time.perf_counter() - started
    everyone = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    peak = max(resource.getrusage(who).ru_maxrss for who in everyone)
    frames = int((rollouts.lengths + 1).sum())
    print(json.dumps({"frames": frames, "seconds": seconds, "peak_mib": peak / 1024}))
"""


def collect(episodes: int) -> dict:
    with tempfile.TemporaryDirectory(prefix="awm-benchmark-") as folder:
        script = Path(folder) / "child.py"
        script.write_text(CHILD)
        done = subprocess.run(
            [sys.executable, str(script), str(episodes), folder],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    found = {f"{n} episodes of 384 steps": collect(n) for n in EPISODES}
    speed = {name: f["frames"] / f["seconds"] for name, f in found.items()}
    memory = {name: f["peak_mib"] for name, f in found.items()}
    keep(
        "collection",
        table("Collecting rollouts, all cores, start of the workers included", "frames/s", speed),
        table("Largest process while collecting", "MiB", memory),
    )


if __name__ == "__main__":
    main()
