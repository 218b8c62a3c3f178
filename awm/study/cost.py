"""What an agent cost, from nothing, and what each way to a driver had earned for what it spent."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import median, median_high

from awm import stages
from awm.config import Profile
from awm.evolution.search import log_of
from awm.ids import PLAIN, Agent, Memory
from awm.store import Stage, Workspace, read_json
from awm.study.rounds import recorded, waking


def cost(ws: Workspace, agent: Agent) -> dict:
    """What it took to find an agent, from nothing.

    Returns `real_steps` (recorded, and driven by every search that led to it, validation
    included), `dream_steps`, `watched_laps`, and `core_hours`: of the rollouts, V, M and those
    searches. Searches count whole, with the generations after the one that was chosen. Watched
    laps were driven on the real track to follow a search in a dream: they chose nothing, and how
    many steps they took was not recorded. Core-hours are elapsed time times cores, whatever else
    the machine did, but without the pauses in training V and M. A value is None where something
    was not recorded.
    """
    return _cost(ws, agent.memory, _searches(ws.profile, agent))


def progress(ws: Workspace, agent: Agent) -> list[dict]:
    """The real return along an agent's last search, against what had been spent by then.

    A point is a validation of the distribution's mean: `real`, its return on real validation
    tracks, and what it took to arrive at that mean, `real_steps` and `core_hours` as in `cost`; the
    laps of its own validation count from the next point on. Empty if there is no log, or if it is
    not known what something took.
    """
    *earlier, _ = _searches(ws.profile, agent)
    before, log = _cost(ws, agent.memory, earlier), log_of(ws, agent)
    if not log or None in before.values():
        return []
    record, dreams = log[0].get("record", {}), agent.found == "dream"
    if _core_hours(0.0, record) is None:
        return []
    # A generation's entry counts its candidates, which the mean validated in it did not need.
    spent = [{"steps": 0, "seconds": 0.0}, *log]
    return [
        {
            "real": entry["real"] if dreams else entry["validation"],
            "real_steps": before["real_steps"] + (0 if dreams else then["steps"]),
            "core_hours": before["core_hours"] + _core_hours(then["seconds"], record),
        }
        for then, entry in zip(spent, log, strict=False)
        if entry["validation"] is not None
    ]


def routes(ws: Workspace, kind: str = "plain") -> dict[str, list[list[dict]]]:
    """The ways to a driver, each with the `progress` of its runs: on the track from zero, in dreams
    alone (a run is a chain, a point a round of iterative training), and on the track from a dream.
    """
    dream = ws.profile.dream
    # As many as dreamt, with the same seeds or the same Ms: those of the chains.
    zero = [ws.profile.agent(kind, seed) for seed in range(dream.chains or dream.seeds)]
    found = {"on the track from zero": [progress(ws, agent) for agent in zero]}
    chains = [recorded(ws, memory) for memory in ws.profile.chains if memory.kind == kind]
    if any(chains):
        found["in dreams alone, round by round"] = [
            [cost(ws, Agent.parse(each["agent"])) | {"real": each["real"]} for each in chain]
            for chain in chains
        ]
    for n in dream.on_track:
        found[f"on the track from the dream of round {n}"] = [
            progress(ws, agent) for agent in waking(ws, n) if agent.memory.kind == kind
        ]
    return found


def dream_logs(ws: Workspace, memory: Memory = PLAIN) -> dict[float, list[list[dict]]]:
    """The logs of the searches in a memory's dream, a list for each temperature."""
    found = {}
    for temperature in (None, *ws.profile.dream.temperatures):
        seeds = range(ws.profile.dream.seeds)
        agents = [Agent(memory, "dream", seed, temperature) for seed in seeds]
        logs = [log for log in (log_of(ws, agent) for agent in agents) if log]
        if logs:
            found[stages.search(ws.profile, agents[0]).temperature] = logs
    return found


def spent(runs: Sequence[list[dict]], level: float) -> dict | None:
    """What it took until the real return first reached `level`: the median over `progress` of
    several seeds, where a seed that did not get there counts as never.

    Returns `real_steps` and `core_hours`, or None if the seed in the middle never got there.
    """
    found = [next((p for p in run if p["real"] >= level), None) for run in runs if run]
    if not found:
        return None
    never = {"real_steps": math.inf, "core_hours": math.inf}
    middle = {key: median_high([(point or never)[key] for point in found]) for key in never}
    return None if math.inf in middle.values() else middle


def _cost(ws: Workspace, memory: Memory, searches: list[Agent]) -> dict:
    rollouts = [_record(ws, stage) for stage in stages.recorded(ws.profile, memory)]
    parts = [*rollouts, _record(ws, stages.vae(ws.profile))]
    if memory.has_m:
        rounds = [replace(memory, round=n) for n in range(memory.round + 1)]
        parts += [_record(ws, stages.mdn_rnn(ws.profile, each)) for each in rounds]
    hours = [_core_hours(_seconds(part), part) for part in parts]
    steps = {
        "real_steps": [_recorded_steps(part) for part in rollouts],
        "dream_steps": [0],
        "watched_laps": [0],
    }
    for agent in searches:
        log = log_of(ws, agent)
        if not log:
            hours.append(None)
            continue
        steps["dream_steps" if agent.found == "dream" else "real_steps"].append(log[-1]["steps"])
        watched = sum(entry.get("real") is not None for entry in log)
        steps["watched_laps"].append(watched * stages.search(ws.profile, agent).validation_tracks)
        hours.append(_core_hours(log[-1]["seconds"], log[0].get("record", {})))
    known = {**steps, "core_hours": hours}
    return {key: None if None in values else sum(values) for key, values in known.items()}


def _searches(profile: Profile, agent: Agent) -> list[Agent]:
    """The searches that led to an agent, in their order; in a round of iterative training also
    those of the rounds before, whose agents recorded.
    """
    rounds = [replace(agent.memory, round=n + 1) for n in range(agent.memory.round)]
    recorders = [who for memory in rounds for who in stages.recorders(profile, memory)]
    return [*recorders, *agent.searches]


def _record(ws: Workspace, stage: Stage) -> dict:
    """The manifest of a stage, even where the result itself is not kept."""
    path = ws.find(str(Path(stage.name).with_suffix(".json")))
    return read_json(path) if path else {}


def _recorded_steps(rollouts: dict) -> int | None:
    """An episode of n steps has n + 1 frames."""
    known = "frames" in rollouts and "seeds" in rollouts
    return rollouts["frames"] - len(rollouts["seeds"]) if known else None


def _seconds(record: dict) -> float | None:
    """How long a stage took. Where a training's history shows that it stood still, for ten times
    its usual interval or longer, that interval counts as ten usual ones.
    """
    seconds = [0.0, *(e["seconds"] for e in record.get("history", []) if "seconds" in e)]
    intervals = [end - start for start, end in pairwise(seconds)]
    if len(intervals) < 3:
        return record.get("wall_time_s")
    longest = 10 * median(intervals)
    return record["wall_time_s"] - sum(max(0.0, each - longest) for each in intervals)


def _core_hours(seconds: float | None, record: dict) -> float | None:
    # Ms are trained side by side with a thread each; what does not say so had all cores.
    cores = record.get("threads", record.get("cpu_count"))
    return None if seconds is None or cores is None else seconds * cores / 3600
