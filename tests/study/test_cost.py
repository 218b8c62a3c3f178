"""What an agent cost, from nothing: each part once, what was not recorded not at all."""

import pytest
from records import ROLLOUTS, evaluation, log, write

from awm.ids import Agent, Memory
from awm.store import Workspace
from awm.study import rounds
from awm.study.cost import cost, dream_logs, progress, routes, spent
from awm.study.results import entries


@pytest.fixture
def ws(workspace):
    return Workspace.open("smoke")


def costs_of(ws, name):
    return cost(ws, Agent.parse(name))


def test_a_refined_agent_also_costs_the_search_it_began_at(ws):
    write(ws, "rollouts.json", ROLLOUTS)
    write(ws, "vae.json", {"wall_time_s": 3600, "cpu_count": 1})
    write(ws, "mdn_rnn/plain.json", {"wall_time_s": 1800, "cpu_count": 2})
    write(ws, "agents/plain_track.jsonl", log(500, 3600))
    write(ws, "agents/plain_track_refined.jsonl", log(70, 1800))
    write(ws, "agents/plain_dream.jsonl", log(9000, 1800))
    write(ws, "agents/V_track.jsonl", log(40, 3600))
    assert costs_of(ws, "plain_track_refined") == {
        "real_steps": 1570, "dream_steps": 0, "watched_laps": 0,
        "core_hours": pytest.approx(1 + 1 + 1 + 2 + 1),
    }  # fmt: skip
    assert costs_of(ws, "plain_track")["real_steps"] == 1500
    assert costs_of(ws, "plain_dream")["real_steps"] == 1000
    assert costs_of(ws, "plain_dream")["dream_steps"] == 9000
    assert costs_of(ws, "V_track")["core_hours"] == pytest.approx(1 + 1 + 2), "it has no M"
    # One that dreamt and then drove has cost both; M and the rollouts only once.
    write(ws, "agents/plain_dream-1_track.jsonl", log(30, 3600))
    write(ws, "agents/plain_dream-1.jsonl", log(8000, 1800))
    assert costs_of(ws, "plain_dream-1_track") == {
        "real_steps": 1030, "dream_steps": 8000, "watched_laps": 0,
        "core_hours": pytest.approx(1 + 1 + 1 + 2 + 1),
    }  # fmt: skip
    # What was not recorded is not known, rather than nothing.
    assert costs_of(ws, "temporal_track")["core_hours"] is None
    write(ws, "rollouts.json", {"wall_time_s": 1800, "cpu_count": 2})
    assert costs_of(ws, "V_track")["real_steps"] is None


def test_progress_counts_what_was_spent_before(ws):
    for n in ("", "-round1"):
        write(ws, f"rollouts{n and '-plain' + n}.json", ROLLOUTS)
        write(ws, f"mdn_rnn/plain{n}.json", {"wall_time_s": 1800, "cpu_count": 2})
    write(ws, "vae.json", {"wall_time_s": 1800, "cpu_count": 2})
    validated = [{"validation": 90.0, "real": 10.0}, {"validation": 95.0, "real": 20.0}]
    dreams = [e | v for e, v in zip(log(8000, 3600), validated, strict=True)]
    write(ws, "agents/plain_dream-2.jsonl", dreams)
    write(ws, "agents/plain_dream.jsonl", dreams)
    write(ws, "agents/plain-round1_dream-2.jsonl", dreams)
    agent = Agent(Memory("plain", 0, 1), "dream", 2).on_track()
    write(ws, f"agents/{agent}.jsonl", [e | {"validation": 50.0} for e in log(60, 1800)])

    first = progress(ws, Agent(found="dream"))
    assert [p["real"] for p in first] == [10, 20]
    # The second mean is what the first generation's candidates, half of all, have brought about.
    assert [p["core_hours"] for p in first] == [3, 3 + 1]
    assert [p["real_steps"] for p in first] == [1000, 1000], "dreams cost no real steps"
    # Recording in round 1 was done by the first dream's agent: it has been paid for.
    found = progress(ws, agent)
    assert [p["real"] for p in found] == [50, 50]
    assert [p["real_steps"] for p in found] == [2000, 2030]
    assert [p["core_hours"] for p in found] == [5 + 2 + 2, 5 + 2 + 2 + 0.5]
    # To draw these curves, two searches had two means each drive the validation tracks.
    tracks = ws.profile.dream.search.validation_tracks
    whole = cost(ws, agent)
    assert whole["watched_laps"] == 2 * 2 * tracks
    # All of it is the cost of the agent.
    assert (whole["real_steps"], whole["core_hours"]) == (2060, 10)
    assert progress(ws, Agent(Memory("temporal"))) == []
    (ws.own / "vae.json").unlink()
    assert progress(ws, Agent(found="dream")) == [], "not known is not nothing"


