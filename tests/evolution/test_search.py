"""The one search: where it begins and runs, that it resumes, and whose results it refuses."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from awm import config, stages, store
from awm.config import PRESETS
from awm.errors import AwmError
from awm.evolution import search
from awm.evolution.inputs import input_statistics
from awm.evolution.optimizer import Optimizer
from awm.evolution.search import best_validated, evolve, load, log_of
from awm.ids import PLAIN, Agent, Memory
from awm.store import Workspace
from awm.training import feature_map, mdn_rnn, vae
from awm.worlds.crew import Crew, Track
from awm.worlds.lanes import Job, Outcome

TRACK, REFINED, DREAM = Agent(), Agent().refined(), Agent(found="dream")
V = Agent(Memory("V"))


def changed(ws, section: str = "search", **values) -> Workspace:
    """The same folder, as a profile of the same name with another search would see it."""
    evolution = ws.profile.evolution
    how = replace(getattr(evolution, section), **values)
    return Workspace(replace(ws.profile, evolution=replace(evolution, **{section: how})), ws.root)


def path_of(ws, agent, suffix=".jsonl"):
    return ws.own / f"agents/{agent}{suffix}"


def untimed(log):
    return [{k: v for k, v in e.items() if k not in ("seconds", "record")} for e in log]


def forget(ws, agent):
    for suffix in (".jsonl", ".json", ".safetensors"):
        path_of(ws, agent, suffix).unlink(missing_ok=True)


class Scored(Crew):
    """Workers that do not drive: an episode's return is a function of its weights and seed."""

    def __init__(self, wrong=lambda call: None):
        self.calls, self.wrong = [], wrong

    def drive(self, place, layers, jobs, steering_noise=0.0, tasks=None, progress=None):
        self.calls.append((place, layers, list(jobs), steering_noise))
        wrong = self.wrong(len(self.calls))

        def earned(job):
            if wrong is not None:
                return wrong
            target = 0.1 * np.cos(np.arange(layers[0].size) + job.seed % 7)
            return -float(np.square(layers[job.candidate].ravel() - target).sum())

        return [Outcome(j.candidate, j.seed, earned(j), 5, 0.1, False) for j in jobs]


@pytest.fixture
def scored(monkeypatch):
    """Searches without driving; the calls of the workers."""
    hands = Scored()

    @contextmanager
    def crew(*_):
        yield hands

    monkeypatch.setattr(search, "crew", crew)
    return hands


# What a search does.


def test_the_agent_is_the_mean_that_validates_best(smoke):
    log, found, how = log_of(smoke, TRACK), load(smoke, TRACK), smoke.profile.evolution.search
    assert [entry["generation"] for entry in log] == list(range(how.generations + 1))
    best = max((e for e in log if e["validation"] is not None), key=lambda e: e["validation"])
    assert best_validated(log) == best
    assert found.manifest["generation"] == best["generation"]
    assert found.manifest["validation"] == best["validation"]
    optimizer = Optimizer(np.zeros(found.inputs.parameters), how.sigma, how.population, seed=0)
    optimizer.replay(log[: best["generation"]])
    assert np.array_equal(found.parameters, optimizer.means[-1])
    inputs = input_statistics(smoke, PLAIN)
    assert np.array_equal(found.inputs.deviation, inputs.deviation)


def test_no_track_is_used_twice(smoke):
    """Neither by a search and its refinement, nor by training and validation or tests."""
    first, second = (
        {s for e in log_of(smoke, a) for s in e.get("seeds", ())} for a in (TRACK, REFINED)
    )
    validated = set(load(smoke, TRACK).manifest["validation_seeds"])
    tests = set(config.track_seeds(config.TEST_SEEDS, 100))
    for one, other in ((first, second), (first, validated), (second, validated), (first, tests)):
        assert one and other and not one & other


