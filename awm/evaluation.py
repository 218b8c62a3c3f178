"""What a controller is worth: full episodes on tracks that nothing was trained or selected on."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from awm import config, controller, provenance, rollout, statistics
from awm.config import Profile, get_profile
from awm.errors import AwmError
from awm.names import Name
from awm.rollout import Job

_REPORTED = json.loads(
    (Path(__file__).parent / "report_template/published.json").read_text("utf-8")
)

#: Mean and deviation of 100 trials as their authors report them, on CarRacing-v0 and with other
#: budgets; the file tells where.
PUBLISHED = {
    work["label"]: (work["mean"], work["deviation"])
    for work in _REPORTED["returns"].values()
    if "label" in work
}


def table(results: list[dict]) -> dict[str, str]:
    """Evaluations as lines for a reader: mean ± deviation, interval, median, perfect laps."""
    lines = {}
    for r in results:
        interval = "" if r["ci95"] is None else "[{:.0f}, {:.0f}]".format(*r["ci95"])
        lines[f"{r['controller']}, {r['frames']} frames, {r['episodes']} tracks"] = (
            f"{r['mean']:.0f} ± {r['std']:.0f} {interval}, median {r['median']:.0f}, "
            f"{r['finished']:.0%} perfect laps"
        )
    return lines


def summary(returns) -> dict:
    """Mean, deviation, median and `statistics.mean_of_laps` of some returns."""
    returns = np.asarray(returns, np.float64)
    interval = statistics.mean_of_laps(returns)
    return {
        "mean": float(returns.mean()),
        "std": float(returns.std()),
        "median": float(np.median(returns)),
        "ci95": None if interval is None else list(interval),
    }


def file_of(
    profile: Profile, name: str, frames: str, episodes: int, seed: int, anew: bool = False
) -> str:
    """The file of an evaluation's result, within the profile's folder.

    `evaluations/NAME-FRAMES.json` on the profile's own test tracks; on others, and of what is
    driven `anew`, beside the study in `evaluations/other/`, under the tracks' number and seed.
    """
    file = f"{name}-{frames}"
    if anew or (episodes, seed) != (episodes_of(profile, frames), 0):
        file = f"other/{file}-{episodes}-from-{seed}"
    return f"evaluations/{file}.json"


def episodes_of(profile: Profile, frames: str) -> int:
    """On how many tracks the profile tests."""
    return profile.test_episodes if frames == "fast" else profile.reference_episodes


def evaluate(
    profile: Profile | str,
    name: str = "none",
    episodes: int | None = None,
    seed: int = 0,
    frames: str = "fast",
    workers: int | None = None,
    anew: bool = False,
) -> dict:
    """Drive `episodes` full episodes of unseen tracks and write what came of it.

    Returns at once if the same evaluation of the same controller lies there already.

    Args:
        name: the controller's.
        episodes: by default the profile's number of test episodes.
        seed: which test tracks; their seeds are disjoint from all others whatever this is.
        frames: `"fast"`, or `"reference"` for Gymnasium's own.
        anew: drive even so, and leave the study's own result alone.
    """
    profile = replace(get_profile(profile), round=Name.parse(name).round)
    if frames not in rollout.FRAMES:
        raise AwmError(
            f"There are no {frames!r} frames. Choose one of: {', '.join(rollout.FRAMES)}."
        )
    if episodes is None:
        episodes = episodes_of(profile, frames)
    if episodes < 1:
        raise AwmError("Evaluate at least one episode.")
    found = controller.load(profile, name)
    seeds = config.track_seeds(config.TEST_SEEDS, episodes, seed)
    file = file_of(profile, name, frames, episodes, seed, anew)
    path = config.artefact(profile, file)
    if path.exists() and not anew:
        before = provenance.read_json(path)
        same = before["seeds"] == seeds and before["controller_hash"] == found.manifest["hash"]
        if same:
            return before
    jobs = [Job(0, s) for s in seeds]
    started = time.perf_counter()
    with (
        rollout.workers(workers) as pool,
        tqdm(total=episodes, unit="episode", desc=f"{name} on {frames} frames") as bar,
    ):
        # Tasks of half a batch keep the bar moving; the pace is the slow renderer's anyway.
        tasks = 1 if frames == "fast" else -(-episodes // max(1, profile.lanes // 2))
        outcomes = rollout.drive(
            pool, profile, found.model, found.weights[None], jobs,
            tasks=max(tasks, pool._max_workers), progress=bar.update, frames=frames,
        )  # fmt: skip
    returns = [o.episode_return for o in outcomes]
    result = provenance.record(
        profile,
        controller=name,
        model=found.model,
        controller_hash=found.manifest["hash"],
        frames=frames,
        episodes=episodes,
        **summary(returns),
        finished=float(np.mean([o.finished for o in outcomes])),
        over_900=float(np.mean(np.array(returns) >= 900)),
        returns=returns,
        lengths=[o.length for o in outcomes],
        tiles=[o.tiles for o in outcomes],
        seeds=seeds,
        wall_time_s=round(time.perf_counter() - started, 1),
    )
    provenance.write_json(config.data_dir(profile) / file, result)
    return result


def recheck(profile: Profile | str, name: str, workers: int | None = None) -> dict:
    """Drive the first of the reference tracks again, and compare with what is claimed of them.

    Returns the number of `episodes`, the `claimed` mean of these tracks and the new one (`again`),
    the share of tracks with the `same` return to the digit (all on a machine that rounds alike,
    fewer elsewhere), and the median `difference` of the tracks, with its interval.
    """
    profile = get_profile(profile)
    count = min(profile.recheck_episodes, profile.reference_episodes)
    claimed = evaluate(profile, name, frames="reference", workers=workers)["returns"][:count]
    again = evaluate(profile, name, episodes=count, frames="reference", workers=workers, anew=True)
    return {
        "controller": name,
        "episodes": count,
        "claimed": float(np.mean(claimed)),
        "again": again["mean"],
        "same": float(np.equal(again["returns"], claimed).mean()),
        "difference": statistics.median_of_pairs(again["returns"], claimed),
    }
