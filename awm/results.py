"""The study's results: every evaluation beside what it cost, and what evolution's seeds agree on.

The report keeps `entries` as `report/results.json`.
"""

import filecmp
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, median_high

from awm import config, evolution, provenance, statistics
from awm.config import ATTENTIONS, MODELS, Profile, get_profile
from awm.names import Name, dreamt, evolved, seen, woken
from awm.statistics import Estimate, Perfect


def evaluations(profile: Profile | str) -> dict[Path, dict]:
    """What the profile's evaluations found, by file: models in their usual order."""
    profile = get_profile(profile)
    found = {}
    for each in _rounds(profile, profile.dream_rounds):
        names = {
            path.name
            for folder in (config.data_dir(each), config.pretrained_dir() / each.folder)
            for path in folder.glob("evaluations/[!.]*.json")
        }
        paths = [recorded(each, f"evaluations/{name}") for name in names]
        found |= {path: provenance.read_json(path) for path in paths}
    order = {model: position for position, model in enumerate(MODELS)}

    def place(item):
        result = item[1]
        name = Name.parse(result["controller"])
        return order.get(name.model, len(order)), result["controller"], result["frames"]

    return dict(sorted(found.items(), key=place))


def cost(profile: Profile | str, controller: str) -> dict:
    """What it took to find a controller, from nothing.

    Returns `real_steps` (recorded, and driven by every search that led to it, validation
    included), `dream_steps`, `watched_laps`, and `core_hours`: of the rollouts, V, M and those
    searches. Searches count whole, with the generations after the one that was chosen. Watched
    laps were driven on the real track to follow a search in a dream: they chose nothing, and how
    many steps they took was not recorded. Core-hours are elapsed time times cores, whatever else
    the machine did, but without the pauses in training V and M. A value is None where something
    was not recorded.
    """
    profile, name = get_profile(profile), Name.parse(controller)
    return _cost(profile, name, _searches(profile, name))


def progress(profile: Profile | str, controller: str) -> list[dict]:
    """The real return along a controller's last search, against what had been spent by then.

    A point is a validation of the distribution's mean: `real`, its return on real validation
    tracks, and what it took to arrive at that mean, `real_steps` and `core_hours` as in `cost`; the
    laps of its own validation count from the next point on. Empty if there is no log, or if it is
    not known what something took.
    """
    profile, name = get_profile(profile), Name.parse(controller)
    *earlier, (where, search) = _searches(profile, name)
    before = _cost(profile, name, earlier)
    log = evolution.read_log(where, search)
    if not log or None in before.values():
        return []
    in_a_dream, record = _in_a_dream(log), log[0].get("record", {})
    if _core_hours(0.0, record) is None:
        return []
    # A generation's entry counts its candidates, which the mean validated in it did not need.
    spent = [{"steps": 0, "seconds": 0.0}, *log]
    return [
        {
            "real": entry["real"] if in_a_dream else entry["validation"],
            "real_steps": before["real_steps"] + (0 if in_a_dream else then["steps"]),
            "core_hours": before["core_hours"] + _core_hours(then["seconds"], record),
        }
        for then, entry in zip(spent, log, strict=False)
        if entry["validation"] is not None
    ]


def routes(profile: Profile | str, model: str = "none") -> dict[str, list[list[dict]]]:
    """The ways to a driver, each with the `progress` of its seeds: on the track from zero, in
    dreams alone (a point is a round of iterative training), and on the track from a dream.
    """
    profile = get_profile(profile)
    # The seeds that dreamt, too: the same tracks, and the same M.
    zero = [evolved(model, seed) for seed in range(profile.dream_seeds)]
    found = {"on the track from zero": [progress(profile, name) for name in zero]}
    rounds = _record(profile, f"iteration-{model}.json").get("rounds", [])
    if rounds:
        found["in dreams alone, round by round"] = [
            [cost(profile, each["controller"]) | {"real": each["real"]} for each in rounds]
        ]
    for n in profile.woken:
        names = [woken(dreamt(model, seed, round=n)) for seed in range(profile.dream_seeds)]
        found[f"on the track from the dream of round {n}"] = [
            progress(profile, name) for name in names
        ]
    return found


def dream_logs(profile: Profile | str, model: str = "none") -> dict[float, list[list[dict]]]:
    """The logs of the searches in a model's first dream, a list for each temperature."""
    profile = get_profile(profile)
    found = {}
    for temperature in (None, *profile.dream_temperatures):
        names = [dreamt(model, seed, temperature) for seed in range(profile.dream_seeds)]
        logs = [log for log in (evolution.read_log(profile, name) for name in names) if log]
        if logs:
            found[profile.dream.temperature if temperature is None else temperature] = logs
    return found


def spent(runs: list[list[dict]], level: float) -> dict | None:
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