def test_what_a_log_tells_is_what_was_driven(smoke_copy, hands):
    """The first generation, driven again by hand."""
    entry, how = log_of(smoke_copy, TRACK)[0], smoke_copy.profile.evolution.search
    inputs = input_statistics(smoke_copy, PLAIN)
    optimizer = Optimizer(np.zeros(inputs.parameters), how.sigma, how.population, seed=0)
    candidates = optimizer.ask()
    jobs = [Job(c, t, how.patience) for c in range(len(candidates)) for t in entry["seeds"]]
    outcomes = Crew(hands, 1).drive(Track.of(smoke_copy, PLAIN), inputs.fold(candidates), jobs)
    returns = np.array([o.episode_return for o in outcomes]).reshape(len(candidates), -1)
    assert entry["fitness"] == returns.mean(1).tolist()
    assert entry["best"] == max(entry["fitness"]) and entry["worst"] == min(entry["fitness"])


def test_a_refinement_begins_at_its_parent(smoke, hands):
    start, found, log = load(smoke, TRACK), load(smoke, REFINED), log_of(smoke, REFINED)
    how = smoke.profile.evolution.refinement
    optimizer = Optimizer(start.parameters, how.sigma, how.population, seed=0)
    optimizer.replay(log[:-1])  # would complain of candidates that began elsewhere
    assert np.array_equal(found.inputs.mean, start.inputs.mean)
    # What is validated in the end is the average of the last means, with noise on the steering.
    layers = start.inputs.fold(optimizer.average(how.averaged)[None])
    jobs = [Job(0, t, how.patience) for t in found.manifest["validation_seeds"]]
    outcomes = Crew(hands, 1).drive(Track.of(smoke, PLAIN), layers, jobs, how.steering_noise)
    returns = [round(o.episode_return, 1) for o in outcomes]
    assert returns == log[-1]["validation_returns"]


def test_a_dreams_search_is_decided_by_dreams_alone(smoke_copy, scored):
    forget(smoke_copy, DREAM)
    whole = evolve(smoke_copy, DREAM)
    assert all(e["real"] is not None for e in whole.log if e["validation"] is not None)
    places = {type(place).__name__ for place, *_ in scored.calls}
    assert places == {"Dream", "Track"}
    forget(smoke_copy, DREAM)
    original = Scored.drive

    def lying(self, place, *arguments):
        found = original(self, place, *arguments)
        return (
            [replace(o, episode_return=-1e9) for o in found] if isinstance(place, Track) else found
        )

    scored.drive = lying.__get__(scored)
    again = evolve(smoke_copy, DREAM)
    assert np.array_equal(again.controller.parameters, whole.controller.parameters)
    assert [e["real"] for e in again.log] == [-1e9] * len(again.log)


def test_a_dream_is_dreamt_at_the_agents_temperature(smoke_copy, scored):
    cool = Agent(found="dream", temperature=0.5, seed=2)
    found = evolve(smoke_copy, cool)
    assert found.controller.manifest["settings"]["temperature"] == 0.5
    heats = {place.temperature for place, *_ in scored.calls if not isinstance(place, Track)}
    assert heats == {0.5}


def test_a_dreams_agent_goes_on_on_the_track(smoke_copy, scored):
    """The same search on the same tracks as from zero, but for where it begins."""
    evolve(smoke_copy, DREAM)
    forget(smoke_copy, TRACK)
    zero, found = evolve(smoke_copy, TRACK), evolve(smoke_copy, DREAM.on_track())
    assert [e.get("seeds") for e in found.log] == [e.get("seeds") for e in zero.log]
    assert found.log[0]["candidates_sum"] != zero.log[0]["candidates_sum"]
    one, other = found.controller.manifest, zero.controller.manifest
    assert one["settings"] == other["settings"]
    assert set(one["inputs"]) == set(other["inputs"]) | {"parent"}


def test_an_agent_drives_with_its_own_training_of_m(smoke_copy, scored):
    found = evolve(smoke_copy, Agent(Memory("plain", 1)))
    contents = found.controller.manifest["inputs"]["mdn_rnn"]["content"]
    assert contents == mdn_rnn.load(smoke_copy, Memory("plain", 1)).manifest["content"]
    assert {place.memory for place, *_ in scored.calls} == {Memory("plain", 1)}
    assert all(contents in place.contents for place, *_ in scored.calls)


