"""What M's likelihood is worth: simple predictors of the next z on the same held-out sequences."""

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from awm import config, controller, dataset, mdn_rnn, provenance, statistics, vae
from awm.config import Profile, get_profile
from awm.mdn_rnn import SequenceData
from awm.names import evolved
from awm.statistics import Estimate

_TRAINING_BATCHES = 24


def path_of(profile: Profile) -> Path:
    """Where a profile's baselines lie."""
    return config.artefact(profile, "mdn_rnn-baselines.json")


def compare(profile: Profile | str) -> dict:
    """Baselines and trained Ms on the test episodes; returns at once if nothing has changed.

    Per predictor: `nll` (nats a step, all latents), `nll_informative` (the latents that carry
    information; the others are noise that nobody can predict), `reward_r2`, and `validation_nll`,
    which is what learning curves compare with. The predictors:

    - `same_z`: tomorrow is as today, give or take a deviation fitted for each latent
    - `linear_gaussian`: least squares from [z, a], with the residual's deviation
    - `untrained_lstm`: an LSTM of random weights whose head alone was trained
    - `lstm`: the trained, plain M

    Of the two LSTMs also what C hears of them: `units`, `faint_units`, those whose deviation lies
    below `controller.SMALLEST_DEVIATION`, and the median unit's `deviation`.
    """
    profile = get_profile(profile)
    rollouts, v = dataset.open_rollouts(profile), vae.load(profile)
    ms = {"untrained_lstm": mdn_rnn.load(profile, "untrained"), "lstm": mdn_rnn.load(profile)}
    sources = {"rollouts": rollouts.hash, "vae": v.manifest["hash"]}
    sources |= {name: m.manifest["hash"] for name, m in ms.items()}
    sources["smallest_deviation"] = controller.SMALLEST_DEVIATION
    if path_of(profile).exists():
        before = provenance.read_json(path_of(profile))
        if before["sources"] == sources:
            return before
    data = SequenceData(profile, rollouts, dataset.encode_latents(profile, v))
    informative = informative_latents(v)
    z, inputs, reward, after = _join(
        data.training_batch(profile.mdn_batch, False, profile.seed, n)
        for n in range(_TRAINING_BATCHES)
    )
    layer = torch.linalg.lstsq(inputs, torch.cat([after, reward[:, None]], 1)).solution
    still = (after - z).std(0)
    residual = (after - (inputs @ layer)[:, :-1]).std(0)
    found: dict[str, dict] = {"same_z": {}, "linear_gaussian": {}}
    for split, prefix in (("test", ""), ("validation", "validation_")):
        z, inputs, true_reward, after = _join(data.held_out(split, False))
        linear = inputs @ layer
        scores = {
            "same_z": _score(still, z, after, reward.mean(), true_reward, informative),
            "linear_gaussian": _score(
                residual, linear[:, :-1], after, linear[:, -1], true_reward, informative
            ),
        }
        for name, score in scores.items():
            found[name] |= {prefix + key: value for key, value in score.items()}
    for name, m in ms.items():
        test, history = m.manifest["test"], m.manifest["history"]
        found[name] = {key: test[key] for key in ("nll", "nll_informative", "reward_r2")}
        found[name]["validation_nll"] = min(
            e["validation_nll"] for e in history if "validation_nll" in e
        )
        _, deviation = controller.input_spread(profile, m.manifest["model"])
        loudness = deviation[profile.z_size :]
        found[name] |= {
            "units": len(loudness),
            "faint_units": int((loudness < controller.SMALLEST_DEVIATION).sum()),
            "deviation": float(np.median(loudness)),
        }
    result = provenance.record(profile, sources=sources, informative=informative, **found)
    provenance.write_json(config.data_dir(profile) / path_of(profile).name, result)
    return result


def informative_latents(v: vae.VAE) -> list[int]:
    """The latents of V whose average KL exceeds `vae.INFORMATIVE_NATS`."""
    kl = np.array(v.manifest["kl_per_latent"])
    return np.flatnonzero(kl > vae.INFORMATIVE_NATS).tolist()


def _join(batches) -> tuple[Tensor, ...]:
    """The columns of `_steps` over several batches."""
    return tuple(torch.cat(column) for column in zip(*map(_steps, batches), strict=True))