def _cost(profile: Profile, name: Name, searches: list[tuple[Profile, str]]) -> dict:
    rounds = list(_rounds(profile, name.round))
    rollouts = [_record(each, "rollouts.json") for each in rounds]
    parts = [*rollouts, _record(profile, "vae.json")]
    if name.model != "V":
        m = name.model if name.dream else seen(profile, name.model, name.seed)
        parts += [_record(each, f"mdn_rnn-{m}.json") for each in rounds]
    hours = [_core_hours(_seconds(part), part) for part in parts]
    recorded_steps = [_recorded_steps(part) for part in rollouts]
    steps = {"real_steps": recorded_steps, "dream_steps": [0], "watched_laps": [0]}
    for where, search in searches:
        log = evolution.read_log(where, search)
        if not log:
            hours.append(None)
            continue
        steps["dream_steps" if _in_a_dream(log) else "real_steps"].append(log[-1]["steps"])
        watched = sum(entry.get("real") is not None for entry in log)
        tracks = log[0].get("settings", {}).get("validation_tracks", 0)
        steps["watched_laps"].append(watched * tracks)
        hours.append(_core_hours(log[-1]["seconds"], log[0].get("record", {})))
    known = {**steps, "core_hours": hours}
    return {key: None if None in values else sum(values) for key, values in known.items()}


def _in_a_dream(log: list[dict]) -> bool:
    return log[0].get("settings", {}).get("temperature") is not None


def _searches(profile: Profile, name: Name) -> list[tuple[Profile, str]]:
    """The searches that led to a controller, in their order: those that what it began at came
    from; in a round of iterative training also those of the rounds before, whose controllers
    recorded.
    """
    if name.start is not None:
        return [*_searches(profile, name.start), (replace(profile, round=name.round), str(name))]
    # Whatever this dream's seed and temperature: rollouts were recorded by the usual controllers.
    rounds = [replace(name, round=n, seed=0, temperature=None) for n in range(name.round)]
    return [(replace(profile, round=each.round), str(each)) for each in [*rounds, name]]


def _rounds(profile: Profile, last: int) -> Iterator[Profile]:
    return (replace(profile, round=n) for n in range(last + 1))


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
    cores = record.get("cpu_count")
    return None if seconds is None or cores is None else seconds * cores / 3600


def recorded(profile: Profile, name: str) -> Path:
    """Where to read a record: in `data/`, or what is committed if that is the same or all there is.

    Unlike `config.artefact` it also finds the records of a profile whose weights are not committed.
    """
    own = config.data_dir(profile) / name
    committed = config.pretrained_dir() / profile.folder / name
    if not committed.exists():
        return own
    same = not own.exists() or filecmp.cmp(own, committed, shallow=False)
    return committed if same else own


def _record(profile: Profile, name: str) -> dict:
    path = recorded(profile, name)
    return provenance.read_json(path) if path.exists() else {}


def entries(profile: Profile | str) -> list[dict]:
    """One entry an evaluation: what was driven, how it went, what it cost, where it is recorded."""
    profile = get_profile(profile)
    table = []
    for path, found in evaluations(profile).items():
        name, m = Name.parse(found["controller"]), Name.parse(found["model"])
        table.append(
            {
                "name": found["controller"],
                "model": m.model,
                "attention": m.model if m.model in ATTENTIONS else "none",
                "mdn_rnn_seed": m.seed,
                "evolution_seed": name.seed,
                **{
                    key: found[key]
                    for key in (
                        "frames", "episodes", "mean", "std", "median", "ci95", "finished",
                        "over_900", "seeds",
                    )
                },
                "worst": sorted(found["returns"])[:5],
                **cost(profile, found["controller"]),
                "commit": found["commit"],
                "date": found["date"],
                "record": str(path.relative_to(config.root())),
            }
        )  # fmt: skip
    return table


#: The return of a perfect lap, at least: 1000 less a tenth of at most 1,000 steps.
PERFECT = 900

#: On fewer common tracks than this a comparison says nothing.
FEWEST_TRACKS = 8


def compare(ones: list[dict], others: list[dict]) -> Estimate | None:
    """What one kind of model earns beyond another, by `statistics.difference` over their searches.

    Args:
        ones, others: evaluations (`awm.evaluation.evaluate`), one a search, on the same frames.

    Returns:
        None where either side is a single search, which says nothing of what another would find
        (`compare_agents` is for these), or where too few tracks are common to all.
    """
    tracks = _common_tracks([*ones, *others])
    if min(len(ones), len(others)) < 2 or len(tracks) < FEWEST_TRACKS:
        return None
    first, second = ([fmean(_returns(e, tracks)) for e in side] for side in (ones, others))
    return statistics.difference(first, second)


@dataclass(frozen=True)
class Duel:
    """One agent less another, track by track: it speaks of these two, not of other searches."""

    tracks: int
    mean: Estimate  #: of the difference of returns, with the bootstrap's interval over tracks
    median: Estimate
    perfect: Perfect


def compare_agents(one: dict, other: dict) -> Duel | None:
    """Two evaluated agents on their common tracks; None if these are too few."""
    tracks = _common_tracks([one, other])
    if len(tracks) < FEWEST_TRACKS:
        return None
    first, second = (_returns(e, tracks) for e in (one, other))
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    return Duel(
        len(tracks),
        Estimate(fmean(gaps), *statistics.mean_of_laps(gaps)),
        statistics.median_of_pairs(first, second),
        statistics.perfect_laps(*([r >= PERFECT for r in side] for side in (first, second))),
    )


def _common_tracks(found: list[dict]) -> list[int]:
    return sorted(set.intersection(*(set(e["seeds"]) for e in found))) if found else []


def _returns(evaluation: dict, tracks: list[int]) -> list[float]:
    by_track = dict(zip(evaluation["seeds"], evaluation["returns"], strict=True))
    return [by_track[track] for track in tracks]