def test_hard_tracks_come_again():
    how = replace(PRESETS["smoke"].evolution.search, tracks=4, hard_tracks=2)
    log, driven = [], []
    for generation in range(30):
        tracks = search._tracks(how, TRACK, log)
        assert len(set(tracks)) == 4
        # Every fifth track is a hard one.
        log.append(
            {"seeds": tracks, "track_means": [-50.0 if t % 5 == 0 else 800.0 for t in tracks]}
        )
        driven += tracks[2:] if generation >= 10 else []
    assert np.mean([t % 5 == 0 for t in driven]) > 0.4
    assert search._tracks(how, TRACK, log) == search._tracks(how, TRACK, log)
    assert search._tracks(how, Agent(seed=1), log)[:2] != search._tracks(how, TRACK, log)[:2]


# Resuming.


@pytest.mark.parametrize("agent", [TRACK, REFINED, V], ids=str)
def test_a_killed_search_ends_as_if_nothing_had_happened(agent, smoke_copy, hands):
    whole, before = log_of(smoke_copy, agent), load(smoke_copy, agent)
    lines = path_of(smoke_copy, agent).read_text().splitlines()
    # Killed in the middle of a line.
    path_of(smoke_copy, agent).write_text(lines[0] + "\n" + lines[1][:40])
    again = evolve(smoke_copy, agent, hands)
    assert untimed(again.log) == untimed(whole)
    assert untimed(log_of(smoke_copy, agent)) == untimed(whole)
    assert np.array_equal(again.controller.parameters, before.parameters)
    assert again.controller.manifest["content"] == before.manifest["content"]
    assert again.log[-1]["seconds"] >= whole[0]["seconds"]


def test_a_finished_search_is_not_run_again(smoke, scored):
    found = evolve(smoke, TRACK)
    assert found.log == log_of(smoke, TRACK) and not scored.calls
    assert np.array_equal(found.controller.parameters, load(smoke, TRACK).parameters)


def test_an_agent_that_was_lost_is_found_in_its_log(smoke_copy, scored):
    before = load(smoke_copy, REFINED)
    for suffix in (".json", ".safetensors"):
        path_of(smoke_copy, REFINED, suffix).unlink()
    found = evolve(smoke_copy, REFINED)
    assert np.array_equal(found.controller.parameters, before.parameters) and not scored.calls


@pytest.mark.parametrize("averaged", [1, 3])
def test_more_generations_go_on_and_end_as_a_longer_search_would(smoke_copy, scored, averaged):
    short = changed(smoke_copy, "refinement", generations=3, averaged=averaged, validation_every=2)
    longer = changed(short, "refinement", generations=7)
    forget(smoke_copy, REFINED)
    from_start = evolve(longer, REFINED)
    forget(smoke_copy, REFINED)
    evolve(short, REFINED)
    scored.calls.clear()
    went_on = evolve(longer, REFINED)
    assert len(scored.calls) == 5, "four more generations and the end"
    assert untimed(went_on.log) == untimed(from_start.log)
    assert [e.get("fitness") for e in went_on.log] == [e.get("fitness") for e in from_start.log]
    assert np.array_equal(went_on.controller.parameters, from_start.controller.parameters)
    facts = ("validation", "generation", "steps", "key", "content")
    for fact in facts:
        assert went_on.controller.manifest[fact] == from_start.controller.manifest[fact]


def test_fewer_generations_never_return_the_longer_searchs_agent(smoke_copy, scored):
    before = {p: p.read_bytes() for p in path_of(smoke_copy, TRACK).parent.iterdir()}
    fewer = changed(smoke_copy, generations=1)
    with pytest.raises(AwmError, match="has 2 generations, and the profile asks for 1"):
        evolve(fewer, TRACK)
    with pytest.raises(AwmError, match="generations 2, now 1"):
        load(fewer, TRACK)
    with pytest.raises(AwmError, match="generations 2, now 3"):
        load(changed(smoke_copy, generations=3), TRACK)  # it has not gone on yet
    path_of(smoke_copy, TRACK).rename(smoke_copy.root / "aside.jsonl")
    with pytest.raises(AwmError, match="generations 2, now 1.*Move it"):
        evolve(fewer, TRACK)
    (smoke_copy.root / "aside.jsonl").rename(path_of(smoke_copy, TRACK))
    assert before == {p: p.read_bytes() for p in path_of(smoke_copy, TRACK).parent.iterdir()}
    assert not scored.calls


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("call", [2, 3])
def test_returns_that_are_not_finite_end_a_search_and_keep_its_log(smoke_copy, scored, wrong, call):
    forget(smoke_copy, V)
    whole = evolve(smoke_copy, V)
    forget(smoke_copy, V)
    scored.calls.clear()
    scored.wrong = lambda n: wrong if n == call else None  # the third only validates
    with pytest.raises(AwmError, match=f"generation {call - 1}.*diverged.*kept in the log"):
        evolve(smoke_copy, V)
    assert untimed(log_of(smoke_copy, V)) == untimed(whole.log[: call - 1])
    assert not path_of(smoke_copy, V, ".safetensors").exists()
    scored.wrong = lambda n: None
    again = evolve(smoke_copy, V)
    assert untimed(again.log) == untimed(whole.log)
    assert np.array_equal(again.controller.parameters, whole.controller.parameters)


