"""The table of results: what belongs to it, what it cost, and what seeds agree on."""

import json

import numpy as np
import pytest

from awm import config, provenance, report, results, statistics
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
        "real_steps": 1570, "dream_steps": 0, "watched_laps": 0,
        "core_hours": pytest.approx(1 + 1 + 1 + 2 + 1),
    }  # fmt: skip
    assert results.cost(PROFILE, "none")["real_steps"] == 1500
    assert results.cost(PROFILE, "none-dream")["real_steps"] == 1000
    assert results.cost(PROFILE, "none-dream")["dream_steps"] == 9000
    assert results.cost(PROFILE, "V")["core_hours"] == pytest.approx(1 + 1 + 2)
    # One that dreamt and then drove has cost both; M and the rollouts only once.
    write("evolution/none-dream-woken-seed1.jsonl", log(30, 3600))
    write("evolution/none-dream-seed1.jsonl", log(8000, 1800, temperature=1.0))
    assert results.cost(PROFILE, "none-dream-woken-seed1") == {
        "real_steps": 1030, "dream_steps": 8000, "watched_laps": 0,
        "core_hours": pytest.approx(1 + 1 + 1 + 2 + 1),
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
    # To draw these curves, two searches had two means each drive the validation tracks.
    assert results.cost(PROFILE, name)["watched_laps"] == 0, "how many was not recorded"
    dreams[0]["settings"]["validation_tracks"] = 32
    write("evolution/none-dream.jsonl", dreams)
    write("round-1/evolution/none-dream-round1-seed2.jsonl", dreams)
    assert results.cost(PROFILE, name)["watched_laps"] == 2 * 2 * 32
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


def searches(model, means, tracks):
    """A search a mean, all evaluated on the same tracks."""
    return [
        evaluation(f"{model}-seed{seed}" if seed else model, tracks - tracks.mean() + mean)
        for seed, mean in enumerate(means)
    ]


def test_models_are_compared_search_by_search():
    tracks = np.random.default_rng(0).normal(500, 300, 20)  # they differ more than searches do
    ones, others = [700, 780, 760, 650], [500, 620, 540]
    found = results.compare(searches("spatial", ones, tracks), searches("none", others, tracks))
    expected = statistics.difference(ones, others)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert found.sign == 1


def test_only_common_tracks_are_compared():
    tracks = np.arange(10.0)
    ones = [evaluation(name, tracks + gain) for name, gain in (("V", 30), ("V-seed1", 32))]
    others = [
        evaluation(name, [*tracks[::-1], -900], seeds=[*range(9, -1, -1), 77])
        for name in ("none", "none-seed1")
    ]
    assert results.compare(ones, others).value == pytest.approx(31)


def test_agents_are_compared_track_by_track():
    tracks = np.linspace(880, 930, 20)
    found = results.compare_agents(
        evaluation("none", tracks + 4), evaluation("spatial", tracks[::-1], seeds=range(19, -1, -1))
    )
    assert (found.tracks, found.mean.value, found.median.value) == (
        20,
        pytest.approx(4),
        pytest.approx(4),
    )
    assert (found.mean.sign, found.median.sign) == (1, 1)
    assert (found.perfect.first, found.perfect.second) == (1, 0) and found.perfect.sign == 0


def test_a_pause_of_the_machine_is_no_work():
    history = [{"seconds": s} for s in (1.0, 2.0, 3.0, 4.0, 1004.0, 1005.0)]
    assert results._seconds({"wall_time_s": 1006.0, "history": history}) == pytest.approx(16.0)
    assert results._seconds({"wall_time_s": 50.0}) == 50.0


def test_what_says_nothing_is_not_compared():
    few, tracks = np.arange(7.0), np.arange(20.0)
    assert results.compare(searches("V", [1, 2], few), searches("none", [1, 2], few)) is None
    assert results.compare_agents(evaluation("V", few), evaluation("none", few)) is None
    one = [evaluation("V", tracks)]
    assert results.compare(one, searches("none", [1, 2], tracks)) is None, "a single search"
    assert results.compare([], searches("none", [1, 2], tracks)) is None


def test_the_report_writes_them(workspace):
    write("evaluations/none-fast.json", evaluation("none", range(9)))
    index = report.build(PROFILE)
    assert len(json.loads((index.parent / "results.json").read_text())) == 1