def test_the_ways_to_a_driver_are_told_apart(ws):
    write(ws, "rollouts.json", ROLLOUTS)
    for name in ("vae", "mdn_rnn/plain"):
        write(ws, f"{name}.json", {"wall_time_s": 1800, "cpu_count": 2})
    validated = [e | {"validation": 50.0, "real": 40.0} for e in log(60, 1800)]
    for name in ("plain_track", "plain_dream", "plain_dream_track"):
        write(ws, f"agents/{name}.jsonl", validated)
    found = routes(ws)
    assert list(found) == [
        "on the track from zero",
        "on the track from the dream of round 0",
        "on the track from the dream of round 1",
    ]
    # Of chains nobody goes on on the track before they have chosen.
    assert [list(map(len, runs)) for runs in found.values()] == [[2, 0], [], []]
    each = [{"agent": "plain_dream", "real": 40.0}] * 2
    stage = rounds._stage(ws, Memory())
    write(ws, stage.name, ws.describe(stage, rounds=each))
    (only, _), other = routes(ws)["in dreams alone, round by round"]
    assert (only["real"], only["dream_steps"]) == (40, 60) and other == []
    found = routes(ws)
    assert [len(run) for run in found["on the track from the dream of round 0"]] == [2]


def test_dreams_are_found_by_temperature(ws):
    for name in ("plain_dream", "plain_dream-tau0.5"):
        write(ws, f"agents/{name}.jsonl", log(10 + len(name), 10))
    found = dream_logs(ws)
    assert {t: [run[-1]["steps"] for run in runs] for t, runs in found.items()} == {
        1.0: [10 + len("plain_dream")],
        0.5: [10 + len("plain_dream-tau0.5")],
    }
    assert dream_logs(ws, Memory("temporal")) == {}


def test_what_a_level_took_is_the_seed_in_the_middles():
    def run(*steps):
        return [
            {"real": 100.0 * n, "real_steps": s, "core_hours": s / 10} for n, s in enumerate(steps)
        ]

    runs = [run(5, 10, 20), run(5, 30), run(5, 12, 13)]
    assert spent(runs, 100) == {"real_steps": 12, "core_hours": 1.2}
    assert spent(runs, 200) == {"real_steps": 20, "core_hours": 2.0}
    assert spent(runs[:2], 200) is None, "one of two never got there"
    assert spent([[]], 100) is None


def test_a_pause_of_the_machine_is_no_work(ws):
    write(ws, "rollouts.json", ROLLOUTS | {"wall_time_s": 0})
    history = [{"seconds": s} for s in (1.0, 2.0, 3.0, 4.0, 1004.0, 1005.0)]
    stood_still = {"wall_time_s": 1006.0, "cpu_count": 1, "history": history}
    write(ws, "vae.json", stood_still)
    write(ws, "agents/V_track.jsonl", log(10, 0.0))
    assert costs_of(ws, "V_track")["core_hours"] == pytest.approx(16 / 3600)
    write(ws, "vae.json", {"wall_time_s": 1006.0, "cpu_count": 1})
    assert costs_of(ws, "V_track")["core_hours"] == pytest.approx(1006 / 3600)


def test_the_table_holds_the_studys_own_evaluations_only(ws):
    evaluation(ws, "spatial-2_track-4", [1, 2])
    evaluation(ws, "plain_track", [900, 100, 3], "reference")
    write(ws, "evaluations/other/plain_track.fast-2-from-7.json", {"agent": "plain_track"})
    write(ws, "rollouts.json", ROLLOUTS)
    found = entries(ws)
    assert [(e["name"], e["attention"], e["frames"]) for e in found] == [
        ("plain_track", "none", "reference"),
        ("spatial-2_track-4", "spatial", "fast"),
    ]
    assert found[0]["worst"] == [3, 100, 900]
    assert (found[1]["mdn_rnn_seed"], found[1]["evolution_seed"]) == (2, 4)
    assert {"episodes", "mean", "std", "ci95", "seeds", "core_hours", "commit"} <= set(found[0])
    assert found[0]["real_steps"] == 1000
    assert found[0]["record"] == "data/smoke/evaluations/plain_track.reference.json"
