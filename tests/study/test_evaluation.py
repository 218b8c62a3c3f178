"""Full laps on unseen tracks: what is recorded, of whom, and how two of them are compared."""

import json
from dataclasses import replace

import numpy as np
import pytest
from records import evaluation

from awm import config, stages, store
from awm.errors import AwmError
from awm.ids import PLAIN, Agent, Memory
from awm.study import evaluation as laps
from awm.study import results, statistics, verdicts
from awm.study.evaluation import (
    _Driven,
    compare,
    compare_agents,
    contrasts,
    evaluate,
    evaluate_altered,
    evaluations,
    recheck,
    returns_on,
    table,
)
from awm.worlds import crew
from awm.worlds.lanes import Outcome

TRACK = Agent()


@pytest.fixture
def ws(workspace):
    return store.Workspace.open("smoke")


def replaced(ws, stage):
    """The same stage with the same settings, and other weights, as another machine makes them."""
    tensors, found = ws.load(stage)
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name] = tensors[name] + 0.5
    return ws.save(stage, tensors, **{k: found[k] for k in ("kl_per_latent",) if k in found})


# What is recorded.


def test_an_evaluation_records_what_a_sceptic_asks_for(smoke_copy, threads, monkeypatch):
    found = evaluate(smoke_copy, TRACK, episodes=3, seed=5)
    path = smoke_copy.own / "evaluations/other/plain_track.fast-3-from-5.json"
    assert store.read_json(path) == json.loads(json.dumps(found))
    assert found["seeds"] == [config.TEST_SEEDS + 5 + i for i in range(3)]
    assert found["lengths"] == [12, 12, 12] and len(found["tiles"]) == 3
    assert found["mean"] == pytest.approx(np.mean(found["returns"]))
    low, high = found["ci95"]
    assert low <= found["mean"] <= high
    agent = smoke_copy.manifest(stages.agent(smoke_copy.profile, TRACK))
    assert found["inputs"]["agent"]["content"] == agent["content"]
    assert {"commit", "date", "machine", "wall_time_s", "settings"} <= found.keys()
    assert evaluations(smoke_copy) == {}, "other tracks are not the study's own"
    monkeypatch.setattr(laps, "_laps", lambda *_: pytest.fail("it has been driven"))
    assert evaluate(smoke_copy, TRACK, episodes=3, seed=5) == found


@pytest.mark.parametrize("part", ["vae", "mdn_rnn"])
def test_laps_of_an_agent_whose_v_or_m_was_replaced_are_refused(part, smoke_copy, threads):
    evaluate(smoke_copy, TRACK)
    profile = smoke_copy.profile
    replaced(smoke_copy, stages.vae(profile) if part == "vae" else stages.mdn_rnn(profile, PLAIN))
    with pytest.raises(AwmError, match=rf"from another {part}, .* other weights.* Move it"):
        evaluate(smoke_copy, TRACK)
    if part == "mdn_rnn":
        assert evaluate(smoke_copy, Agent(Memory("V")))["episodes"] == 2, "it has no M"


def test_an_agent_that_was_replaced_is_driven_anew(smoke_copy, threads):
    path = smoke_copy.own / "evaluations/plain_track.fast.json"
    store.write_json(path, evaluate(smoke_copy, TRACK) | {"returns": [900.0, 901.0]})
    assert evaluate(smoke_copy, TRACK)["returns"] == [900, 901], "it is found"
    new = replaced(smoke_copy, stages.agent(smoke_copy.profile, TRACK))
    after = evaluate(smoke_copy, TRACK)
    assert after["inputs"]["agent"]["content"] == new["content"]
    assert max(after["returns"]) < 100, "in twelve steps"
    assert evaluations(smoke_copy) == {"evaluations/plain_track.fast.json": after}


def test_what_cannot_be_driven_is_said(smoke, workspace):
    with pytest.raises(AwmError, match="fast, reference"):
        evaluate(smoke, TRACK, frames="nice")
    with pytest.raises(AwmError, match="at least one"):
        evaluate(smoke, TRACK, episodes=0)
    with pytest.raises(AwmError, match="awm evolve temporal_track --profile smoke"):
        evaluate(smoke, Agent(Memory("temporal")))
    with pytest.raises(AwmError, match="smaller seed"):
        evaluate(smoke, TRACK, seed=config.SEED_RANGE)


