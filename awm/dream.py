"""Dreams: M in the simulator's place (Ha & Schmidhuber 2018, section 4).

`Dream` steps many lanes in one batch: an action each, and M samples z' and tells the reward and
whether the episode ends. `awm.dream_env` makes a Gymnasium environment of it. `imagine` follows
recorded actions, to compare a dream with what happened.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from awm import baselines, config, controller, dataset, map_head, mdn_rnn, provenance, vae
from awm.config import ATTENTIONS, Profile, get_profile
from awm.errors import AwmError
from awm.map_head import MapHead, through_frames
from awm.mdn_rnn import MDNRNN
from awm.rollout import Job, Outcome, one_thread
from awm.sim import MAX_EPISODE_STEPS
from awm.vae import VAE

#: Steps for which a lane draws its noise at once.
_BLOCK = 64

#: Lanes that `dream_jobs` dreams together. Always as many, so that a dream does not depend, in
#: the last bits, on what else is dreamt.
LANES = 128


@dataclass(frozen=True)
class World:
    """What a dream is made of: V, M, and codes of real first frames to begin with, `[n, z]`.

    A spatially attentive M sees its dream through a `head`, or without one through the frames that
    V draws of it, which is much slower.
    """

    v: VAE
    m: MDNRNN
    starts: Tensor
    head: MapHead | None = None

    def look(self, z: Tensor) -> Tensor | None:
        """The maps `[lanes, 36, 128]` that M attends to at codes `[lanes, z]`, if it does."""
        if not self.m.needs_map:
            return None
        return through_frames(self.v, z) if self.head is None else self.head(z)


def load(profile: Profile | str, model: str = "none") -> World:
    """The world model of a profile. AwmError if V, M or the rollouts are missing.

    For the spatial M with its head, if that has been trained (`awm.map_head`).
    """
    profile = get_profile(profile)
    v, m = vae.load(profile), mdn_rnn.load(profile, model)
    head = None
    if m.needs_map and map_head.path_of(profile).exists():
        head = map_head.load(profile)
    episodes = dataset.open_rollouts(profile).indices("train")
    latents = dataset.encode_latents(profile, v)
    return World(v, m, torch.from_numpy(latents.mu[episodes, 0]), head)


class Dream:
    """Many dreams in one batch, all of them begun with `begin`.

    All that is random in a dream, its first frame included, comes from the lane's seed: dreams of
    the same seed and actions are the same.

    `z` `[lanes, z]` and `state` are what C sees: `inputs` is [z, h].

    Args:
        temperature: of the samples of z'; above 1 the dream is less certain than M is.
    """

    def __init__(self, world: World, lanes: int, temperature: float = 1.0):
        if not temperature > 0:
            raise AwmError(f"A temperature must be positive, not {temperature}.")
        self.world, self.temperature = world, temperature
        size = world.v.z_size
        self.z = torch.zeros(lanes, size)
        self.state = world.m.initial_state(lanes)
        self._lanes = torch.arange(lanes)
        self._t = torch.zeros(lanes, dtype=torch.long)
        self._generators: list[torch.Generator | None] = [None] * lanes
        self._choice = torch.zeros(lanes, _BLOCK, size + 1)
        self._noise = torch.zeros(lanes, _BLOCK, size)

    @property
    def inputs(self) -> Tensor:
        """[z, h] `[lanes, inputs]`."""
        return torch.cat([self.z, self.state.h], dim=1)

    @torch.inference_mode()
    def begin(self, lane: int, seed: int) -> None:
        """A new dream in a lane, from the real first frame that the seed draws."""
        generator = torch.Generator().manual_seed(seed)
        first = torch.randint(len(self.world.starts), (1,), generator=generator)
        self._generators[lane] = generator
        self.z[lane] = self.world.starts[first[0]]
        self._t[lane] = 0
        for part in (self.state.h, self.state.c):
            part[lane] = 0
        if self.state.memory is not None:
            self.state.memory.present[lane] = False

    @torch.inference_mode()
    def step(self, action: Tensor) -> tuple[Tensor, Tensor]:
        """Actions `[lanes, 3]` → rewards `[lanes]` and whether an episode ends, bool `[lanes]`."""
        at = self._t % _BLOCK
        for lane in torch.nonzero(at == 0).flatten().tolist():
            generator = self._generators[lane]
            if generator is not None:
                self._choice[lane].uniform_(generator=generator)
                self._noise[lane].normal_(generator=generator)
        choice, noise = self._choice[self._lanes, at], self._noise[self._lanes, at]
        seen = self.world.look(self.z)
        self.state, _ = self.world.m.step(self.z, action, self.state, seen)
        expected = self.world.m.predict(self.state.h)
        self.z = expected.pick(choice[:, 1:], noise, self.temperature)
        self._t += 1
        return expected.reward, choice[:, 0] < torch.sigmoid(expected.done_logit)

    @torch.inference_mode()
    def frames(self) -> np.ndarray:
        """What is dreamt now, decoded: uint8 `[lanes, 64, 64, 3]`."""
        return vae.to_frames(self.world.v.decode(self.z))


@lru_cache(maxsize=4)
def _world(profile: Profile, model: str, _root: str, _stamp: tuple) -> World:
    return load(profile, model)


def drive_jobs(
    profile: Profile, model: str, layers: np.ndarray, jobs: Sequence[Job], **options
) -> list[Outcome]:
    """Dream every job in this process, as `awm.rollout.drive_jobs` drives them.

    A job's seed draws its first frame and all of its noise; its `patience` means nothing here.

    Args:
        layers: C's weights `[candidates, 3, inputs + 1]`, float32.
        options: as for `dream_jobs`.
    """
    paths = (mdn_rnn.path_of(profile, model), map_head.path_of(profile))
    stamp = tuple(path.stat().st_mtime_ns for path in paths if path.exists())
    world = _world(profile, model, os.environ.get("AWM_ROOT", ""), stamp)
    return dream_jobs(world, layers, jobs, **options)


@torch.inference_mode()
def dream_jobs(
    world: World,
    layers: np.ndarray,
    jobs: Sequence[Job],
    temperature: float = 1.0,
    steps: int = MAX_EPISODE_STEPS,
) -> list[Outcome]:
    """`drive_jobs` in a given world, with one thread; an episode has at most so many `steps`."""
    dream = Dream(world, LANES, temperature)
    outcomes = []
    with one_thread():
        for begin in range(0, len(jobs), LANES):
            part = jobs[begin : begin + LANES]
            for lane, job in enumerate(part):
                dream.begin(lane, job.seed)
            rows = [job.candidate for job in part] + [0] * (LANES - len(part))
            layer = torch.from_numpy(layers[rows])
            total, length = torch.zeros(LANES, dtype=torch.double), torch.zeros(LANES)
            awake = torch.ones(LANES, dtype=torch.bool)
            awake[len(part) :] = False
            for _ in range(steps):
                reward, done = dream.step(controller.act(layer, dream.inputs))
                total += reward * awake
                length += awake
                awake &= ~done
                if not awake.any():
                    break
            outcomes += [
                Outcome(job.candidate, job.seed, float(total[i]), int(length[i]), 0.0, False)
                for i, job in enumerate(part)
            ]
    return outcomes


@torch.inference_mode()
def imagine(
    m: MDNRNN,
    z: Tensor,
    actions: Tensor,
    temperature: float = 1.0,
    warm_up: int = 0,
    seed: int = 0,
    head: MapHead | None = None,
    maps: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Dream a sequence: after `warm_up` real steps M is fed its own samples.

    Args:
        m: any M; the spatially attentive needs a `head` to look through.
        z: real latents `[time, z]`, of which the first `warm_up + 1` are used.
        actions: `[time, 3]`, the actions of the whole sequence.
        temperature: of the samples (Ha & Schmidhuber 2018, section 4).
        maps: for the spatially attentive M, real maps `[warm_up + 1, 36, 128]` of the frames
            before it is left alone; without them it looks through the head there, too.

    Returns:
        z `[time, z]`, real up to `warm_up` and dreamt after it, and the rewards that M expects
        `[time]`.
    """
    if m.needs_map and head is None:
        raise AwmError(
            "A spatially attentive M looks at frames: give it a head, or choose another M."
        )
    generator = torch.Generator().manual_seed(seed)
    state, now = m.initial_state(1), z[:1]
    latents, rewards = [], []
    for t in range(len(actions)):
        latents.append(now)
        real = maps is not None and t <= warm_up
        seen = (maps[t : t + 1] if real else head(now)) if m.needs_map else None
        state, _ = m.step(now, actions[t : t + 1], state, seen)
        expected = m.predict(state.h)
        rewards.append(expected.reward)
        dreaming = t >= warm_up
        now = expected.sample(temperature, generator) if dreaming else z[t + 1 : t + 2]
    return torch.cat(latents), torch.cat(rewards)


