"""The simulator: Gymnasium's physics bit for bit, Gymnasium's pixels to within a level."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing
from gymnasium.utils.env_checker import check_env

import awm  # noqa: F401  registers the environments
from awm.data.drivers import NoisyDriver, ScriptedDriver, WalkDriver
from awm.errors import AwmError
from awm.racing import FAST, MAX_EPISODE_STEPS, REFERENCE
from awm.racing.car_racing import FastCarRacing
from awm.racing.resize import area_weights, to_frame


class Physics(CarRacing):
    """Gymnasium's environment without its drawing: the physics to compare with, a hundredfold."""

    def _render(self, mode):
        return np.zeros((96, 96, 3), np.uint8) if mode == "state_pixels" else super()._render(mode)


def random_actions(kind: str, steps: int, rng: np.random.Generator) -> np.ndarray:
    low, high = np.array([-1, 0, 0]), np.array([1, 1, 1])
    match kind:
        case "uniform":
            actions = rng.uniform(low, high, (steps, 3))
        case "ends":
            actions = np.where(rng.random((steps, 3)) < 0.5, low, high)
        case "held":
            actions = np.repeat(rng.uniform(low, high, (steps // 20 + 1, 3)), 20, axis=0)[:steps]
        case "full gas":
            actions = np.tile([0.02, 1.0, 0.0], (steps, 1))
        case "spin":
            actions = np.tile([1.0, 1.0, 0.0], (steps, 1))
        case "still":
            actions = np.zeros((steps, 3))
        case "outside":
            actions = rng.uniform(-2, 2, (steps, 3))
    return actions.astype(np.float32)


def state_of(env) -> tuple:
    hull = env.car.hull
    wheels = [
        (w.omega, w.phase, w.gas, *w.linearVelocity, w.angularVelocity, w.joint.angle)
        for w in env.car.wheels
    ]
    return (*hull.position, hull.angle, *hull.linearVelocity, hull.angularVelocity, *wheels)


@pytest.mark.parametrize(
    "kind", ["uniform", "ends", "held", "full gas", "spin", "still", "outside"]
)
@pytest.mark.parametrize("seed", [0, 7, 123_456])
def test_physics_is_gymnasiums_bit_for_bit(kind, seed):
    ours, theirs = FastCarRacing(), Physics()
    rng = np.random.default_rng(seed)
    for episode_seed in (seed, seed + 1):  # the second on worlds that have been used
        ours.reset(seed=episode_seed)
        theirs.reset(seed=episode_seed)
        assert ours.track == theirs.track
        for action in random_actions(kind, 500, rng):
            expected, found = theirs.step(action), ours.step(action)
            assert found[1:] == expected[1:]
            assert state_of(ours) == state_of(theirs)
            if found[2]:
                break
        assert ours.tile_visited_count == theirs.tile_visited_count


def test_made_environments_agree_to_the_time_limit():
    ours, theirs = gymnasium.make(FAST), gymnasium.make("CarRacing-v3")
    theirs.unwrapped._render = lambda mode: np.zeros((96, 96, 3), np.uint8)
    ours.reset(seed=5)
    theirs.reset(seed=5)
    action = np.array([0.3, 0.1, 0.0], np.float32)
    for _step in range(MAX_EPISODE_STEPS):
        expected, found = theirs.step(action), ours.step(action)
        assert found[1:] == expected[1:]
    assert found[3], "truncated after 1,000 steps"


def test_lap_complete_percent_still_has_no_effect():
    """Gymnasium issue 1269: if this fails, scores of this version compare with others no more."""
    env = FastCarRacing(lap_complete_percent=0.01)
    env.reset(seed=1)
    driver = ScriptedDriver(speed=40)
    driver.reset(env, np.random.default_rng(0))
    for _step in range(400):
        terminated = env.step(driver.act(env))[2]
        assert not terminated
    assert env.tile_visited_count > 0.1 * len(env.track)


def difference(seed: int, policy, steps: int, **options) -> np.ndarray:
    """Average absolute difference of fast and reference frames, a number a frame."""
    fast, reference = gymnasium.make(FAST, **options), gymnasium.make(REFERENCE, **options)
    a, b = fast.reset(seed=seed)[0], reference.reset(seed=seed)[0]
    levels = [np.abs(a.astype(int) - b).mean()]
    act = policy(fast.unwrapped)
    for t in range(steps):
        action = act(t)
        a, *rest_a = fast.step(action)
        b, *rest_b = reference.step(action)
        assert rest_a == rest_b
        levels.append(np.abs(a.astype(int) - b).mean())
        if rest_a[1]:
            break
    return np.array(levels)


def driven(driver, seed=0):
    def begin(env):
        driver.reset(env, np.random.default_rng(seed))
        return lambda t: driver.act(env)

    return begin


@pytest.mark.parametrize("driver", [ScriptedDriver(), NoisyDriver(), WalkDriver()])
def test_frames_are_the_references_to_within_a_level(driver):
    levels = difference(11, driven(driver), 130)
    assert levels[:51].mean() < 1.0, "the zooming frames"
    assert levels[51:].mean() < 1.0
    assert levels.max() < 2.0


def test_frames_agree_at_the_fields_edge():
    def eastwards(env):
        def act(t):
            heading = env.car.hull.angle + np.pi / 2
            return np.array([np.clip(np.sin(heading), -0.5, 0.5), 0.4, 0], np.float32)

        return act

    # Beyond the end of the field, a hundred units from the start, all is black.
    levels = difference(3, eastwards, 500)
    assert len(levels) < 500, "the car has left the field"
    assert levels.mean() < 1.0
    assert levels[-40:].mean() < 1.0


def test_frames_agree_with_random_colours():
    levels = difference(4, driven(NoisyDriver()), 60, domain_randomize=True)
    assert levels.mean() < 1.0


def test_a_frame_that_is_wrong_would_be_noticed():
    fast, reference = gymnasium.make(FAST), gymnasium.make(REFERENCE)
    a, b = fast.reset(seed=1)[0], reference.reset(seed=2)[0]
    assert np.abs(a.astype(int) - b).mean() > 1.0


@pytest.mark.parametrize("name", [FAST, REFERENCE])
def test_gymnasiums_checker_is_content(name):
    with warnings.catch_warnings():
        # CarRacing's action space is what it is; the checker says so of Gymnasium's own as well.
        warnings.filterwarnings("ignore", message=".*Box action space.*")
        warnings.filterwarnings("ignore", message=".*not within the.*")
        check_env(gymnasium.make(name).unwrapped, skip_render_check=True)
    space = gymnasium.make(name).observation_space
    assert space.shape == (64, 64, 3) and space.dtype == np.uint8


def test_options_of_carracing():
    discrete = gymnasium.make(FAST, continuous=False)
    discrete.reset(seed=0)
    expected = gymnasium.make("CarRacing-v3", continuous=False)
    expected.reset(seed=0)
    for action in (3, 3, 1, 4, 2, 0):
        assert discrete.step(action)[1:] == expected.step(action)[1:]
    window = gymnasium.make(FAST, render_mode="rgb_array")
    window.reset(seed=0)
    theirs = gymnasium.make("CarRacing-v3", render_mode="rgb_array")
    theirs.reset(seed=0)
    for action in random_actions("spin", 60, np.random.default_rng(0)):
        window.step(action)
        theirs.step(action)
    # Gymnasium's own picture of our car on our track, skid marks and all.
    assert np.array_equal(window.render(), theirs.render())
    with pytest.raises(AwmError, match="rgb_array"):
        FastCarRacing(render_mode="ascii")


def test_each_observation_is_an_array_of_its_own():
    env = FastCarRacing()
    first, _ = env.reset(seed=0)
    kept = first.copy()
    env.step(np.array([0, 1, 0], np.float32))
    assert np.array_equal(first, kept)


def test_area_weights_average_by_overlap():
    weights = area_weights(3, 2)
    assert np.allclose(weights, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]])
    assert np.allclose(area_weights(84, 64).sum(axis=1), 1)
    observation = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    rows, columns = area_weights(84, 64), area_weights(96, 64)
    expected = np.einsum("iy,yxc,jx->ijc", rows, observation[:84].astype(np.float64), columns)
    assert np.abs(to_frame(observation) - expected).max() <= 0.5001
