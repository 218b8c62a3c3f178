"""Lanes in lockstep are the plain loop, and an episode is the same whatever shares its batch."""

import numpy as np
import pytest
import torch

from awm.errors import AwmError
from awm.ids import Memory
from awm.models.controller import act
from awm.models.vae import to_input
from awm.racing.car_racing import FastCarRacing
from awm.training import mdn_rnn, vae
from awm.worlds import lanes
from awm.worlds.crew import track_world
from awm.worlds.lanes import Job, drive, one_thread, record
from awm.worlds.track import AgentDriver, Perception


def layers(count, inputs=32 + 64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 3, inputs + 1)).astype(np.float32) * 0.3


def plain_loop(ws, memory, layer, seed, steps, noise=0.0):
    """The loop that anyone would write, one frame at a time: rewards, and where M looked."""
    v, m = vae.load(ws), None if memory.kind == "V" else mdn_rnn.load(ws, memory)
    env, rewards = FastCarRacing(), []
    frame, _ = env.reset(seed=seed)
    layer, looked = torch.from_numpy(layer)[None], []
    state = m.initial_state(1) if m else None
    rng = np.random.default_rng(seed)
    with torch.inference_mode():
        for _step in range(steps):
            z, _, feature_map = v.encode(to_input(frame[None]), with_map=True)
            action = act(layer, torch.cat([z, state.h], 1) if m else z)
            if noise:
                action[0, 0] = (action[0, 0] + noise * rng.standard_normal()).clamp(-1, 1)
            if m:
                state, weights = m.step(z, action, state, feature_map)
                looked.append(weights)
            frame, reward, *_ = env.step(action[0].numpy())
            rewards.append(reward)
    return rewards, looked


@pytest.mark.parametrize("kind", ["V", "plain", "spatial", "temporal"])
def test_lanes_are_the_plain_loop(kind, smoke, monkeypatch):
    monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 20)
    memory = Memory(kind)
    weights = layers(3, 32 if kind == "V" else 96)
    jobs = [Job(i, 40 + i) for i in range(3)]
    found = drive(track_world(smoke, memory), weights, jobs)
    for outcome in found:
        rewards, _ = plain_loop(smoke, memory, weights[outcome.candidate], outcome.seed, 20)
        assert outcome.length == 20 and not outcome.finished
        assert outcome.episode_return == pytest.approx(sum(rewards), abs=1e-6)


def test_noise_on_the_steering_is_the_jobs_own(smoke, monkeypatch):
    monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 20)
    world, weights = track_world(smoke, Memory("V")), layers(2, 32)
    jobs = [Job(c, s) for c in (0, 1) for s in (4, 5)]
    for outcome in drive(world, weights, jobs, steering_noise=0.4):
        rewards, _ = plain_loop(
            smoke, Memory("V"), weights[outcome.candidate], outcome.seed, 20, noise=0.4
        )
        assert outcome.episode_return == pytest.approx(sum(rewards), abs=1e-6)


@pytest.mark.parametrize("kind", ["plain", "temporal"])
def test_an_episode_is_the_same_whatever_shares_its_batch(kind, smoke, monkeypatch):
    """More jobs than lanes, in either order and alone: bit for bit."""
    monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 30)
    world, weights = track_world(smoke, Memory(kind)), layers(9)
    jobs = [Job(c, s, patience=25 + c) for c in range(9) for s in (1, 2)]
    assert len(jobs) > world.lanes

    def key(o):
        return (o.candidate, o.seed)

    first = sorted(drive(world, weights, jobs), key=key)
    assert first == sorted(drive(world, weights, jobs[::-1]), key=key)
    alone = [o for job in jobs[:2] for o in drive(world, weights, [job])]
    assert first[:2] == alone, "and on a world that has been used"
    assert len({o.episode_return for o in first}) > 4, "the candidates differ"


def test_patience_ends_an_episode_without_a_new_tile(smoke, monkeypatch):
    monkeypatch.setattr(lanes, "MAX_EPISODE_STEPS", 60)
    weights = np.zeros((2, 3, 97), np.float32)
    weights[0, 2, -1] = 9  # brakes
    weights[1, 1, -1] = 9  # full gas
    world = track_world(smoke, Memory())
    patient, brake = drive(world, weights[:1], [Job(0, 1)]), drive(world, weights, [Job(0, 1, 5)])
    assert patient[0].length == 60 and brake[0].length == 5
    assert drive(world, weights, [Job(1, 1, 40)])[0].length > 40, "it has found tiles"


