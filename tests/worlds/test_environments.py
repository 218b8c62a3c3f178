"""The dream as Gymnasium's environments."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import awm
from awm.errors import AwmError
from awm.ids import ATTENTIONS
from awm.worlds import dream


@pytest.mark.parametrize("kind", ["plain", *ATTENTIONS])
def test_gymnasiums_checker_passes(kind, smoke):
    env = gymnasium.make(awm.DREAM, world_model=smoke, memory=kind, render_mode="rgb_array")
    check_env(env.unwrapped)
    env.reset(seed=1)
    frame = env.render()
    assert frame.shape == (64, 64, 3) and frame.dtype == np.uint8


def test_a_seed_is_a_dream(smoke):
    def run(seed, temperature=1.0):
        env = gymnasium.make(awm.DREAM, world_model=smoke, temperature=temperature)
        env.action_space.seed(0)
        observation, _ = env.reset(seed=seed)
        seen = [np.append(observation, 0.0)]
        for _ in range(80):  # longer than a block of noise
            observation, reward, *_ = env.step(env.action_space.sample())
            seen.append(np.append(observation, reward))
        return np.array(seen)

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))
    assert not np.array_equal(run(3), run(3, temperature=0.5))
    start = run(3)[0]
    starts = dream.load(smoke).starts.numpy()
    assert (starts == start[:32].astype(np.float32)).all(1).any(), "it begins with a real frame"
    assert np.all(start[32:] == 0)


def test_many_dreams_are_a_vector_environment(smoke):
    source = dream.load(smoke)
    envs = gymnasium.make_vec(
        awm.DREAM, num_envs=4, world_model=source, max_episode_steps=7, render_mode="rgb_array"
    )
    observation, _ = envs.reset(seed=2)
    assert observation in envs.observation_space
    for step in range(1, 9):
        observation, reward, terminated, truncated, _ = envs.step(envs.action_space.sample())
        assert reward.shape == terminated.shape == (4,)
        assert truncated.tolist() == [step == 7] * 4 and not terminated.any()
        if step == 8:  # a new episode begins: no reward, no memory
            assert np.all(reward == 0) and np.all(observation[:, 32:] == 0)
    assert [frame.shape for frame in envs.render()] == [(64, 64, 3)] * 4
    envs.close()
    again = gymnasium.make_vec(awm.DREAM, num_envs=4, world_model=source)
    assert np.array_equal(again.reset(seed=2)[0], again.reset(seed=2)[0])


def test_the_first_of_many_dreams_is_the_dream_alone(smoke):
    source, action = dream.load(smoke), np.array([0.1, 0.5, 0.0], np.float32)
    one = gymnasium.make(awm.DREAM, world_model=source)
    many = gymnasium.make_vec(awm.DREAM, num_envs=3, world_model=source)
    alone, first = one.reset(seed=4)[0], many.reset(seed=4)[0][0]
    for _ in range(5):
        assert np.allclose(alone, first, atol=1e-4)
        alone, first = one.step(action)[0], many.step(np.stack([action] * 3))[0][0]


def test_a_profile_is_opened_where_results_lie(smoke, monkeypatch):
    monkeypatch.setenv("AWM_ROOT", str(smoke.root))
    named = gymnasium.make(awm.DREAM, world_model="smoke", memory="temporal-1")
    given = gymnasium.make(awm.DREAM, world_model=smoke.profile, memory="temporal-1")
    assert np.array_equal(named.reset(seed=1)[0], given.reset(seed=1)[0])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"render_mode": "ansi"}, "rgb_array"),
        ({"memory": "clairvoyant"}, "Choose one of"),
        ({"memory": "V"}, "V alone has no M"),
        ({"memory": "plain-7"}, "awm train mdn-rnn --kind plain --seed 7"),
        ({"world_model": "huge"}, "smoke, quick, paper"),
        ({"temperature": 0}, "positive"),
    ],
    ids=str,
)
def test_what_cannot_be_dreamt_is_said(change, said, smoke):
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(AwmError, match=said):
            make(awm.DREAM, **{"world_model": smoke} | change)


def test_a_dream_can_end(smoke):
    source = dream.load(smoke)
    source.m.head.bias.data[-1] = 30.0
    env = gymnasium.make(awm.DREAM, world_model=source)
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[2]
    envs = gymnasium.make_vec(awm.DREAM, num_envs=2, world_model=source)
    envs.reset(seed=0)
    ends = [envs.step(envs.action_space.sample())[2].tolist() for _ in range(3)]
    assert ends == [[True] * 2, [False] * 2, [True] * 2], "an end, a beginning, an end"