def test_worlds_that_look_otherwise_have_records_of_their_own(smoke_copy, threads, monkeypatch):
    driven, drive = [], laps._laps

    def _laps(ws, agent, frames, alteration, *others):
        driven.append(alteration)
        return drive(ws, agent, frames, alteration, *others)

    monkeypatch.setattr(laps, "_laps", _laps)
    usual = evaluate(smoke_copy, TRACK)
    found = evaluate_altered(smoke_copy, TRACK)
    assert list(found) == ["colours", "bars", "patch"]
    for alteration, each in found.items():
        assert each["alteration"] == alteration and each["seeds"] == usual["seeds"]
        assert returns_on(each, each["seeds"][1:]) == each["returns"][1:]
    assert driven == [None, *found]
    assert list(evaluations(smoke_copy).values()) == [usual]
    assert list(evaluations(smoke_copy, altered=True).values()) == [
        found[each] for each in ("bars", "colours", "patch")
    ]
    table = results.entries(smoke_copy)
    assert [each["alteration"] for each in table] == [None, "bars", "colours", "patch"]
    assert set(results.laps(smoke_copy)["alteration"]) == {"", "bars", "colours", "patch"}
    # Other tracks than the profile's are nobody's result.
    evaluate(smoke_copy, TRACK, episodes=1, alteration="bars")
    assert len(evaluations(smoke_copy, altered=True)) == 3
    never = replace(smoke_copy.profile.test, altered_episodes=0)
    without = store.Workspace(replace(smoke_copy.profile, test=never), smoke_copy.root)
    assert evaluate_altered(without, TRACK) == {}
    with pytest.raises(AwmError, match="no alteration 'fog'"):
        evaluate(smoke_copy, TRACK, alteration="fog")


def test_a_claim_is_driven_again(smoke_copy, threads):
    found = recheck(smoke_copy, TRACK)
    assert found["same"] == 1 and found["again"] == found["claimed"]
    assert verdicts.recheck(found).endswith("the same tracks; every lap is the same to the digit.")
    path = smoke_copy.own / "evaluations/plain_track.reference.json"
    claim = store.read_json(path)
    # Other tracks of the claim have no say: the first two are compared with the first two.
    store.write_json(path, {**claim, "returns": [900.0, 901.0, -50.0], "mean": 583.7})
    found = recheck(smoke_copy, TRACK)
    assert (found["same"], found["claimed"]) == (0, 900.5)
    assert "0% of the laps are the same" in verdicts.recheck(found)
    assert store.read_json(path)["mean"] == 583.7, "the claim stays what it was"


def test_evaluations_are_listed_in_the_usual_order(ws):
    for name in ("spatial_track", "plain_track-1", "plain_track", "V_track-1"):
        evaluation(ws, name, [1, 2])
    found = evaluations(ws)
    assert [each["agent"] for each in found.values()] == [
        "V_track-1", "plain_track", "plain_track-1", "spatial_track",
    ]  # fmt: skip
    shown = table([*found.values(), evaluation(ws, "plain_track", [3], "reference")])
    assert shown.index[0] == ("V alone, seed 1", "fast", 2)
    assert shown.loc[("plain M", "reference", 1)]["95 % CI"] == "", "one lap has no interval"


# How they are compared.


def searches(ws, kind, means, tracks):
    """A search a mean, all evaluated on the same tracks."""
    return [
        evaluation(ws, f"{kind}_track-{seed}", tracks - tracks.mean() + mean)
        for seed, mean in enumerate(means, 1)
    ]


def test_models_are_compared_search_by_search(ws):
    tracks = np.random.default_rng(0).normal(500, 300, 20)  # they differ more than searches do
    ones, others = [700, 780, 760, 650], [500, 620, 540]
    found = compare(searches(ws, "spatial", ones, tracks), searches(ws, "plain", others, tracks))
    expected = statistics.difference(ones, others)
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.value, expected.low, expected.high)
    )
    assert found.sign == 1


