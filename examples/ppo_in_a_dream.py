"""A standard algorithm on the dream: PPO of Stable-Baselines3 drives in M, then on the real track.

    pip install -e '.[rl]'
    python examples/ppo_in_a_dream.py --profile paper --steps 50000

The dream is a Gymnasium environment like any other, so nothing here knows that it is one. What
PPO sees is [z, h]; on the real track V and M make the same of real frames.
"""

import argparse

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO

import awm  # noqa: F401  registers the environments
from awm import config
from awm.ids import Memory
from awm.racing import MAX_EPISODE_STEPS
from awm.store import Workspace
from awm.worlds import dream
from awm.worlds.dream import DreamSource
from awm.worlds.track import Perception


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--profile", help="by default paper once it is there")
    options.add_argument("--memory", default="plain", help="which M, such as spatial or plain-1")
    options.add_argument("--temperature", type=float, default=1.0)
    options.add_argument("--steps", type=int, default=50_000)
    options.add_argument("--seed", type=int, default=0)
    chosen = options.parse_args()

    torch.set_num_threads(1)  # one dream at a time is too little work to share
    source = dream.load(Workspace.open(chosen.profile), Memory.parse(chosen.memory))
    env = gymnasium.make(
        "awm/DreamCarRacing-v0", world_model=source, temperature=chosen.temperature
    )
    policy = PPO("MlpPolicy", env, n_steps=1024, seed=chosen.seed, device="cpu", verbose=1)
    policy.learn(chosen.steps)
    track = config.track_seeds(config.VALIDATION_SEEDS, 1)[0]
    earned = drive(source, policy, track)
    print(f"after {chosen.steps} dreamt steps, on real track {track}: {earned:.0f}")


@torch.inference_mode()
def drive(source: DreamSource, policy: PPO, track: int) -> float:
    """The return of a real episode, seen through V and M."""
    env = gymnasium.make("awm/CarRacing-v3")
    eyes, total = Perception(source.v, source.m, lanes=1), 0.0
    frame, _ = env.reset(seed=track)
    for _ in range(MAX_EPISODE_STEPS):
        action, _ = policy.predict(eyes.observe(frame[None], [0])[0].numpy(), deterministic=True)
        eyes.advance(torch.from_numpy(np.asarray(action, np.float32))[None])
        frame, reward, terminated, truncated, _ = env.step(action)
        total += reward
        if terminated or truncated:
            break
    return total


if __name__ == "__main__":
    main()
