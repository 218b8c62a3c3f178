"""The hours of a full budget (Ha & Schmidhuber 2018, appendix A.4) on any number of cores, with no
number that is not in the record.

What the world-models paper's own budget would cost: 1,800 generations of 64 candidates, 16 rollouts
each. Measured are steps per second with few workers (there are two cores), what a step of so many
lanes takes, CMA-ES between generations, and what travels; the rest follows from these. Episodes
last 150 to 1,000 steps, evenly; they are dealt out before a generation begins, and it ends with its
last. That is what stops scaling first: with a thousand cores there is about one episode for each,
so that most wait for the longest, and a batch of one frame costs more than a third of one of eight.
What travels would take a gigabit network a small part of a generation's time.

    python benchmarks/scaling.py
"""

import pickle
import tempfile

import numpy as np
from closed_loop import ours, prepare, with_lanes
from timing import keep, rates, table

from awm.evolution.optimizer import Optimizer
from awm.ids import PLAIN
from awm.store import Workspace
from awm.worlds.crew import Track, crew, parcel
from awm.worlds.lanes import Job, Outcome, drive

GENERATIONS, CANDIDATES, ROLLOUTS = 1800, 64, 16
WORKERS = (1, 2, 4)
CORES = (2, 16, 64, 256, 1000)
LANES = (1, 2, 4, 8, 16, 32)
#: Steps of an episode: how far the agents of a search come, from its beginning to its end.
SHORTEST, LONGEST = 150, 1000


def in_step(ws: Workspace, layers: np.ndarray, lanes: int):
    """Steps of all lanes together on one core."""
    jobs = [Job(i, 1, patience=60) for i in range(lanes)]
    world = Track.of(with_lanes(ws, lanes), PLAIN).open()
    return lambda: max(outcome.length for outcome in drive(world, layers, jobs))


def optimizing(parameters: int):
    """Asking for a generation and telling its fitness."""
    optimizer = Optimizer(np.zeros(parameters), 0.03, CANDIDATES, 0)

    def run() -> int:
        optimizer.tell(optimizer.ask(), np.arange(CANDIDATES))
        return 1

    return run


def bytes_a_generation(ws: Workspace, layers: np.ndarray, workers: int) -> int:
    """What travels: to each worker the place, the weights and its jobs, and back its outcomes."""
    place = Track.of(ws, PLAIN)
    jobs = [Job(c, s) for c in range(CANDIDATES) for s in range(ROLLOUTS)]
    parts = [part for part in (jobs[n::workers] for n in range(workers)) if part]
    out = sum(len(pickle.dumps((place, *parcel(layers, part)))) for part in parts)
    back = len(pickle.dumps([Outcome(j.candidate, j.seed, 1.0, 1, 1.0, True) for j in jobs]))
    return out + back


def generation_seconds(cores: int, a_step: dict[int, float], serial: float) -> tuple[float, float]:
    """Of a generation on so many cores, and the share of core time that is spent waiting.

    Every worker has the number of lanes that suits it. Lanes take the next episode as they become
    free, one worker's as another's; the generation ends with its last episode.
    """
    rng = np.random.default_rng(0)
    lengths = rng.uniform(SHORTEST, LONGEST, CANDIDATES * ROLLOUTS)
    best = None
    for lanes, step in a_step.items():
        ends, busy = [0.0] * cores * lanes, 0.0
        for n, length in enumerate(lengths):
            # Episodes are dealt out beforehand, so a worker's lanes share its own.
            worker = n % cores
            at = worker * lanes + int(np.argmin(ends[worker * lanes : (worker + 1) * lanes]))
            ends[at] += length * step
            busy += length * step / lanes
        whole = max(ends) + serial
        if best is None or whole < best[0]:
            best = whole, 1 - busy / (whole * cores)
    return best


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="awm-benchmark-") as folder,
        crew(max(WORKERS)) as hands,
    ):
        ws = Workspace.open("second", folder)
        layers = prepare(ws)
        driven = {f"{n} workers": ours(hands, ws, layers, workers=n) for n in WORKERS}
        measured = rates(driven, rounds=1)
        rate = rates({lanes: in_step(ws, layers, lanes) for lanes in LANES}, rounds=1)
        a_step = {lanes: 1 / steps for lanes, steps in rate.items()}
        serial = 1 / rates({"": optimizing(3 * 289)})[""]
        travels = {f"{n} cores": bytes_a_generation(ws, layers, n) / 1e6 for n in CORES}
    hours, waiting = {}, {}
    for cores in CORES:
        seconds, idle = generation_seconds(cores, a_step, serial)
        hours[f"{cores} cores"] = seconds * GENERATIONS / 3600
        waiting[f"{cores} cores"] = 100 * idle
    tables = [
        table("Closed loop, measured on this machine's cores", "steps/s", measured),
        table(
            "A step of all lanes on one core, measured", "µs",
            {f"{lanes} lanes": 1e6 * value for lanes, value in a_step.items()},
        ),
        table("1,800 generations of 64 × 16 rollouts, reckoned", "hours", hours),
        table("Core time spent waiting, reckoned", "%", waiting),
        table("What travels in a generation", "MB", travels),
    ]  # fmt: skip
    keep("scaling", *tables, serial_s=serial)


if __name__ == "__main__":
    main()