class Shuttle:
    """A world that ends every episode after as many steps as its seed, a reward of 1 each."""

    lanes, steps, attention = 3, 1000, None

    def __init__(self):
        self.tiles = np.zeros(3, int)
        self.left, self.begun = np.zeros(3, int), []

    def begin(self, lane, seed):
        self.left[lane], self.tiles[lane] = seed, 0
        self.begun.append((lane, seed))

    def observe(self, active):
        assert torch.get_num_threads() == 1
        return torch.zeros(3, 1)

    def step(self, action, active):
        self.left -= 1
        self.tiles += 1
        return np.ones(3), self.left <= 0

    def frame(self, lane):
        return np.full((64, 64, 3), self.left[lane], np.uint8)

    def result(self, lane):
        return self.tiles[lane] / 10, self.tiles[lane] == 4


def test_a_free_lane_takes_the_next_job():
    world, before = Shuttle(), torch.get_num_threads()
    jobs = [Job(0, seed) for seed in (2, 7, 4, 5, 1, 1)]
    found = drive(world, np.zeros((1, 3, 2), np.float32), jobs)
    assert world.begun == [(0, 2), (1, 7), (2, 4), (0, 5), (2, 1), (2, 1)]
    assert sorted(o.seed for o in found) == sorted(job.seed for job in jobs)
    assert all(o.episode_return == o.length == o.seed for o in found)
    assert [o.finished for o in found] == [o.seed == 4 for o in found]
    assert {o.seed: o.tiles for o in found}[7] == pytest.approx(0.7)
    assert torch.get_num_threads() == before
    assert drive(world, np.zeros((1, 3, 2), np.float32), []) == []


def test_a_recording_is_the_episode_that_was_counted():
    found = record(Shuttle(), np.zeros((3, 2), np.float32), seed=6)
    assert found.rewards.tolist() == [1] * 6 and found.actions.shape == (6, 3)
    assert found.frames[:, 0, 0, 0].tolist() == [6, 5, 4, 3, 2, 1], "what was seen before acting"
    assert found.attention is None and found.video is None


def test_a_recording_of_the_track_shows_it(smoke):
    (layer,) = layers(1)
    world = track_world(smoke, Memory("spatial"), lanes=1, window=True)
    found = record(world, layer, seed=3, steps=9, video_every=4)
    assert found.frames.shape == (9, 64, 64, 3) and found.video.shape == (3, 400, 600, 3)
    assert found.attention.shape == (9, 49) and found.path.shape == (9, 2)
    assert np.allclose(found.attention.sum(1), 1, atol=1e-5)
    rewards, looked = plain_loop(smoke, Memory("spatial"), layer, 3, 9)
    assert found.rewards == pytest.approx(rewards, abs=1e-6)
    assert np.allclose(found.attention, torch.cat(looked).numpy(), atol=1e-5)
    starts = np.linalg.norm(found.road - found.path[0], axis=1)
    assert starts.min() < 3.5, "it begins on the road"


def test_torch_uses_one_thread_inside_and_as_many_as_before_outside():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with pytest.raises(KeyError), one_thread():
        assert torch.get_num_threads() == 1
        raise KeyError
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_reference_frames_are_driven_too(smoke, short_laps):
    weights, jobs = layers(1), [Job(0, 3)]
    fast = drive(track_world(smoke, Memory()), weights, jobs)
    reference = drive(track_world(smoke, Memory(), frames="reference"), weights, jobs)
    assert fast[0].length == reference[0].length == 12
    # The frames look nearly alike to V: in 12 steps the car is a tile further at most.
    assert fast[0].episode_return == pytest.approx(reference[0].episode_return, abs=1000 / 250)
    with pytest.raises(AwmError, match="fast, reference"):
        track_world(smoke, Memory(), frames="nice")


def test_lanes_come_in_groups(smoke):
    with pytest.raises(AwmError, match="multiple of 16"):
        track_world(smoke, Memory(), lanes=20)


def test_a_forgetful_memory_begins_every_step_from_nothing(smoke):
    v, m = vae.load(smoke), mdn_rnn.load(smoke)
    eyes = Perception(v, m, 1, forgetful=True)
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 64, 64, 3)).astype(np.uint8)
    action = torch.tensor([[0.1, 0.5, 0.0]])
    with torch.inference_mode():
        for frame in frames:
            seen = eyes.observe(frame, [0])
            eyes.advance(action)
        state, _ = m.step(seen[:, :32], action, m.initial_state(1))
    assert torch.allclose(eyes.state.h, state.h, atol=1e-6)


def test_an_agent_drives_for_recordings_as_it_drives_in_lanes(smoke):
    (layer,) = layers(1)
    driver = AgentDriver(vae.load(smoke), mdn_rnn.load(smoke), layer)
    env, total = FastCarRacing(), 0.0
    for _episode in range(2):  # the second as the first: nothing is remembered
        frame, _ = env.reset(seed=8)
        driver.reset(env, np.random.default_rng(0))
        rewards = []
        for _step in range(10):
            frame, reward, *_ = env.step(driver.act(env, frame))
            rewards.append(reward)
        total, before = sum(rewards), total
    assert total == before
    assert total == pytest.approx(sum(plain_loop(smoke, Memory(), layer, 8, 10)[0]), abs=1e-6)
