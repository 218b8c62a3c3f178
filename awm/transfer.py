"""Does what a controller earns in a dream tell what it earns on the road?

On the road C and M see the mean of V's posterior, in which the latents that carry no information
hardly move. In a dream they see M's samples of them, whose deviation is that of the prior, and C,
whose inputs are divided by a small deviation there, steers by that noise. `measure` lets the same
controllers dream with these latents as M samples them (`free`), and held at their mean (`held`,
`awm.config.Search.idle_at_mean`).
"""

import math
import time
from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from awm import baselines, config, controller, dataset, dream, evaluation, mdn_rnn, provenance
from awm.config import Profile, get_profile
from awm.controller import Controller
from awm.dream import World
from awm.names import Name, dreamt, evolved, refined, seen, woken
from awm.rollout import Job, one_thread

#: Dreams of every controller, a batch.
_DREAMS = dream.LANES
_WAYS = {"free": False, "held": True}
#: Fewer controllers have no rank correlation worth the name.
_FEWEST = 4


def measure(profile: Profile | str, model: str = "none", workers: int | None = None) -> dict:
    """Dreamt and real returns of every controller that drives with M, kept as `dream-idle.json`.

    Dreams are those of M as the drivers' rollouts taught it (`first`) and as the last round of
    iterative training left it (`last`, if there were rounds), at the temperature of
    `Profile.dream`, and begin at the drivers' first frames. Returns at once if nothing has changed.

    Returns:
        A record with `dreams`, their number for each controller; `idle`, the number of latents
        that carry no information; `deviation`, theirs on average, of the posterior's mean on the
        `road` and of M's samples in the `dream`; `controllers`, for each its `real` return on test
        tracks and, of `first` and `last`, the dreamt return `free` and `held`; `refined`, the entry
        of the refined one or None; and `rank`, Spearman's correlation of dreamt with real returns
        over `all` controllers and over those that were evolved in a dream `alone`, by dream and
        way, None where there are fewer than four.
    """
    profile = get_profile(profile)
    path = config.artefact(profile, "dream-idle.json")
    last = replace(profile, round=profile.dream_rounds)
    ms = {"first": mdn_rnn.load(profile, model)}
    if last.round:
        ms["last"] = mdn_rnn.load(last, model)
    agents = {
        name: controller.load(replace(profile, round=Name.parse(name).round), name)
        for name in _controllers(profile, model)
    }
    temperature = profile.dream.temperature or 1.0
    sources = {"dreams": _DREAMS, "temperature": temperature}
    sources |= {name: each.manifest["hash"] for name, each in (ms | agents).items()}
    if path.exists():
        before = provenance.read_json(path)
        if before["sources"] == sources:
            return before
    started = time.perf_counter()
    world = dream.load(profile, model)
    worlds = {name: replace(world, m=m) for name, m in ms.items()}
    found = [
        {
            "controller": name,
            "real": evaluation.evaluate(profile, name, workers=workers)["mean"],
            **{which: {} for which in worlds},
        }
        for name in agents
    ]
    for which, each in worlds.items():
        for way, idle_at_mean in _WAYS.items():
            returns = _dreamt(each, list(agents.values()), temperature, idle_at_mean)
            for entry, value in zip(found, returns, strict=True):
                entry[which][way] = value
    alone = [entry for entry in found if _in_dreams_alone(entry["controller"])]
    result = provenance.record(
        profile,
        model=model,
        sources=sources,
        dreams=_DREAMS,
        **_idle_latents(profile, world, next(iter(agents.values())), temperature),
        controllers=found,
        refined=next((e for e in found if Name.parse(e["controller"]).refined), None),
        rank={"all": _ranks(found, worlds), "alone": _ranks(alone, worlds)},
        wall_time_s=round(time.perf_counter() - started, 1),
    )
    provenance.write_json(config.data_dir(profile) / path.name, result)
    return result


def _controllers(profile: Profile, model: str) -> list[str]:
    """All that were evolved on that one M or in its dreams: those of which weights are kept."""
    zero = [evolved(model, seed) for seed in range(profile.evolution_seeds)]
    zero = [name for n, name in enumerate(zero) if seen(profile, model, n) == model]
    seeds = range(profile.dream_seeds)
    names = zero if model in profile.evolved else []
    names += [refined(name) for name in profile.refined if name in zero]
    names += [dreamt(model, seed, round=n) for n in profile.rounds_dreamt for seed in seeds]
    return names + [woken(dreamt(model, seed, round=n)) for n in profile.woken for seed in seeds]


def _in_dreams_alone(name: str) -> bool:
    parts = Name.parse(name)
    return parts.dream and not parts.woken


def _dreamt(
    world: World, agents: list[Controller], temperature: float, idle_at_mean: bool
) -> list[float]:
    """The mean return of every agent over the same dreams."""
    seeds = config.track_seeds(config.TEST_SEEDS, _DREAMS)
    jobs = [Job(n, seed) for n in range(len(agents)) for seed in seeds]
    layers = np.stack([agent.weights for agent in agents])
    outcomes = dream.dream_jobs(world, layers, jobs, temperature, idle_at_mean=idle_at_mean)
    returns = np.array([each.episode_return for each in outcomes]).reshape(len(agents), -1)
    return [float(value) for value in returns.mean(axis=1)]


def _ranks(found: list[dict], worlds) -> dict | None:
    if len(found) < _FEWEST:
        return None
    real = [entry["real"] for entry in found]
    return {
        which: {
            way: _known(stats.spearmanr(real, [e[which][way] for e in found]).statistic)
            for way in _WAYS
        }
        for which in worlds
    }


def _known(value: float) -> float | None:
    """None for what returns that all tie cannot have: a rank correlation."""
    return None if math.isnan(value) else float(value)


@torch.inference_mode()
def _idle_latents(profile: Profile, world: World, agent: Controller, temperature: float) -> dict:
    """How many there are, and how far they move on the road and in a dream."""
    idle = np.setdiff1d(np.arange(world.v.z_size), baselines.informative_latents(world.v))
    rollouts = dataset.open_rollouts(profile)
    mu = dataset.encode_latents(profile, world.v).mu
    road = np.concatenate([mu[i, : rollouts.lengths[i] + 1] for i in rollouts.indices("train")])
    sleeping, codes = dream.Dream(world, dream.LANES, temperature), []
    for lane in range(dream.LANES):
        sleeping.begin(lane, config.TEST_SEEDS + lane)
    layer = torch.from_numpy(agent.weights).expand(dream.LANES, -1, -1)
    with one_thread():
        for _ in range(50):
            sleeping.step(controller.act(layer, sleeping.inputs))
            codes.append(sleeping.z.numpy())
    deviations = {"road": road, "dream": np.concatenate(codes)}
    return {
        "idle": len(idle),
        "deviation": {
            where: float(z[:, idle].std(axis=0).mean()) if len(idle) else None
            for where, z in deviations.items()
        },
    }