def _steps(batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """z, [z, a, 1], reward and z' of every real step of a batch, one row a step."""
    present = batch.mask > 0
    z, after = batch.z[:, :-1][present], batch.z[:, 1:][present]
    inputs = torch.cat([z, batch.action[present], torch.ones(len(z), 1)], dim=1)
    return z, inputs, batch.reward[present], after


def compare_attentions(profile: Profile | str, kinds=None) -> dict:
    """M's likelihood on test episodes, of every kind and training; returns at once if unchanged.

    `nll` has for each of the `kinds` (default: the profile's `predictors`) one value a training:
    nats a step, averaged over the test `episodes`, z drawn alike for all. `gains` compares them.
    """
    profile = get_profile(profile)
    kinds = kinds or profile.predictors
    path = config.artefact(profile, "mdn_rnn-attentions.json")
    seeds = range(profile.mdn_seeds)
    ms = {(kind, seed): mdn_rnn.load(profile, kind, seed) for kind in kinds for seed in seeds}
    sources = {"seeds": len(seeds)} | {evolved(*key): m.manifest["hash"] for key, m in ms.items()}
    if path.exists():
        before = provenance.read_json(path)
        if before["sources"] == sources and "nll" in before:
            return before
    started = time.perf_counter()
    rollouts, v = dataset.open_rollouts(profile), vae.load(profile)
    data = SequenceData(profile, rollouts, dataset.encode_latents(profile, v))
    nll: dict[str, list[float]] = {kind: [] for kind in kinds}
    for (kind, _), m in ms.items():
        nll[kind].append(_nll(m, data))
    result = provenance.record(
        profile,
        sources=sources,
        episodes=len(rollouts.indices("test")),
        nll=nll,
        wall_time_s=round(time.perf_counter() - started, 1),
    )
    provenance.write_json(config.data_dir(profile) / path.name, result)
    return result


def control_of(nll: dict[str, list[float]]) -> str:
    """What attention is compared with: the M of equal size if there is one, or else plain M."""
    return "wide" if "wide" in nll else "none"


def gains(nll: dict[str, list[float]]) -> dict[str, Estimate]:
    """What attention adds to M's likelihood beyond its control, in nats a step: less is better.

    By attention, with Dunnett's simultaneous intervals over trainings (`compare_attentions`); none
    where there is but one training.
    """
    arms = {kind: each for kind, each in nll.items() if kind not in ("none", "wide")}
    control = nll[control_of(nll)]
    return statistics.against_control(arms, control) if arms and len(control) > 1 else {}


def compare_rewards(profile: Profile | str, kinds=config.ATTENTIONS) -> dict:
    """`mdn_rnn.reward_quality` of every kind of M; returns at once if unchanged."""
    profile = get_profile(profile)
    path = config.artefact(profile, "mdn_rnn-rewards.json")
    ms = {kind: mdn_rnn.load(profile, kind) for kind in kinds}
    sources = {kind: m.manifest["hash"] for kind, m in ms.items()}
    if not path.exists() or provenance.read_json(path)["sources"] != sources:
        started = time.perf_counter()
        rollouts = dataset.open_rollouts(profile)
        latents = dataset.encode_latents(profile, vae.load(profile))
        found = {kind: mdn_rnn.reward_quality(m, rollouts, latents) for kind, m in ms.items()}
        seconds = round(time.perf_counter() - started, 1)
        record = provenance.record(profile, sources=sources, wall_time_s=seconds, **found)
        path = config.data_dir(profile) / path.name
        provenance.write_json(path, record)
    record = provenance.read_json(path)
    return {kind: record[kind] for kind in kinds}


@torch.inference_mode()
def _nll(m: mdn_rnn.MDNRNN, data: SequenceData) -> float:
    """Nats a step, the average over test episodes; z is drawn alike for every M."""
    found = []
    for episode in data.rollouts.indices("test"):
        length = int(data.rollouts.lengths[episode])
        windows = [(episode, start) for start in range(0, length, data.length)]
        batch = data.cut(windows, m.needs_map, np.random.default_rng(int(episode)))
        sums = mdn_rnn.losses(m, batch)
        found.append(float(sums["nll"].sum() / sums["steps"]))
    return float(np.mean(found))


def _score(deviation, expected, z, expected_reward, reward, informative: list[int]) -> dict:
    standard = (z - expected) / deviation
    nll = (0.5 * standard.square() + deviation.log() + 0.5 * math.log(2 * math.pi)).mean(0)
    error = (expected_reward - reward).square().mean()
    return {
        "nll": float(nll.sum()),
        "nll_informative": float(nll[informative].sum()),
        "reward_r2": float(1 - error / reward.var(unbiased=False)),
    }
