"""Simulator steps a second on one core: ours against its peers.

The same track and the same actions, one environment on one core. Physics and rewards of the first
two are Gymnasium's, bit for bit, and their frames agree to within a level of 255. EnvPool's pixels
and tracks are others.

EnvPool takes part if it is installed (`pip install -e '.[bench]'`).

    python benchmarks/simulator.py
"""

import gymnasium
import numpy as np
from timing import keep, rates, table

import awm  # noqa: F401  registers the environments
from awm.data.drivers import ScriptedDriver
from awm.racing.car_racing import FastCarRacing

ENVPOOL_STEPS = 300
STEPS = {"awm/CarRacing-v3": 3000, "awm/CarRacingReference-v3": 60, "CarRacing-v3": 60}


def actions(steps: int, seed: int) -> list[np.ndarray]:
    """What the scripted driver does on a track, so that all drive the same way."""
    env, driver = FastCarRacing(), ScriptedDriver(speed=60)
    env.reset(seed=seed)
    driver.reset(env, np.random.default_rng(seed))
    taken = []
    for _step in range(steps):
        taken.append(driver.act(env))
        env.step(taken[-1])
    return taken


def stepping(name: str, taken: list[np.ndarray], seed: int):
    env = gymnasium.make(name).unwrapped

    def run() -> int:
        done = 0
        while done < STEPS[name]:
            env.reset(seed=seed)
            for action in taken[: STEPS[name] - done]:
                env.step(action)
            done += len(taken[: STEPS[name] - done])
        return done

    return run


def stepping_envpool(taken: list[np.ndarray]):
    """EnvPool's CarRacing-v3 on one thread, or None where it is not installed."""
    try:
        import envpool
    except ImportError:
        return None
    env = envpool.make_gymnasium("CarRacing-v3", num_envs=1, num_threads=1, seed=1)

    def run() -> int:
        env.reset()
        for step in range(ENVPOOL_STEPS):
            env.step(taken[step % len(taken)][None])
        return ENVPOOL_STEPS

    return run


def main() -> None:
    taken = actions(600, seed=1)
    contenders = {name: stepping(name, taken, seed=1) for name in STEPS}
    peer = stepping_envpool(taken)
    if peer:
        contenders["EnvPool CarRacing-v3 (other pixels)"] = peer
    else:
        print("EnvPool is not installed and takes no part")
    found = rates(contenders)
    title = "Simulator, one core, resets included"
    keep("simulator", table(title, "steps/s", found, "CarRacing-v3"))


if __name__ == "__main__":
    main()