# What is refused.


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], lines[0], *lines[1:]],  # two searches wrote to it
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[0][:-30], *lines[1:]],
        lambda lines: ["{}", *lines[1:]],
        lambda lines: ["\udcff", *lines],
    ],
    ids=["repeated", "repeated end", "left out", "cut", "empty", "no text"],
)
def test_a_damaged_log_is_refused_and_kept(damage, smoke_copy, scored):
    path = path_of(smoke_copy, TRACK)
    lines = damage(path.read_text().splitlines())
    path.write_text("\n".join(lines), errors="surrogateescape")
    before = path.read_bytes()
    for use in (lambda: evolve(smoke_copy, TRACK), lambda: log_of(smoke_copy, TRACK)):
        with pytest.raises(AwmError, match=r"line \d, is damaged \(.*\). Move the file away"):
            use()
    assert path.read_bytes() == before and not scored.calls


@pytest.mark.parametrize("last", ['{"generation', "{", "\udcff"])
def test_a_last_line_that_says_nothing_is_left_out(last, smoke_copy):
    path, whole = path_of(smoke_copy, TRACK), log_of(smoke_copy, TRACK)
    path.write_text(path.read_text() + last, errors="surrogateescape")
    assert log_of(smoke_copy, TRACK) == whole


def test_the_log_of_another_search_is_refused(smoke_copy, scored):
    for values, said in (
        ({"population": 6}, "population 4, now 6"),
        ({"sigma": 0.2}, "sigma 0.1, now 0.2"),
        ({"patience": 21}, "patience 20, now 21"),
    ):
        with pytest.raises(AwmError, match=f"log of another search.*{said}.*Move it"):
            evolve(changed(smoke_copy, **values), TRACK)
    with pytest.raises(AwmError, match="smallest_deviation 0.2, now 0.1"):
        evolution = replace(smoke_copy.profile.evolution, smallest_deviation=0.1)
        evolve(Workspace(replace(smoke_copy.profile, evolution=evolution), smoke_copy.root), TRACK)
    with pytest.raises(AwmError, match="from another parent"):
        evolve(changed(smoke_copy, population=6), REFINED)
    assert not scored.calls


def other_weights(ws, stage, loaded, key):
    loaded.state_dict()[key].add_(1)
    facts = {k: loaded.manifest[k] for k in ("kl_per_latent",) if k in loaded.manifest}
    ws.save(stage, loaded.state_dict(), **facts)


@pytest.mark.parametrize("half_done", [False, True])
@pytest.mark.parametrize("agent", [TRACK, REFINED, DREAM], ids=str)
def test_an_agent_of_another_m_is_refused(agent, half_done, smoke_copy, scored):
    """The old study drove it, as if it were this M's, and went on with its log."""
    if half_done:
        for suffix in (".json", ".safetensors"):
            path_of(smoke_copy, agent, suffix).unlink()
        path = path_of(smoke_copy, agent)
        path.write_text(path.read_text().splitlines()[0] + "\n")
    stage = stages.mdn_rnn(smoke_copy.profile, PLAIN)
    other_weights(smoke_copy, stage, mdn_rnn.load(smoke_copy), "head.bias")
    uses = [evolve] if half_done else [evolve, load]
    for use in uses:
        with pytest.raises(AwmError, match="from another mdn_rnn.*same settings and other weights"):
            use(smoke_copy, agent)
    assert not scored.calls


