"""Simulator steps a second on one core: ours against Gymnasium's, the same track and actions.

python benchmarks/simulator.py
"""

import gymnasium
import numpy as np
from timing import rates, show

import awm
from awm.drivers import ScriptedDriver
from awm.sim.car_racing import FastCarRacing

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


def main() -> None:
    awm.register_environments()
    taken = actions(600, seed=1)
    contenders = {name: stepping(name, taken, seed=1) for name in STEPS}
    show("Simulator, one core, resets included", "steps/s", rates(contenders), "CarRacing-v3")


if __name__ == "__main__":
    main()
