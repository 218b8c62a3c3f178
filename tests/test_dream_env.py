"""The dream as a world to drive in: reproducible, independent of its batch, a Gymnasium citizen."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import awm
from awm import dream
from awm.errors import AwmError
from awm.rollout import Job

MODELS = ("none", "feature", "spatial", "temporal")


def layers(count, inputs=97):
    generator = np.random.default_rng(0)
    return generator.normal(size=(count, 3, inputs)).astype(np.float32) * 0.2


@pytest.mark.parametrize("model", MODELS)
def test_gymnasiums_checker_passes(smoke, model):
    env = gymnasium.make(awm.DREAM, world_model="smoke", attention=model, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.reset(seed=1)
    frame = env.render()
    assert frame.shape == (64, 64, 3) and frame.dtype == np.uint8


def test_a_seed_is_a_dream(smoke):
    def run(seed, temperature=1.0):
        env = gymnasium.make(awm.DREAM, world_model="smoke", temperature=temperature)
        env.action_space.seed(0)
        seen = [env.reset(seed=seed)[0]]
        for _ in range(80):  # longer than a block of noise
            observation, reward, *_ = env.step(env.action_space.sample())
            seen.append(np.append(observation, reward)[:-1])
        return np.array(seen)

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))
    assert not np.array_equal(run(3), run(3, temperature=0.5))
    start = run(3)[0]
    world = dream.load("smoke")
    assert (world.starts.numpy() == start[:32]).all(1).any(), "it begins with a real frame"
    assert np.all(start[32:] == 0)


def test_low_temperature_follows_the_likeliest_component(smoke):
    world = dream.load("smoke")
    p = world.m.predict(torch.randn(5, world.m.hidden_size))
    cold = p.pick(torch.rand(5, 32), torch.randn(5, 32), temperature=1e-4)
    likeliest = p.mu.gather(-1, p.log_pi.argmax(-1, keepdim=True)).squeeze(-1)
    assert torch.allclose(cold, likeliest, atol=0.2)
    with pytest.raises(AwmError, match="positive"):
        dream.Dream(world, 1, temperature=0)


@pytest.mark.parametrize("model", ["none", "temporal"])
def test_a_dream_does_not_depend_on_its_batch(smoke, model):
    world, jobs = dream.load("smoke", model), [Job(c, s) for c in range(3) for s in (5, 6)]
    together = dream.dream_jobs(world, layers(3), jobs, steps=70)
    backwards = dream.dream_jobs(world, layers(3), jobs[::-1], steps=70)[::-1]
    alone = [o for job in jobs for o in dream.dream_jobs(world, layers(3), [job], steps=70)]
    assert together == backwards == alone
    assert len({o.episode_return for o in together}) == 6
    assert all(1 <= o.length <= 70 for o in together)


def test_an_episode_ends_as_often_as_the_end_head_says(smoke):
    world = dream.load("smoke")
    with torch.no_grad():
        world.m.head.weight[-1] = 0
        world.m.head.bias[-1] = float(np.log(0.1 / 0.9))  # a tenth
    found = dream.dream_jobs(world, layers(1), [Job(0, s) for s in range(256)], steps=200)
    assert np.mean([o.length for o in found]) == pytest.approx(10, rel=0.25)


def test_many_dreams_are_a_vector_environment(smoke):
    envs = gymnasium.make_vec(awm.DREAM, num_envs=4, world_model="smoke", max_episode_steps=7)
    observation, _ = envs.reset(seed=2)
    assert observation in envs.observation_space
    for step in range(1, 9):
        observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        assert reward.shape == terminated.shape == (4,)
        if not terminated.any() and step == 7:
            assert truncated.all()
        if step == 8:  # a new episode begins: no reward, no memory
            assert np.all(reward[~terminated] == 0) and np.all(observation[:, 32:] == 0)
    envs.close()
    again = gymnasium.make_vec(awm.DREAM, num_envs=4, world_model="smoke")
    assert np.array_equal(again.reset(seed=2)[0], again.reset(seed=2)[0])
