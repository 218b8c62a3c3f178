"""What an agent is worth: full episodes on tracks that nothing was trained or selected on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from awm import config, stages
from awm.errors import AwmError
from awm.evolution import search
from awm.ids import ATTENTIONS, SEEN, Agent
from awm.processes import Workers
from awm.store import Workspace, read_json, sealed, unsealed
from awm.study import statistics
from awm.study.statistics import Estimate, Perfect
from awm.worlds.altered import ALTERATIONS
from awm.worlds.altered import check as check_alteration
from awm.worlds.crew import Track, crew
from awm.worlds.lanes import Job, Outcome
from awm.worlds.track import FRAMES

#: What others have reported, each number with its place: returns of agents, on CarRacing-v0 and
#: with other budgets, and what the original's code and pages say.
PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text("utf-8"))

#: The return of a perfect lap, at least: 1000 less a tenth of at most 1,000 steps.
PERFECT = 900

#: On fewer common tracks than this a comparison says nothing.
FEWEST_TRACKS = 8


def evaluate(
    ws: Workspace,
    agent: Agent,
    frames: str = "fast",
    episodes: int | None = None,
    seed: int | None = None,
    workers: Workers = None,
    alteration: str | None = None,
) -> dict:
    """Drive full episodes of unseen tracks and write down what came of it.

    Returns at once if the same evaluation of the same agent lies there already.

    Args:
        frames: `"fast"`, or `"reference"` for Gymnasium's own.
        episodes: by default the profile's number of test episodes.
        seed: the first of the test tracks, by default the profile's; their seeds are disjoint from
            all others whatever this is.
        alteration: of `awm.worlds.altered`: how the world looks otherwise.
        workers: as for `awm.processes.opened`.

    Returns:
        A record with `mean`, `std`, `median`, `ci95` of the returns, the share of laps `finished`
        and `over_900`, and of every lap `returns`, `lengths`, `tiles` and `seeds`.

    Raises:
        AwmError: if there is no such agent, or it is of another V or M than those that lie there.
    """
    if frames not in FRAMES:
        raise AwmError(f"There are no {frames!r} frames. Choose one of: {', '.join(FRAMES)}.")
    episodes = ws.profile.test_episodes(agent, frames) if episodes is None else episodes
    seed = ws.profile.test.first if seed is None else seed
    if episodes < 1:
        raise AwmError("Evaluate at least one episode.")
    check_alteration(alteration)
    search.load(ws, agent)  # before a result of it is looked up
    stage = stages.evaluation(ws.profile, agent, frames, episodes, seed, alteration)
    driven = _Driven((ws.own / stage.name).with_suffix(".driven.jsonl"), stage.key)
    seeds = config.track_seeds(config.TEST_SEEDS, episodes, seed)

    # Only while it drives, V and M must be there.
    found = ws.record(stage, lambda: _laps(ws, agent, frames, alteration, seeds, workers, driven))
    if driven.path.exists():
        driven.path.unlink()
    return found


class _Driven:
    """The laps of an evaluation that have been driven, a line each: an interrupted one goes on."""

    def __init__(self, path: Path, key: str):
        self.path, self.key = path, key
        self.outcomes: dict[int, Outcome] = {}

    def read(self, content: str) -> None:
        """Take over what was driven by the agent of that content, as far as it is whole."""
        self.content = content
        lines = self.path.read_text(errors="replace").splitlines() if self.path.exists() else []
        for line in lines:
            try:
                entry = unsealed(json.loads(line))
                whole = (entry.pop("key"), entry.pop("content")) == (self.key, content)
            except (ValueError, KeyError, RecursionError):
                continue
            if whole:
                self.outcomes[entry["seed"]] = Outcome(**entry)

    def add(self, outcomes: Sequence[Outcome]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            for outcome in outcomes:
                entry = {**asdict(outcome), "key": self.key, "content": self.content}
                file.write(json.dumps(sealed(entry)) + "\n")
                self.outcomes[outcome.seed] = outcome


def _laps(
    ws: Workspace,
    agent: Agent,
    frames: str,
    alteration: str | None,
    seeds: list[int],
    workers: Workers,
    driven: _Driven | None = None,
) -> dict:
    how = {"frames": frames, "alteration": alteration, "steps": ws.profile.test.steps}
    place = Track.of(ws, agent.memory, **how)
    controller = search.load(ws, agent)
    known: dict[int, Outcome] = {}
    if driven:
        driven.read("-".join((controller.manifest["content"], *place.contents)))
        known = driven.outcomes
    missing = [s for s in seeds if s not in known]
    with tqdm(
        total=len(seeds),
        initial=len(seeds) - len(missing),
        unit="episode",
        desc=f"{agent.label} on {alteration or frames} frames",
    ) as bar:

        def keep(done: list[Outcome]) -> None:
            known.update((o.seed, o) for o in done)
            if driven:
                driven.add(done)
            bar.update(len(done))

        if missing:
            with crew(workers) as hands:
                # Tasks of half a batch keep the bar moving, and little is lost by a kill.
                tasks = -(-len(missing) // (ws.profile.evolution.lanes // 2))
                hands.drive(
                    place,
                    controller.weights[None],
                    [Job(0, s) for s in missing],
                    tasks=max(tasks if frames == "reference" else 1, hands.size),
                    progress=keep,
                )
    outcomes = [known[s] for s in seeds]
    returns = np.array([o.episode_return for o in outcomes])
    interval = statistics.mean_of_laps(returns)
    return {
        "agent": str(agent),
        "frames": frames,
        **({"alteration": alteration} if alteration else {}),
        "episodes": len(seeds),
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "median": float(np.median(returns)),
        "ci95": interval and list(interval),
        "finished": float(np.mean([o.finished for o in outcomes])),
        "over_900": float((returns >= PERFECT).mean()),
        "returns": returns.tolist(),
        "lengths": [o.length for o in outcomes],
        "tiles": [o.tiles for o in outcomes],
        "seeds": seeds,
    }


def evaluate_altered(ws: Workspace, agent: Agent, workers: Workers = None) -> dict[str, dict]:
    """What an agent earns where the world looks otherwise: `evaluate`, by alteration.

    On the profile's number of fast test tracks, the first of those it has driven as they are.
    Empty if that number is 0.
    """
    how = {"episodes": ws.profile.test.altered_episodes, "workers": workers}
    asked = ALTERATIONS if how["episodes"] else ()
    return {each: evaluate(ws, agent, "fast", alteration=each, **how) for each in asked}


def evaluations(ws: Workspace, altered: bool = False) -> dict[str, dict]:
    """The study's own evaluations of the agents that lie there, by file, in the usual order.

    Those of agents that have been replaced since, or are of another V or M, are left out.

    Args:
        altered: those in worlds that look otherwise.
    """
    found = {}
    for name in ws.names("evaluations/altered/*.json" if altered else "evaluations/*.json"):
        each = read_json(ws.find(name))
        agent, first = Agent.parse(each["agent"]), each["seeds"][0] - config.TEST_SEEDS
        asked = each["frames"], each["episodes"], first, each.get("alteration")
        if altered and asked[1:3] != (ws.profile.test.altered_episodes, ws.profile.test.first):
            continue
        stage = stages.evaluation(ws.profile, agent, *asked)
        driver = stage.inputs["agent"]
        if ws.find(driver.name) and ws.fitting(driver) is None:
            continue
        if not ws.differences(each, stage):
            found[name] = each

    def place(item):
        agent = Agent.parse(item[1]["agent"])
        return SEEN.index(agent.memory.kind), str(agent.family), agent.seed, item[0]

    return dict(sorted(found.items(), key=place))


def table(results: Sequence[dict]) -> pd.DataFrame:
    """Evaluations for a reader, a row each."""
    rows = {
        (Agent.parse(r["agent"]).label, r["frames"], r["episodes"]): {
            "mean": r["mean"],
            "SD": r["std"],
            "95 % CI": "" if r["ci95"] is None else "{:.0f} to {:.0f}".format(*r["ci95"]),
            "median": r["median"],
            "perfect laps": f"{r['finished']:.0%}",
        }
        for r in results
    }
    names = ["agent", "frames", "tracks"]
    shown = pd.DataFrame.from_dict(rows, orient="index").rename_axis(names).round(0)
    return shown.astype(dict.fromkeys(("mean", "SD", "median"), int))


def recheck(ws: Workspace, agent: Agent, workers: Workers = None) -> dict:
    """Drive the first of the reference tracks again, and compare with what is claimed of them.

    Returns the number of `episodes`, the `claimed` mean of these tracks and the new one (`again`),
    the share of tracks with the `same` return to the digit (all on a machine that rounds alike,
    fewer elsewhere), and the median `difference` of the tracks, with its interval.
    """
    count = min(ws.profile.test.recheck_episodes, ws.profile.test.reference_episodes)
    claimed = evaluate(ws, agent, "reference", workers=workers)["returns"][:count]
    seeds = config.track_seeds(config.TEST_SEEDS, count, ws.profile.test.first)
    again = _laps(ws, agent, "reference", None, seeds, workers)
    return {
        "agent": agent.label,
        "episodes": count,
        "claimed": float(np.mean(claimed)),
        "again": again["mean"],
        "same": float(np.equal(again["returns"], claimed).mean()),
        "difference": statistics.median_of_pairs(again["returns"], claimed),
    }


def compare(ones: Sequence[dict], others: Sequence[dict]) -> Estimate | None:
    """What one kind of model earns beyond another, by `statistics.difference` over their searches.

    Args:
        ones, others: evaluations, one a search, on the same frames.

    Returns:
        None where either side is a single search, which says nothing of what another would find
        (`compare_agents` is for these), or where too few tracks are common to all.
    """
    tracks = _common_tracks([*ones, *others])
    if min(len(ones), len(others)) < 2 or len(tracks) < FEWEST_TRACKS:
        return None
    first, second = ([fmean(returns_on(e, tracks)) for e in side] for side in (ones, others))
    return statistics.difference(first, second)


def contrasts(
    groups: Mapping[str, Sequence[dict]], control: str = "wide"
) -> dict[tuple[str, str], Estimate]:
    """What kinds of model earn, each less another: the comparisons that PROTOCOL.md names.

    The kinds of attention and the even map less the wide M, and what C sees without a trained M
    less plain M, each family with Dunnett's simultaneous intervals; spatial less even by itself,
    with Welch's. Where `control` is plain M, for want of a wide one: every kind less plain, each
    with Welch's interval by itself.

    Args:
        groups: evaluations by kind, one a search, on the same frames.

    Returns:
        An estimate for each pair of kinds, as far as both have several searches and enough tracks
        are common to all.
    """
    groups = {kind: group for kind, group in groups.items() if len(group) > 1}
    tracks = _common_tracks([each for group in groups.values() for each in group])
    if len(tracks) < FEWEST_TRACKS:
        return {}
    means = {k: [fmean(returns_on(each, tracks)) for each in group] for k, group in groups.items()}
    if control == "plain":
        others = means.keys() - {"plain"} if "plain" in means else ()
        return {(k, "plain"): statistics.difference(means[k], means["plain"]) for k in others}
    found = {}
    families = {control: (*ATTENTIONS, "even"), "plain": ("V", "pair", "untrained")}
    for other, kinds in families.items():
        arms = {kind: means[kind] for kind in kinds if kind in means}
        if arms and other in means:
            gaps = statistics.against_control(arms, means[other])
            found |= {(kind, other): gap for kind, gap in gaps.items()}
    if "spatial" in means and "even" in means:
        found["spatial", "even"] = statistics.difference(means["spatial"], means["even"])
    return found


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
    first, second = (returns_on(e, tracks) for e in (one, other))
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    return Duel(
        len(tracks),
        Estimate(fmean(gaps), *statistics.mean_of_laps(gaps)),
        statistics.median_of_pairs(first, second),
        statistics.perfect_laps(*([r >= PERFECT for r in side] for side in (first, second))),
    )


def _common_tracks(found: Sequence[dict]) -> list[int]:
    return sorted(set.intersection(*(set(e["seeds"]) for e in found))) if found else []


def returns_on(evaluation: dict, tracks: Sequence[int]) -> list[float]:
    """The returns of an evaluation on some of its tracks, by their seeds."""
    by_track = dict(zip(evaluation["seeds"], evaluation["returns"], strict=True))
    return [by_track[track] for track in tracks]