@torch.inference_mode()
def error_by_horizon(
    v: VAE,
    ms: dict[str, MDNRNN],
    rollouts: dataset.Rollouts,
    latents: dataset.Latents,
    informative: list[int],
    horizon: int = 100,
    warm_up: int = 10,
    temperature: float = 0.1,
    head: MapHead | None = None,
) -> list[dict]:
    """How far dreams are from what happened, against the steps since M was left alone.

    One entry a step (`step`), averages over test episodes, real actions. For every M by name and
    for `still`, the guess that nothing moves any more and rewards are as in the last steps seen:

    - `z_NAME`: squared error of z summed over the `informative` latents
    - `frame_NAME`: squared error of the decoded frame, summed over its channels in [0, 1]
    - `return_NAME`: the absolute error of the rewards' sum since M was left alone
    """
    found: dict[str, list] = {}
    actions, rewards = rollouts.column("actions"), rollouts.column("rewards")
    for i in rollouts.indices("test"):
        length = min(int(rollouts.lengths[i]), warm_up + horizon + 1)
        z, earned = torch.from_numpy(latents.mu[i, :length]), rewards[i][:length]
        pixels = vae.to_input(rollouts.episode(int(i)).frames[warm_up + 1 : length])
        done = torch.from_numpy(actions[i][:length])
        maps = None
        if any(m.needs_map for m in ms.values()):
            maps = torch.from_numpy(latents.maps[i, : warm_up + 1]).float()
        guesses = {
            name: imagine(m, z, done, temperature, warm_up, head=head, maps=maps)
            for name, m in ms.items()
        }
        usual = torch.full((length,), float(earned[:warm_up].mean()))
        guesses["still"] = z[warm_up].expand(length, -1), usual
        for name, (guess, expected) in guesses.items():
            ahead = guess[warm_up + 1 :]
            missed = expected.numpy()[warm_up : length - 1] - earned[warm_up : length - 1]
            errors = {
                "z": (ahead - z[warm_up + 1 :])[:, informative].square().sum(-1).numpy(),
                "frame": vae.squared_error(v.decode(ahead), pixels).numpy(),
                "return": np.abs(np.cumsum(missed)),
            }
            for kind, values in errors.items():
                padded = np.pad(values, (0, horizon - len(values)), constant_values=np.nan)
                found.setdefault(f"{kind}_{name}", []).append(padded)
    means = {key: np.nanmean(values, axis=0) for key, values in found.items()}
    return [
        {"step": step + 1, **{key: float(mean[step]) for key, mean in means.items()}}
        for step in range(horizon)
    ]


