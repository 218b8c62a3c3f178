"""How the benchmarks here time, print and keep: contenders in turn, the median of several rounds.

Two processes on a busy machine drift together, so what is quoted is the ratio within one run.
"""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from awm import store

RESULTS = Path(__file__).parent / "results"


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


def shown(value: float) -> str:
    """Three digits at least, and no decimals that a benchmark does not know."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(title: str, unit: str, found: dict[str, float], baseline: str | None = None) -> dict:
    """Print rates with their ratios to the baseline; returns them as what `keep` takes."""
    print(f"\n{title}")
    for name, value in found.items():
        ratio = f"{value / found[baseline]:>9.1f} ×" if baseline else ""
        print(f"  {name:<48}{shown(value):>12} {unit}{ratio}", flush=True)
    return {"title": title, "unit": unit, "rates": found, "baseline": baseline}


def keep(name: str, *tables: dict, **extra) -> None:
    """Write a benchmark's tables to `benchmarks/results/<name>.json`, with machine and commit."""
    record = {
        "tables": list(tables),
        **extra,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **store.machine(),
        **store.commit(),
    }
    store.write_json(RESULTS / f"{name}.json", record)
