"""How the benchmarks here time and print: contenders in turn, the median of several rounds.

Two processes on a busy machine drift together, so what is quoted is the ratio within one run.
"""

import json
import statistics
import time
from collections.abc import Callable

from awm import provenance


def rates(contenders: dict[str, Callable[[], int]], rounds: int = 5) -> dict[str, float]:
    """Units a second of each contender: a call does some units of work and returns how many.

    One call of each is a warm-up; then all take turns, `rounds` times.
    """
    for run in contenders.values():
        run()
    found = {name: [] for name in contenders}
    for _round in range(rounds):
        for name, run in contenders.items():
            started = time.perf_counter()
            units = run()
            found[name].append(units / (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in found.items()}


def show(title: str, unit: str, found: dict[str, float], baseline: str) -> None:
    """Print a table with ratios to the baseline, then the same as one line of JSON."""
    print(f"\n{title}")
    for name, value in found.items():
        print(f"  {name:<44}{value:>12,.0f} {unit}{value / found[baseline]:>9.1f} ×")
    result = {"benchmark": title, "unit": unit, "rates": found, "baseline": baseline}
    print(json.dumps({**result, **provenance.machine(), **provenance.commit()}))