def horizon(profile: Profile | str, kinds=ATTENTIONS, steps: int = 100) -> list[dict]:
    """`error_by_horizon` of a profile's Ms, kept as `dream-horizon.json` until they change."""
    profile = get_profile(profile)
    path = config.artefact(profile, "dream-horizon.json")
    v, ms = vae.load(profile), {kind: mdn_rnn.load(profile, kind) for kind in kinds}
    head = map_head.load(profile) if any(m.needs_map for m in ms.values()) else None
    sources = {"steps": steps, **{kind: m.manifest["hash"] for kind, m in ms.items()}}
    sources["map_head"] = head and head.manifest["hash"]
    if path.exists():
        before = provenance.read_json(path)
        if before["sources"] == sources:
            return before["errors"]
    started = time.perf_counter()
    rollouts, latents = dataset.open_rollouts(profile), dataset.encode_latents(profile, v)
    informative = baselines.informative_latents(v)
    steps = min(steps, profile.steps - 12)
    errors = error_by_horizon(v, ms, rollouts, latents, informative, steps, head=head)
    seconds = round(time.perf_counter() - started, 1)
    result = provenance.record(profile, sources=sources, wall_time_s=seconds, errors=errors)
    provenance.write_json(config.data_dir(profile) / path.name, result)
    return errors


@torch.inference_mode()
def replay(
    world: World, layer: np.ndarray, seed: int, temperature: float = 1.0, steps: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """One dream of a controller, to look at: frames uint8 `[T, 64, 64, 3]` and rewards `[T]`.

    Args:
        layer: C's weights `[3, inputs + 1]`.
        seed: of the dream: its first frame and all of its noise.
    """
    dream = Dream(world, 1, temperature)
    dream.begin(0, seed)
    weights = torch.from_numpy(layer)[None]
    frames, rewards = [], []
    for _ in range(steps):
        frames.append(dream.frames()[0])
        reward, done = dream.step(controller.act(weights, dream.inputs))
        rewards.append(float(reward))
        if done:
            break
    return np.stack(frames), np.array(rewards)
