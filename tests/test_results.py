"""The table of results: what belongs to it, what it cost, and what seeds agree on."""

import json

import numpy as np
import pytest
from scipy import stats

from awm import config, provenance, report, results
from awm.config import get_profile

PROFILE = get_profile("smoke")
#: Ten episodes of a hundred steps, each with one frame more.
ROLLOUTS = {"frames": 1010, "seeds": list(range(10)), "wall_time_s": 1800, "cpu_count": 2}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("AWM_ROOT", str(tmp_path))
    return tmp_path


def evaluation(controller, returns, frames="fast", seeds=None):
    return provenance.record(
        PROFILE,
        controller=controller,
        model=controller.split("-")[0],
        frames=frames,
        episodes=len(returns),
        mean=float(np.mean(returns)),
        std=float(np.std(returns)),
        median=float(np.median(returns)),
        ci95=[0.0, 1.0],
        finished=0.5,
        over_900=0.25,
        returns=list(map(float, returns)),
        seeds=list(seeds or range(len(returns))),
    )


def write(name, value):
    path = config.data_dir(PROFILE) / name
    if name.endswith(".jsonl"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(entry) + "\n" for entry in value))
    else:
        provenance.write_json(path, value)


def log(steps, seconds, temperature=None):
    first = {"generation": 0, "steps": steps // 2, "seconds": seconds / 2}
    first |= {"settings": {"temperature": temperature}, "record": {"cpu_count": 2}}
    return [first, {"generation": 1, "steps": steps, "seconds": seconds}]


def test_a_refined_controller_also_costs_the_search_it_began_at(workspace):
    write("rollouts.json", ROLLOUTS)
    write("vae.json", {"wall_time_s": 3600, "cpu_count": 1})
    write("mdn_rnn-none.json", {"wall_time_s": 1800, "cpu_count": 2})
    write("evolution/none.jsonl", log(500, 3600))
    write("evolution/none-refined.jsonl", log(70, 1800))
    write("evolution/none-dream.jsonl", log(9000, 1800, temperature=1.0))
    write("evolution/V.jsonl", log(40, 3600))
    assert results.cost(PROFILE, "none-refined") == {
        "real_steps": 1570, "dream_steps": 0, "core_hours": pytest.approx(1 + 1 + 1 + 2 + 1),
    }  # fmt: skip
    assert results.cost(PROFILE, "none")["real_steps"] == 1500
    assert results.cost(PROFILE, "none-dream")["real_steps"] == 1000
    assert results.cost(PROFILE, "none-dream")["dream_steps"] == 9000
    assert results.cost(PROFILE, "V")["core_hours"] == pytest.approx(1 + 1 + 2)
    # One that dreamt and then drove has cost both; M and the rollouts only once.
    write("evolution/none-dream-woken-seed1.jsonl", log(30, 3600))
    write("evolution/none-dream-seed1.jsonl", log(8000, 1800, temperature=1.0))
    assert results.cost(PROFILE, "none-dream-woken-seed1") == {
        "real_steps": 1030, "dream_steps": 8000, "core_hours": pytest.approx(1 + 1 + 1 + 2 + 1),
    }  # fmt: skip
    # What was not recorded is not known, rather than nothing.
    assert results.cost(PROFILE, "temporal")["core_hours"] is None


def test_progress_counts_what_was_spent_before(workspace):
    for where in ("", "round-1/"):
        write(f"{where}rollouts.json", ROLLOUTS)
        write(f"{where}mdn_rnn-none.json", {"wall_time_s": 1800, "cpu_count": 2})
    write("vae.json", {"wall_time_s": 1800, "cpu_count": 2})
    validated = [{"validation": 90.0, "real": 10.0}, {"validation": 95.0, "real": 20.0}]
    dreams = [e | v for e, v in zip(log(8000, 3600, temperature=1.0), validated, strict=True)]
    write("evolution/none-dream.jsonl", dreams)
    write("round-1/evolution/none-dream-round1-seed2.jsonl", dreams)
    name = "none-dream-round1-woken-seed2"
    write(f"round-1/evolution/{name}.jsonl", [e | {"validation": 50.0} for e in log(60, 1800)])

    first = results.progress(PROFILE, "none-dream")
    assert [p["real"] for p in first] == [10, 20]
    # The second mean is what the first generation's candidates, half of all, have brought about.
    assert [p["core_hours"] for p in first] == [3, 3 + 1]
    assert [p["real_steps"] for p in first] == [1000, 1000], "dreams cost no real steps"
    # Recording in round 1 was done by the first dream's controller: it has been paid for.
    found = results.progress(PROFILE, name)
    assert [p["real_steps"] for p in found] == [2000, 2030]
    assert [p["core_hours"] for p in found] == [5 + 2 + 2, 5 + 2 + 2 + 0.5]
    # All of it is the cost of the controller.
    cost = results.cost(PROFILE, name)
    assert (cost["real_steps"], cost["core_hours"]) == (2060, 10)
    assert results.progress(PROFILE, "temporal") == []
    (config.data_dir(PROFILE) / "vae.json").unlink()
    assert results.progress(PROFILE, "none-dream") == [], "not known is not nothing"


def test_dreams_are_found_by_temperature(workspace):
    for name, temperature in (("none-dream", 1.0), ("none-dream-tau0.5", 0.5)):
        write(f"evolution/{name}.jsonl", log(10, 10, temperature=temperature))
    found = results.dream_logs(PROFILE)
    assert {
        t: [run[0]["settings"]["temperature"] for run in runs] for t, runs in found.items()
    } == {
        1.0: [1.0],
        0.5: [0.5],
    }
    assert results.dream_logs(PROFILE, "temporal") == {}


def test_what_a_level_took_is_the_seed_in_the_middles():
    def run(*steps):
        return [
            {"real": 100.0 * n, "real_steps": s, "core_hours": s / 10} for n, s in enumerate(steps)
        ]

    runs = [run(5, 10, 20), run(5, 30), run(5, 12, 13)]
    assert results.spent(runs, 100) == {"real_steps": 12, "core_hours": 1.2}
    assert results.spent(runs, 200) == {"real_steps": 20, "core_hours": 2.0}
    assert results.spent(runs[:2], 200) is None, "one of two never got there"
    assert results.spent([[]], 100) is None


def test_results_hold_the_studys_own_evaluations_only(workspace):
    write("evaluations/spatial-fast.json", evaluation("spatial", [1, 2]))
    write("evaluations/none-reference.json", evaluation("none", [900, 100, 3], "reference"))
    write("evaluations/other/none-fast-2-from-7.json", evaluation("none", [1, 2]))
    found = results.entries(PROFILE)
    assert [(e["name"], e["attention"], e["frames"]) for e in found] == [
        ("none", "none", "reference"),
        ("spatial", "spatial", "fast"),
    ]
    assert found[0]["worst"] == [3, 100, 900]
    assert {
        "episodes",
        "mean",
        "std",
        "ci95",
        "seeds",
        "real_steps",
        "core_hours",
        "commit",
    } <= set(found[0])
    assert found[0]["record"] == "data/smoke/evaluations/none-reference.json"


def test_differences_are_paired_by_track():
    rng = np.random.default_rng(0)
    tracks = rng.normal(500, 300, 20)  # tracks differ much more than controllers
    gaps = rng.normal(30, 10, 20)
    found = results.compare(
        [evaluation("spatial", tracks + gaps)],
        [evaluation("none", tracks[::-1], seeds=range(19, -1, -1))],
    )
    expected = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    assert found["mean"] == pytest.approx(gaps.mean())
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))
    assert (found["seeds"], found["tracks"]) == (1, 20)


