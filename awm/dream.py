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

from awm import (
    baselines,
    config,
    controller,
    dataset,
    map_head,
    mdn_rnn,
    provenance,
    statistics,
    vae,
)
from awm.config import Profile, get_profile
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
    V draws of it, which is much slower. `mean` `[z]` is that of the codes of real frames, which a
    dream with `idle_at_mean` needs.
    """

    v: VAE
    m: MDNRNN
    starts: Tensor
    head: MapHead | None = None
    mean: Tensor | None = None

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
    rollouts = dataset.open_rollouts(profile)
    episodes, mu = rollouts.indices("train"), dataset.encode_latents(profile, v).mu
    mean = np.concatenate([mu[i, : rollouts.lengths[i] + 1] for i in episodes]).mean(axis=0)
    return World(v, m, torch.from_numpy(mu[episodes, 0]), head, torch.from_numpy(mean))


class Dream:
    """Many dreams in one batch, all of them begun with `begin`.

    All that is random in a dream, its first frame included, comes from the lane's seed: dreams of
    the same seed and actions are the same.

    `z` `[lanes, z]` and `state` are what C sees: `inputs` is [z, h].

    Args:
        temperature: of the samples of z'; above 1 the dream is less certain than M is.
        idle_at_mean: hold the latents that carry no information at the mean of real codes. On the
            road C and M see the posterior's mean, which of these latents hardly moves, where M's
            samples have a deviation of 1. C and M therefore both see them held.
    """

    def __init__(
        self, world: World, lanes: int, temperature: float = 1.0, idle_at_mean: bool = False
    ):
        if not temperature > 0:
            raise AwmError(f"A temperature must be positive, not {temperature}.")
        if idle_at_mean and world.mean is None:
            raise AwmError("This world does not know its codes' mean. Load it with `dream.load`.")
        self.world, self.temperature = world, temperature
        size = world.v.z_size
        self._idle = torch.zeros(size, dtype=torch.bool)
        if idle_at_mean:
            self._idle[:] = True
            self._idle[baselines.informative_latents(world.v)] = False
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
        self.z[lane] = self._held(self.world.starts[first[0]])
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
        self.z = self._held(expected.pick(choice[:, 1:], noise, self.temperature))
        self._t += 1
        return expected.reward, choice[:, 0] < torch.sigmoid(expected.done_logit)

    def _held(self, z: Tensor) -> Tensor:
        return torch.where(self._idle, self.world.mean, z) if self._idle.any() else z

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
    idle_at_mean: bool = False,
) -> list[Outcome]:
    """`drive_jobs` in a given world, with one thread; an episode has at most so many `steps`."""
    dream = Dream(world, LANES, temperature, idle_at_mean)
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
    """Dream a sequence, or several: after `warm_up` real steps M is fed its own samples.

    Args:
        m: any M; the spatially attentive needs a `head` to look through.
        z: real latents `[time, z]` or `[batch, time, z]`; the first `warm_up + 1` are used.
        actions: `[time, 3]` or `[batch, time, 3]`, the actions of the whole sequence.
        temperature: of the samples (Ha & Schmidhuber 2018, section 4).
        maps: for the spatially attentive M, real maps `[(batch,) warm_up + 1, 36, 128]` of the
            frames before it is left alone; without them it looks through the head there, too.

    Returns:
        z `[(batch,) time, z]`, real up to `warm_up` and dreamt after it, and the rewards that M
        expects `[(batch,) time]`.
    """
    if m.needs_map and head is None:
        raise AwmError(
            "A spatially attentive M looks at frames: give it a head, or choose another M."
        )
    if z.ndim == 2:
        one = imagine(
            m, z[None], actions[None], temperature, warm_up, seed, head,
            None if maps is None else maps[None],
        )  # fmt: skip
        return one[0][0], one[1][0]
    generator = torch.Generator().manual_seed(seed)
    state, now = m.initial_state(len(z)), z[:, 0]
    latents, rewards = [], []
    for t in range(actions.shape[1]):
        latents.append(now)
        real = maps is not None and t <= warm_up
        seen = (maps[:, t].float() if real else head(now)) if m.needs_map else None
        state, _ = m.step(now, actions[:, t], state, seen)
        expected = m.predict(state.h)
        rewards.append(expected.reward)
        now = expected.sample(temperature, generator) if t >= warm_up else z[:, t + 1]
    return torch.stack(latents, 1), torch.stack(rewards, 1)


@torch.inference_mode()
def error_by_horizon(
    v: VAE,
    ms: dict[str, list[MDNRNN]],
    rollouts: dataset.Rollouts,
    latents: dataset.Latents,
    informative: list[int],
    horizon: int = 100,
    warm_up: int = 60,
    begun: int = 4,
    temperature: float = 0.1,
    head: MapHead | None = None,
) -> dict:
    """How far dreams are from what happened, against the steps since M was left alone.

    A dream begins at `begun` random moments of every test episode, the same for every M, with the
    `warm_up` real steps before it; so none begins in the first 50 steps, in which CarRacing's
    camera zooms. The actions are the real ones. Errors are averages over these dreams:

    - `z`: squared error of z summed over the `informative` latents
    - `frame`: squared error of the decoded frame, summed over its channels in [0, 1]
    - `return`: the absolute error of the rewards' sum since M was left alone

    Args:
        ms: the trainings of every M by its name.

    Returns:
        `steps`: where errors are given; `dreams`: how many were averaged; `still`: the errors of
        the guess that nothing moves any more and that rewards are on average those of the warm-up;
        `models`: of every M its `trainings`, their `mean` and, if there are several, the `low`
        and `high` end of its 95 % interval over trainings (Student's, step by step).
    """
    rng, length = np.random.default_rng(0), warm_up + horizon + 1
    windows = [
        (int(i), int(rng.integers(rollouts.lengths[i] - length + 1)))
        for i in rollouts.indices("test")
        if rollouts.lengths[i] >= length
        for _ in range(begun)
    ]
    if not windows:
        raise AwmError(f"No test episode has {length} steps. Ask for a shorter dream.")
    steps = [step for step in (1, *range(5, horizon + 1, 5)) if step <= horizon]
    at = [warm_up + step for step in steps]
    actions, rewards = rollouts.column("actions"), rollouts.column("rewards")
    z = torch.stack([torch.from_numpy(latents.mu[i, t : t + length]) for i, t in windows])
    done = torch.stack([torch.from_numpy(actions[i][t : t + length]) for i, t in windows])
    earned = torch.stack([torch.from_numpy(rewards[i][t : t + length]) for i, t in windows])
    happened = {i: rollouts.episode(i).frames for i in dict.fromkeys(i for i, _ in windows)}
    frames = [vae.to_input(happened[i][[t + step for step in at]]) for i, t in windows]
    maps = None
    if any(m.needs_map for trainings in ms.values() for m in trainings):
        parts = [latents.maps[i, t : t + warm_up + 1] for i, t in windows]
        maps = torch.from_numpy(np.stack(parts))

    def errors(guess: Tensor, expected: Tensor) -> dict[str, list[float]]:
        ahead = guess[:, at]
        missed = (expected - earned)[:, warm_up:].cumsum(1).abs()
        pictures = zip(ahead, frames, strict=True)
        found = {
            "z": (ahead - z[:, at])[..., informative].square().sum(-1),
            "frame": torch.stack([vae.squared_error(v.decode(a), x) for a, x in pictures]),
            "return": missed[:, [step - 1 for step in steps]],
        }
        return {kind: _rounded(values.double().mean(0).tolist()) for kind, values in found.items()}

    usual = earned[:, :warm_up].mean(1, keepdim=True)
    still = errors(z[:, warm_up : warm_up + 1].expand_as(z), usual.expand_as(earned))
    models = {}
    for name, trainings in ms.items():
        curves = [
            errors(*imagine(m, z, done, temperature, warm_up, head=head, maps=maps))
            for m in trainings
        ]
        models[name] = {"trainings": curves, **_over_trainings(curves)}
    return {"steps": steps, "dreams": len(windows), "still": still, "models": models}


def _over_trainings(curves: list[dict[str, list[float]]]) -> dict[str, dict[str, list[float]]]:
    """Mean of curves and, of several, the ends of its interval: each like one of the curves."""
    ends: dict[str, dict[str, list[float]]] = {"mean": {}}
    for kind in curves[0]:
        values = np.array([curve[kind] for curve in curves])
        ends["mean"][kind] = _rounded(values.mean(axis=0))
        if len(curves) > 1:
            found = [statistics.mean_of_runs(column) for column in values.T]
            ends.setdefault("low", {})[kind] = _rounded([each.low for each in found])
            ends.setdefault("high", {})[kind] = _rounded([each.high for each in found])
    return ends


def _rounded(values: Sequence[float]) -> list[float]:
    """To four digits: the record is read by people, and is committed."""
    return [float(f"{value:.4g}") for value in values]


#: Where Ms are compared: after one second of driving.
_SECOND = 50


def _less_control(found: dict, control: str) -> dict[str, dict]:
    """How every M's error after a second differs from the control's, by name and kind of error.

    Each is `mean`, `low` and `high`: `statistics.against_control` over trainings. Empty without
    several trainings of the control and another.
    """
    trainings = {name: model["trainings"] for name, model in found["models"].items()}
    if len(trainings) < 2 or len(trainings.get(control, ())) < 2 or _SECOND not in found["steps"]:
        return {}
    at, less = found["steps"].index(_SECOND), {}
    for kind in found["still"]:
        values = {name: [curve[kind][at] for curve in each] for name, each in trainings.items()}
        apart = values.pop(control)
        for name, gap in statistics.against_control(values, apart).items():
            ends = _rounded((gap.value, gap.low, gap.high))
            less.setdefault(name, {})[kind] = dict(zip(("mean", "low", "high"), ends, strict=True))
    return less


def horizon(profile: Profile | str, kinds: Sequence[str] | None = None, steps: int = 100) -> dict:
    """`error_by_horizon` of all trainings of a profile's Ms, kept as `dream-horizon.json`.

    Args:
        kinds: the Ms, by default the profile's `predictors`.
        steps: the horizon; less if the profile's episodes are too short for it.

    Returns:
        The record, with `less` beside what `error_by_horizon` finds: how each M's errors after 50
        steps differ from those of the `control`, the M of equal size without attention if the
        profile trains it, or else plain M.
    """
    profile = get_profile(profile)
    kinds = kinds or profile.predictors
    control = "wide" if "wide" in kinds else "none"
    path = config.artefact(profile, "dream-horizon.json")
    warm_up = min(60, profile.steps // 4)
    how = {"horizon": min(steps, profile.steps - warm_up - 1), "warm_up": warm_up}
    how |= {"begun": 4, "temperature": 0.1}
    v = vae.load(profile)
    ms = {
        kind: [mdn_rnn.load(profile, kind, seed) for seed in range(profile.mdn_seeds)]
        for kind in kinds
    }
    needs_map = any(m.needs_map for trainings in ms.values() for m in trainings)
    head = map_head.load(profile) if needs_map else None
    sources = {**how, "map_head": head and head.manifest["hash"]}
    sources |= {kind: [m.manifest["hash"] for m in found] for kind, found in ms.items()}
    if path.exists():
        before = provenance.read_json(path)
        if before["sources"] == sources:
            return before
    started = time.perf_counter()
    rollouts, latents = dataset.open_rollouts(profile), dataset.encode_latents(profile, v)
    informative = baselines.informative_latents(v)
    found = error_by_horizon(v, ms, rollouts, latents, informative, **how, head=head)
    seconds = round(time.perf_counter() - started, 1)
    found |= {"control": control, "less": _less_control(found, control)}
    result = provenance.record(profile, sources=sources, wall_time_s=seconds, **found)
    provenance.write_json(config.data_dir(profile) / path.name, result)
    return result


@torch.inference_mode()
def replay(
    world: World,
    layer: np.ndarray,
    seed: int,
    temperature: float = 1.0,
    steps: int = MAX_EPISODE_STEPS,
    idle_at_mean: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """One dream of a controller, to look at: frames uint8 `[T, 64, 64, 3]` and rewards `[T]`.

    Args:
        layer: C's weights `[3, inputs + 1]`.
        seed: of the dream: its first frame and all of its noise.
    """
    dream = Dream(world, 1, temperature, idle_at_mean)
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
