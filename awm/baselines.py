"""What M's likelihood is worth: simple predictors of the next z on the same held-out sequences."""

import math
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from awm import config, dataset, mdn_rnn, provenance, vae
from awm.config import Profile, get_profile
from awm.intervals import student_reach
from awm.mdn_rnn import SequenceData
from awm.names import evolved

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
    """
    profile = get_profile(profile)
    rollouts, v = dataset.open_rollouts(profile), vae.load(profile)
    ms = {"untrained_lstm": mdn_rnn.load(profile, "untrained"), "lstm": mdn_rnn.load(profile)}
    sources = {"rollouts": rollouts.hash, "vae": v.manifest["hash"]}
    sources |= {name: m.manifest["hash"] for name, m in ms.items()}
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
    """What attention adds to M's likelihood on test episodes; returns at once if unchanged.

    Every kind against `none`, paired by training seed and by episode: `mean`, `low` and `high` of
    the difference in nats a step (negative is better), the number of `episodes` and `seeds`, and
    the difference of `each` seed. The 95 % interval is Student's. With several seeds it is over
    their differences, and speaks of what another training would give; with one it is over
    episodes, and speaks of these two Ms. `less_wide` holds the same of every attention against the
    control of equal size, if `kinds` (default: the profile's `predictors`) has it.
    """
    profile = get_profile(profile)
    kinds = kinds or profile.predictors
    path = config.artefact(profile, "mdn_rnn-attentions.json")
    seeds = range(profile.mdn_seeds)
    ms = {(kind, seed): mdn_rnn.load(profile, kind, seed) for kind in kinds for seed in seeds}
    sources = {"seeds": len(seeds)} | {evolved(*key): m.manifest["hash"] for key, m in ms.items()}
    if path.exists():
        before = provenance.read_json(path)
        if before["sources"] == sources:
            return before
    started = time.perf_counter()
    rollouts, v = dataset.open_rollouts(profile), vae.load(profile)
    data = SequenceData(profile, rollouts, dataset.encode_latents(profile, v))
    likelihoods = {key: _nll_by_episode(m, data) for key, m in ms.items()}
    by_seed = {kind: np.array([likelihoods[kind, seed] for seed in seeds]) for kind in kinds}
    gains = {kind: _gain(by_seed[kind] - by_seed["none"]) for kind in kinds if kind != "none"}
    if "wide" in kinds:
        gains["less_wide"] = {
            kind: _gain(by_seed[kind] - by_seed["wide"])
            for kind in kinds
            if kind not in ("none", "wide")
        }
    seconds = round(time.perf_counter() - started, 1)
    result = provenance.record(profile, sources=sources, wall_time_s=seconds, **gains)
    provenance.write_json(config.data_dir(profile) / path.name, result)
    return result


def _gain(gaps: np.ndarray) -> dict:
    """A difference `[seeds, episodes]` in nats a step as `compare_attentions` reports it."""
    each = gaps.mean(axis=1)
    sample = each if len(each) > 1 else gaps[0]
    mean = float(each.mean())
    reach = student_reach(sample.tolist()) if len(sample) > 1 else 0.0
    return {
        "mean": mean,
        "low": mean - reach,
        "high": mean + reach,
        "episodes": gaps.shape[1],
        "seeds": len(each),
        "each": each.tolist(),
    }


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
def _nll_by_episode(m: mdn_rnn.MDNRNN, data: SequenceData) -> np.ndarray:
    """Nats a step of every test episode; z is drawn alike for every M."""
    found = []
    for episode in data.rollouts.indices("test"):
        length = int(data.rollouts.lengths[episode])
        windows = [(episode, start) for start in range(0, length, data.length)]
        batch = data.cut(windows, m.needs_map, np.random.default_rng(int(episode)))
        sums = mdn_rnn.losses(m, batch)
        found.append(float(sums["nll"].sum() / sums["steps"]))
    return np.array(found)


def _score(deviation, expected, z, expected_reward, reward, informative: list[int]) -> dict:
    standard = (z - expected) / deviation
    nll = (0.5 * standard.square() + deviation.log() + 0.5 * math.log(2 * math.pi)).mean(0)
    error = (expected_reward - reward).square().mean()
    return {
        "nll": float(nll.sum()),
        "nll_informative": float(nll[informative].sum()),
        "reward_r2": float(1 - error / reward.var(unbiased=False)),
    }