def test_kinds_are_compared_as_the_protocol_says(ws):
    tracks = np.random.default_rng(0).normal(500, 300, 8)
    means = {"V": [1, 2, 3], "plain": [4, 5, 6], "wide": [5, 6, 7], "spatial": [11, 12, 13]}
    means["even"] = [8, 9, 10]
    groups = {kind: searches(ws, kind, each, tracks) for kind, each in means.items()}
    found = contrasts(groups)
    assert found.keys() == {
        ("spatial", "wide"), ("even", "wide"), ("V", "plain"), ("spatial", "even"),
    }  # fmt: skip
    arms = {kind: means[kind] for kind in ("spatial", "even")}
    dunnett = statistics.against_control(arms, means["wide"])
    for kind, gap in dunnett.items():
        assert found[kind, "wide"].low == pytest.approx(gap.low)
    welch = statistics.difference(means["spatial"], means["even"])
    assert found["spatial", "even"].high == pytest.approx(welch.high)
    alone = contrasts({k: groups[k] for k in ("V", "plain", "spatial")}, "plain")
    assert alone.keys() == {("V", "plain"), ("spatial", "plain")}
    welch = statistics.difference(means["V"], means["plain"])
    assert alone["V", "plain"].low == pytest.approx(welch.low)
    assert contrasts({k: g[:1] for k, g in groups.items()}) == {}, "a search each"
    few = {kind: searches(ws, kind, each, tracks[:7]) for kind, each in means.items()}
    assert contrasts(few) == {}, "too few tracks"


def test_only_common_tracks_are_compared(ws):
    tracks = np.arange(10.0)
    ones = [
        evaluation(ws, name, tracks + gain) for name, gain in (("V_track", 30), ("V_track-1", 32))
    ]
    others = [
        evaluation(ws, name, [*tracks[::-1], -900], seeds=[*range(9, -1, -1), 77])
        for name in ("plain_track", "plain_track-1")
    ]
    assert compare(ones, others).value == pytest.approx(31)


def test_agents_are_compared_track_by_track(ws):
    tracks = np.linspace(880, 930, 20)
    found = compare_agents(
        evaluation(ws, "plain_track", tracks + 4),
        evaluation(ws, "spatial_track", tracks[::-1], seeds=range(19, -1, -1)),
    )
    assert (found.tracks, found.mean.value, found.median.value) == (
        20,
        pytest.approx(4),
        pytest.approx(4),
    )
    assert (found.mean.sign, found.median.sign) == (1, 1)
    assert (found.perfect.first, found.perfect.second) == (1, 0) and found.perfect.sign == 0


def test_what_says_nothing_is_not_compared(ws):
    few, tracks = np.arange(7.0), np.arange(20.0)
    pair = searches(ws, "V", [1, 2], few), searches(ws, "plain", [1, 2], few)
    assert compare(*pair) is None
    assert compare_agents(pair[0][0], pair[1][0]) is None
    one = searches(ws, "V", [1], tracks)
    assert compare(one, searches(ws, "plain", [1, 2], tracks)) is None, "a single search"
    assert compare([], searches(ws, "plain", [1, 2], tracks)) is None


def test_an_interrupted_evaluation_goes_on(smoke_copy, threads, monkeypatch):
    whole = evaluate(smoke_copy, TRACK, "reference", episodes=6)
    (path,) = (smoke_copy.own / "evaluations/other").glob("*.json")
    path.unlink()
    original, driven = crew.drive, []

    def drive(world, layers, jobs, noise):
        if len(driven) >= 2:
            raise KeyboardInterrupt
        driven.extend(job.seed for job in jobs)
        return original(world, layers, jobs, noise)

    monkeypatch.setattr(crew, "drive", drive)
    with pytest.raises(KeyboardInterrupt):
        evaluate(smoke_copy, TRACK, "reference", episodes=6)
    first = list(driven)
    assert 0 < len(first) < 6 and not path.exists()
    checkpoint = path.with_suffix(".driven.jsonl")
    lines = checkpoint.read_text().splitlines(keepends=True)
    checkpoint.write_text("".join(lines[:-1]) + lines[-1].replace("0", "1", 1))  # one is damaged
    driven.clear()
    monkeypatch.setattr(
        crew, "drive", lambda *a: driven.extend(j.seed for j in a[2]) or original(*a)
    )
    again = evaluate(smoke_copy, TRACK, "reference", episodes=6)
    assert sorted(driven + first[:-1]) == again["seeds"], "what was driven is not driven again"
    assert again["returns"] == whole["returns"] and not checkpoint.exists()


def test_laps_of_another_agent_do_not_count(smoke_copy, threads):
    evaluate(smoke_copy, TRACK)
    key = stages.evaluation(smoke_copy.profile, TRACK, "fast", 2, 0).key
    driven = _Driven(smoke_copy.own / "laps.jsonl", key)
    driven.read("one")
    driven.add([Outcome(0, 7, 900.0, 800, 1.0, True)])
    for other, content, known in ((key, "one", [7]), (key, "another", []), ("key", "one", [])):
        again = _Driven(driven.path, other)
        again.read(content)
        assert list(again.outcomes) == known