def test_with_several_seeds_the_interval_is_over_seeds():
    tracks = np.arange(10.0)
    ones = [evaluation(f"spatial-seed{s}" if s else "spatial", tracks + s) for s in range(4)]
    others = [evaluation(f"none-seed{s}" if s else "none", tracks) for s in range(3)]
    found = results.compare(ones, others)
    expected = stats.ttest_1samp([0, 1, 2], 0).confidence_interval(0.95)
    assert found["seeds"] == 3
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_searches_on_one_m_share_its_luck():
    """Three searches on a lucky M are one observation of what an M is worth, not three."""
    tracks, names = np.arange(10.0), ["spatial", *(f"spatial-seed{s}" for s in range(1, 5))]
    gains, trainings = [30, 36, 33, -3, 0], [0, 0, 0, 1, 2]
    ones = [evaluation(name, tracks + gain) for name, gain in zip(names, gains, strict=True)]
    others = [evaluation(name.replace("spatial", "none"), tracks) for name in names]
    for one, other, m in zip(ones, others, trainings, strict=True):
        one["model"], other["model"] = (f"{k}-seed{m}" if m else k for k in ("spatial", "none"))
    found = results.compare(ones, others)
    assert (found["seeds"], found["trainings"]) == (5, 3)
    assert found["mean"] == pytest.approx(np.mean(gains))
    interval = stats.ttest_1samp([33, -3, 0], 0).confidence_interval(0.95)
    assert found["high"] - found["low"] == pytest.approx(interval.high - interval.low)
    assert results.compare(ones[:3], others[:3])["trainings"] == 1
    # Trainings that agree by chance, where their searches do not, prove nothing.
    gains = [-60, 20, 100, 22, 18]
    for one, gain in zip(ones, gains, strict=True):
        one["returns"] = (tracks + gain).tolist()
    found = results.compare(ones, others)
    interval = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((interval.low, interval.high))


def test_a_pause_of_the_machine_is_no_work():
    history = [{"seconds": s} for s in (1.0, 2.0, 3.0, 4.0, 1004.0, 1005.0)]
    assert results._seconds({"wall_time_s": 1006.0, "history": history}) == pytest.approx(16.0)
    assert results._seconds({"wall_time_s": 50.0}) == 50.0


def test_few_tracks_say_nothing():
    assert results.compare([evaluation("V", range(7))], [evaluation("none", range(7))]) is None
    assert results.compare([], [evaluation("none", range(20))]) is None


def test_the_report_writes_them(workspace):
    write("evaluations/none-fast.json", evaluation("none", range(9)))
    index = report.build(PROFILE)
    assert len(json.loads((index.parent / "results.json").read_text())) == 1