def test_an_agent_of_another_v_is_refused(smoke_copy, scored):
    other_weights(
        smoke_copy, stages.vae(smoke_copy.profile), vae.load(smoke_copy), "posterior.bias"
    )
    for agent in (V, TRACK, REFINED, DREAM):
        for use in (evolve, load):
            with pytest.raises(AwmError, match="from another vae"):
                use(smoke_copy, agent)
    assert not scored.calls


def test_an_agent_of_another_parent_is_refused(smoke_copy, scored):
    tensors, manifest = smoke_copy.load(stages.agent(smoke_copy.profile, TRACK))
    tensors["parameters"] = tensors["parameters"] + 1
    smoke_copy.save(stages.agent(smoke_copy.profile, TRACK), tensors)
    for use in (evolve, load):
        with pytest.raises(AwmError, match="from another parent"):
            use(smoke_copy, REFINED)


def test_a_dream_of_another_head_is_refused(smoke_copy, scored):
    agent, stage = Agent(Memory("spatial"), "dream"), stages.feature_map(smoke_copy.profile)
    evolve(smoke_copy, agent)
    load(smoke_copy, agent)
    other_weights(smoke_copy, stage, feature_map.load(smoke_copy), "layers.0.bias")
    scored.calls.clear()
    for use in (evolve, load):
        with pytest.raises(AwmError, match="from another feature_map"):
            use(smoke_copy, agent)
    for suffix in (".json", ".safetensors"):
        (smoke_copy.own / "feature_map").with_suffix(suffix).unlink()
    forget(smoke_copy, agent)
    with pytest.raises(AwmError, match="awm train feature-map"):
        evolve(smoke_copy, agent)
    evolve(smoke_copy, Agent(Memory("spatial"), "track"))  # the track needs none
    assert all(isinstance(place, Track) for place, *_ in scored.calls)


def test_what_is_missing_is_said(smoke_copy):
    for agent, said in (
        (Agent(Memory("plain", 7)), "awm train mdn-rnn --kind plain --seed 7"),
        (Agent(Memory("spatial")).refined(), "awm evolve spatial_track --profile smoke"),
    ):
        with pytest.raises(AwmError, match=said):
            evolve(smoke_copy, agent, workers=1)
    with pytest.raises(AwmError, match="awm evolve spatial_track --profile smoke"):
        load(smoke_copy, Agent(Memory("spatial")))


def test_a_controller_that_is_not_finite_is_refused(smoke_copy):
    stage = stages.agent(smoke_copy.profile, TRACK)
    tensors, _ = smoke_copy.load(stage)
    tensors["parameters"][3] = float("nan")
    smoke_copy.save(stage, tensors)
    with pytest.raises(AwmError, match="not finite"):
        load(smoke_copy, TRACK)


def test_committed_searches_stand_in_and_are_gone_on_with(smoke_copy, scored, capsys):
    store.note.cache_clear()
    committed = smoke_copy.committed / "agents"
    committed.parent.mkdir(parents=True)
    (smoke_copy.own / "agents").rename(committed)
    before = {p: p.read_bytes() for p in committed.iterdir()}
    assert not scored.calls and evolve(smoke_copy, TRACK).log == log_of(smoke_copy, TRACK)
    assert set(search.searches(smoke_copy)) >= {TRACK, REFINED, DREAM, V}

    longer = changed(smoke_copy, generations=3)
    assert len(evolve(longer, TRACK).log) == 4 and len(scored.calls) == 2
    (smoke_copy.own / "agents").rename(smoke_copy.root / "aside")
    # Of another search's log nothing is used.
    scored.calls.clear()
    other = changed(smoke_copy, sigma=0.2)
    assert len(evolve(other, TRACK).log) == 3 and len(scored.calls) == 3
    assert json.loads(path_of(smoke_copy, TRACK).read_text().splitlines()[0])["sigma"] == 0.2
    assert "not used" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in committed.iterdir()} == before


def test_searches_are_listed_the_latest_first(smoke):
    found = search.searches(smoke)
    assert found.index(DREAM) < found.index(REFINED) < found.index(TRACK)


def test_weights_are_saved_as_they_were_found(smoke):
    tensors, _ = smoke.load(stages.agent(smoke.profile, TRACK))
    assert {name: t.dtype for name, t in tensors.items()} == dict.fromkeys(
        ("parameters", "input_mean", "input_deviation"), torch.float64
    )
