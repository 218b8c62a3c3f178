"""C, the lanes, evolution and evaluation: exact where exactness is promised."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from awm import (
    config,
    controller,
    evaluation,
    evolution,
    mdn_rnn,
    names,
    provenance,
    publish,
    rollout,
    vae,
    verdicts,
)
from awm.config import get_profile
from awm.controller import Inputs, act
from awm.errors import AwmError
from awm.rollout import Job
from awm.sim.car_racing import FastCarRacing


def random_layers(n, inputs=32 + 64, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3, inputs + 1)).astype(np.float32) * 0.3


def test_c_has_the_papers_parameters_and_squashes():
    inputs = Inputs(np.zeros(288), np.ones(288))
    assert inputs.parameters == 867
    layer = torch.zeros(2, 3, 289)
    assert act(layer, torch.randn(2, 288))[0].tolist() == [0.0, 0.5, 0.0]
    layer[:, :, -1] = torch.tensor([-100.0, 100.0, 100.0])
    assert act(layer, torch.randn(2, 288))[1].tolist() == [-1.0, 1.0, 1.0]


def test_each_lane_has_its_own_layer():
    layers, inputs = torch.from_numpy(random_layers(5)), torch.randn(5, 96)
    together = act(layers, inputs)
    for i in range(5):
        raw = layers[i, :, :-1] @ inputs[i] + layers[i, :, -1]
        expected = [raw[0].tanh(), raw[1].sigmoid(), raw[2].tanh().clamp(min=0)]
        assert torch.allclose(together[i], torch.stack(expected), atol=1e-5)


def test_folding_is_the_layer_on_standardised_inputs():
    rng = np.random.default_rng(0)
    inputs = Inputs(rng.normal(size=6), rng.uniform(0.2, 3, 6))
    parameters, x = rng.normal(size=21), rng.normal(size=6)
    layer = parameters.reshape(3, 7)
    expected = layer[:, :6] @ ((x - inputs.mean) / inputs.deviation) + layer[:, 6]
    folded = inputs.fold(parameters).astype(np.float64)
    assert np.allclose(folded[:, :6] @ x + folded[:, 6], expected, atol=1e-5)


@pytest.mark.parametrize("model", ["none", "spatial", "temporal"])
def test_lanes_are_the_plain_loop(model, smoke):
    """The lockstep engine against the loop that anyone would write, one frame at a time."""
    profile = get_profile("smoke")
    v, m = vae.load(profile), mdn_rnn.load(profile, model)
    layers = random_layers(3)
    jobs = [Job(i, 40 + i, patience=30) for i in range(3)]
    found = rollout.drive_jobs(profile, model, layers, jobs)
    for outcome in found:
        env = FastCarRacing()
        frame, _ = env.reset(seed=outcome.seed)
        layer = torch.from_numpy(layers[outcome.candidate])
        state, total = m.initial_state(1), 0.0
        with torch.inference_mode():
            for _step in range(20):
                z, _, frame_map = v.encode(vae.to_input(frame[None]), with_map=True)
                action = act(layer[None], torch.cat([z, state.h], 1))
                state, _ = m.step(z, action, state, frame_map)
                frame, reward, *_ = env.step(action[0].numpy())
                total += reward
        short = replace(profile, lanes=profile.lanes)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rollout, "MAX_EPISODE_STEPS", 20)
            again = rollout.drive_jobs(short, model, layers, [Job(outcome.candidate, outcome.seed)])
        assert again[0].length == 20
        assert again[0].episode_return == pytest.approx(total, abs=1e-6)


@pytest.mark.parametrize("model", ["none", "temporal"])
def test_returns_do_not_depend_on_workers_or_order(model, smoke):
    profile = get_profile("smoke")
    layers = random_layers(4)
    jobs = [Job(c, s, patience=25) for c in range(4) for s in (1, 2)]
    first = rollout.drive_jobs(profile, model, layers, jobs)
    backwards = rollout.drive_jobs(profile, model, layers, jobs[::-1])
    alone = [o for job in jobs for o in rollout.drive_jobs(profile, model, layers, [job])]

    def key(o):
        return (o.candidate, o.seed)

    assert sorted(first, key=key) == sorted(backwards, key=key) == sorted(alone, key=key)
    with rollout.workers(2) as pool:
        shared = rollout.drive(pool, profile, model, layers, jobs, tasks=2)
    assert shared == sorted(first, key=key), "and outcomes come in the order of the jobs"
    assert len({o.episode_return for o in first}) > 4, "the candidates differ"


def test_workers_use_one_thread_each(smoke):
    before = torch.get_num_threads()
    with rollout.one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    seen = []
    original = rollout.WorldModel.observe

    def spy(self, *args):
        seen.append(torch.get_num_threads())
        return original(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout.WorldModel, "observe", spy)
        rollout.drive_jobs(get_profile("smoke"), "none", random_layers(1), [Job(0, 1, 5)])
    assert set(seen) == {1}


def test_reference_frames_are_driven_too(smoke):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "MAX_EPISODE_STEPS", 15)
        args = (get_profile("smoke"), "none", random_layers(1), [Job(0, 3)])
        fast = rollout.drive_jobs(*args)
        reference = rollout.drive_jobs(*args, frames="reference")
    assert fast[0].length == reference[0].length == 15
    # The frames look nearly alike to V: in 15 steps the car is a tile further at most.
    assert fast[0].episode_return == pytest.approx(reference[0].episode_return, abs=1000 / 250)
    with pytest.raises(AwmError, match="fast, reference"):
        rollout.drive_jobs(*args, frames="nice")


def test_cma_finds_a_maximum_and_repeats_itself():
    def run(generations):
        optimizer, log = evolution.Optimizer(np.zeros(12), 0.3, 8, seed=3), []
        for g in range(generations):
            candidates = optimizer.ask()
            fitness = [-float(np.square(c - 1).sum()) for c in candidates]
            optimizer.tell(candidates, fitness)
            log.append(
                {"generation": g, "fitness": fitness, "candidates_sum": float(candidates.sum())}
            )
        return optimizer, log

    optimizer, log = run(80)
    assert np.square(optimizer.mean - 1).sum() < 0.5  # it was 12; as near as this step size gets
    again = evolution.Optimizer(np.zeros(12), 0.3, 8, seed=3)
    np.random.seed(0)  # numpy's global generator is none of its business
    again.replay(log)
    assert np.array_equal(again.mean, optimizer.mean)
    # At a fixed step size the mean wanders about the optimum, and an average of means less.
    assert np.array_equal(optimizer.average(1), optimizer.mean)
    assert np.square(optimizer.average(20) - 1).sum() < np.square(optimizer.mean - 1).sum()
    assert np.array_equal(again.ask(), optimizer.ask())
    log[5]["candidates_sum"] += 1
    with pytest.raises(AwmError, match="Generation 5"):
        evolution.Optimizer(np.zeros(12), 0.3, 8, seed=3).replay(log)


def without_times(log):
    return [{k: v for k, v in e.items() if k not in ("seconds", "record")} for e in log]


def test_a_killed_evolution_resumes_as_if_nothing_had_happened(smoke_copy):
    profile = get_profile("smoke")
    whole = evolution.read_log(profile, "none")
    assert len(whole) == profile.search.generations + 1
    path = evolution.log_path(profile, "none")
    lines = path.read_text().splitlines()
    path.write_text(lines[0] + "\n" + lines[1][:40])  # killed in the middle of a line
    before = controller.load(profile, "none").parameters
    # Any executor will do: threads here.
    with ThreadPoolExecutor(1) as pool:
        again = evolution.evolve(profile, "none", executor=pool, workers=1)
    assert without_times(again.log) == without_times(whole)
    assert np.array_equal(again.controller.parameters, before)


def test_the_agent_is_the_mean_that_validates_best(smoke):
    profile = get_profile("smoke")
    log = evolution.read_log(profile, "none")
    found = controller.load(profile, "none")
    best = max(log, key=lambda e: e["validation"] if e["validation"] is not None else -np.inf)
    assert found.manifest["generation"] == best["generation"]
    optimizer = evolution.Optimizer(
        np.zeros(found.inputs.parameters), profile.search.sigma, profile.search.population, seed=0
    )
    optimizer.replay(log[: best["generation"]])
    assert np.array_equal(found.parameters, optimizer.mean)
    tracks = {s for e in log for s in e.get("seeds", ())}
    assert not tracks & set(found.manifest["validation_seeds"])


def test_a_search_drives_with_the_training_of_m_that_its_profile_names(smoke_copy):
    profile = replace(get_profile("smoke"), searched_on=(0, 1))
    with pytest.raises(AwmError, match="--model none --seed 1"):
        evolution.evolve(profile, "none", seed=1)
    other = mdn_rnn.train(profile, "none", seed=1)
    found = evolution.evolve(profile, "none", seed=1, workers=1)
    agent = controller.load(profile, "none-seed1")
    assert (
        agent.model == "none-seed1"
        and agent.manifest["sources"]["mdn_rnn"] == (other.manifest["hash"])
    )
    # The first candidates drove with that M's h and scales; with the first M's h they do not.
    layers = agent.inputs.fold(
        evolution.Optimizer(
            np.zeros(agent.inputs.parameters), profile.search.sigma, profile.search.population, 1
        ).ask()
    )
    jobs = [
        Job(candidate, track, profile.search.patience)
        for candidate in range(len(layers))
        for track in found.log[0]["seeds"]
    ]
    first, second = (
        sorted(o.episode_return for o in rollout.drive_jobs(profile, model, layers, jobs))
        for model in ("none", "none-seed1")
    )
    assert second == pytest.approx(sorted(found.log[0]["fitness"])) and first != second
    assert names.seen(profile, "V", 1) == "V" and names.seen(profile, "none", 7) == "none"


def test_the_log_of_another_evolution_is_refused(smoke_copy):
    changed = get_profile("smoke")
    changed = replace(changed, search=replace(changed.search, population=6))
    with pytest.raises(AwmError, match="population.*Move it"):
        evolution.evolve(changed, "none")
    with pytest.raises(AwmError, match="Choose one of"):
        evolution.evolve("smoke", "everything")


def test_evaluation_writes_what_a_sceptic_asks_for(smoke_copy, monkeypatch):
    monkeypatch.setattr(rollout, "MAX_EPISODE_STEPS", 60)
    monkeypatch.setattr(
        rollout, "workers", lambda count=None: _threads()
    )  # so that the patch reaches the loop
    result = evaluation.evaluate("smoke", "none", episodes=3, seed=5)
    path = config.data_dir("smoke") / "evaluations/other/none-fast-3-from-5.json"
    assert provenance.read_json(path) == json.loads(json.dumps(result))
    assert result["seeds"] == [config.TEST_SEEDS + 5 + i for i in range(3)]
    assert result["mean"] == pytest.approx(np.mean(result["returns"]))
    low, high = result["ci95"]
    assert low <= result["mean"] <= high
    for key in ("commit", "config", "wall_time_s", "controller_hash", "date"):
        assert key in result
    monkeypatch.setattr(rollout, "drive", None)  # not driven again
    assert evaluation.evaluate("smoke", "none", episodes=3, seed=5) == result
    with pytest.raises(AwmError, match="no controller 'best' .there is none"):
        evaluation.evaluate("smoke", "best")


class _threads(ThreadPoolExecutor):
    def __init__(self):
        super().__init__(1)


def test_seed_ranges_are_disjoint():
    starts = [
        config.DATA_SEEDS, config.EVOLUTION_SEEDS, config.VALIDATION_SEEDS, config.TEST_SEEDS
    ]  # fmt: skip
    ranges = [config.track_seeds(s, 3, config.SEED_RANGE - 3) for s in starts]
    assert all(r[-1] < s for r, s in zip(ranges, starts[1:], strict=False))
    with pytest.raises(AwmError, match="smaller seed"):
        config.track_seeds(config.TEST_SEEDS, 10, config.SEED_RANGE - 5)


def test_profiles_by_name():
    with pytest.raises(AwmError, match="smoke, quick, paper"):
        get_profile("huge")
    assert get_profile("paper").rollouts * get_profile("paper").steps == 192_000


def test_refinement_begins_at_a_controller_and_resumes(smoke_copy):
    profile = get_profile("smoke")
    start = controller.load(profile, "none")
    with ThreadPoolExecutor(1) as pool:
        refined = evolution.refine(profile, "none", executor=pool, workers=1)
        assert len(refined.log) == profile.refinement.generations + 1
        path = evolution.log_path(profile, names.refined("none"))
        lines = path.read_text().splitlines()
        path.write_text(lines[0] + "\n")
        again = evolution.refine(profile, "none", executor=pool, workers=1)
    assert without_times(again.log) == without_times(refined.log)
    assert refined.controller.manifest["sources"]["controller"] == start.manifest["hash"]
    first = evolution.read_log(profile, "none")
    assert not {s for e in first for s in e.get("seeds", ())} & set(refined.log[0]["seeds"])
    # Small steps have moved the mean a little.
    moved = np.linalg.norm(refined.controller.parameters - start.parameters)
    assert moved < 3 * profile.refinement.sigma * np.sqrt(len(start.parameters))
    # What is validated in the end is the average of the last means.
    search = profile.refinement
    optimizer = evolution.Optimizer(start.parameters, search.sigma, search.population, seed=0)
    optimizer.replay(refined.log[:-1])
    with ThreadPoolExecutor(1) as pool:
        outcomes = rollout.drive(
            pool, profile, "none", start.inputs.fold(optimizer.average(search.averaged)[None]),
            [Job(0, t, search.patience) for t in refined.controller.manifest["validation_seeds"]],
            tasks=1, steering_noise=search.steering_noise,
        )  # fmt: skip
    found = [round(o.episode_return, 1) for o in outcomes]
    assert found == refined.log[-1]["validation_returns"]
    replace_sigma = replace(profile, refinement=replace(profile.refinement, sigma=0.2))
    with pytest.raises(AwmError, match="sigma.*Move it"):
        evolution.refine(replace_sigma, "none")


def test_hard_tracks_come_again():
    search = replace(get_profile("smoke").search, tracks=4, hard_tracks=2)
    log, driven = [], []
    for generation in range(30):
        tracks = evolution._tracks(search, "none", 0, log)
        assert len(set(tracks)) == 4
        # Every fifth track is a hard one.
        log.append(
            {"seeds": tracks, "track_means": [-50.0 if t % 5 == 0 else 800.0 for t in tracks]}
        )
        driven += tracks[2:] if generation >= 10 else []
    assert np.mean([t % 5 == 0 for t in driven]) > 0.4
    assert evolution._tracks(search, "none", 0, log) == evolution._tracks(search, "none", 0, log)


def test_committed_models_stand_in_for_those_that_were_not_trained(smoke_copy, monkeypatch):
    profile = get_profile("smoke")
    committed = config.pretrained_dir() / "smoke"
    shutil.copytree(config.data_dir(profile), committed)
    shutil.rmtree(config.data_dir(profile) / "evolution")
    for path in config.data_dir(profile).glob("*.safetensors"):
        path.unlink()
    assert vae.path_of(profile) == committed / "vae.safetensors"
    assert vae.train(profile).manifest == vae.load(profile).manifest, "nothing was trained"
    assert evolution.evolve(profile, "none").log == evolution.read_log(profile, "none")
    before = {path: path.stat().st_mtime_ns for path in committed.rglob("*")}
    evaluation.evaluate(profile, "none", episodes=1, seed=9)
    assert before == {path: path.stat().st_mtime_ns for path in committed.rglob("*")}
    monkeypatch.setenv("AWM_RETRAIN", "1")
    assert vae.path_of(profile) == config.data_dir(profile) / "vae.safetensors"
    monkeypatch.delenv("AWM_RETRAIN")
    (committed / "vae.safetensors").unlink()  # records alone stand in for nothing
    assert evolution.read_log(profile, "none") == []


def test_a_dask_cluster_drives_with_the_same_returns(smoke):
    from distributed import LocalCluster

    profile, layers = get_profile("smoke"), random_layers(3)
    jobs = [Job(c, s, patience=10) for c in range(3) for s in (1, 2)]
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None, processes=False
        ) as local,
        rollout.cluster(local.scheduler_address) as (executor, threads),
    ):
        far = rollout.drive(executor, profile, "none", layers, jobs, tasks=2)
    assert threads == 1
    near = sorted(rollout.drive_jobs(profile, "none", layers, jobs), key=jobs_key)
    assert far == near
    with (
        pytest.raises(AwmError, match="No Dask scheduler answers"),
        rollout.cluster("tcp://127.0.0.1:1"),
    ):
        pass


def jobs_key(outcome):
    return (outcome.candidate, outcome.seed)


def test_a_claim_is_driven_again(smoke_copy, monkeypatch):
    monkeypatch.setattr(rollout, "MAX_EPISODE_STEPS", 12)
    monkeypatch.setattr(rollout, "workers", lambda count=None: _threads())
    profile = get_profile("smoke")
    found = evaluation.recheck(profile, "none")
    assert found["same"] == 1 and found["again"] == found["claimed"]
    assert verdicts.recheck(found).endswith("the same tracks; every lap is the same to the digit.")
    path = config.data_dir(profile) / "evaluations/none-reference.json"
    claim = provenance.read_json(path)
    # Other tracks of the claim have no say: the first two are compared with the first two.
    provenance.write_json(path, {**claim, "returns": [900.0, 901.0, -50.0], "mean": 583.7})
    found = evaluation.recheck(profile, "none")
    assert (found["same"], found["claimed"]) == (0, 900.5)
    assert "0% of the laps are the same" in verdicts.recheck(found)
    assert provenance.read_json(path)["mean"] == 583.7, "the claim stays what it was"


def test_evolution_in_a_dream_never_looks_at_the_real_track(smoke_copy, monkeypatch):
    profile = get_profile("smoke")
    with ThreadPoolExecutor(1) as pool:
        found = evolution.evolve_in_dream(
            profile, "none", temperature=0.7, executor=pool, workers=1
        )
        assert found.controller.manifest["search"]["temperature"] == 0.7
        assert all(e["real"] is not None for e in found.log if e["validation"] is not None)
        path = evolution.log_path(profile, names.dreamt("none", temperature=0.7))
        path.write_text(path.read_text().splitlines()[0] + "\n")
        # Whatever the real track says, the controller is the same.
        monkeypatch.setattr(evolution._Run, "_real_return", lambda *_: -1e9)
        again = evolution.evolve_in_dream(
            profile, "none", temperature=0.7, executor=pool, workers=1
        )
    assert np.array_equal(again.controller.parameters, found.controller.parameters)
    validated = [e["validation"] for e in again.log if e["validation"] is not None]
    assert again.controller.manifest["validation"] == max(validated)
    with pytest.raises(AwmError, match="cannot dream"):
        evolution.evolve_in_dream(profile, "V")


def test_a_dreams_controller_wakes_on_the_track(smoke_copy):
    profile = get_profile("smoke")
    with ThreadPoolExecutor(1) as pool:
        start = evolution.evolve_in_dream(profile, "none", executor=pool, workers=1).controller
        found = evolution.wake(profile, "none-dream", executor=pool, workers=1)
    assert found.controller.manifest["sources"]["controller"] == start.manifest["hash"]
    # The same search on the same tracks as from zero, but for where it begins.
    zero = evolution.read_log(profile, "none")
    assert [e.get("seeds") for e in found.log] == [e.get("seeds") for e in zero]
    differing = {"mdn_rnn", "vae", "controller"}  # sources, of which the last is the start
    settings = [e[0]["settings"] for e in (found.log, zero)]
    assert {k for k in settings[0] if settings[0][k] != settings[1].get(k)} <= differing
    search = profile.search
    optimizer = evolution.Optimizer(start.parameters, search.sigma, search.population, seed=0)
    optimizer.replay(found.log[:-1])  # would complain of candidates that began elsewhere
    with pytest.raises(AwmError, match="not left by a dream"):
        evolution.wake(profile, "none")


def test_publishing_copies_what_others_need(smoke_copy):
    profile = get_profile("smoke")
    run = config.data_dir(profile) / "vae.checkpoint.safetensors"
    run.write_bytes(b"half done")
    committed = config.pretrained_dir() / "smoke"
    copied = {path.relative_to(committed).as_posix() for path in publish.publish(profile)}
    assert {"vae.safetensors", "vae.json", "controllers/none.safetensors"} <= copied
    assert "evolution/none.jsonl" in copied and not any("checkpoint" in name for name in copied)
    assert publish.publish(profile) == [], "nothing has changed"
    shutil.rmtree(config.data_dir(profile))
    assert controller.load(profile, "none").model == "none", "found where it is committed"
    with pytest.raises(AwmError, match="nothing in"):
        publish.publish(profile)


def test_nothing_damaged_is_published(smoke_copy):
    path = config.data_dir("smoke") / "mdn_rnn-none.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AwmError, match="Train it again"):
        publish.publish("smoke")
    assert not config.pretrained_dir().exists()
