"""What M's likelihood is worth: beside simple predictors, with each attention, and for rewards."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from awm import stages
from awm.data.latents import Latents
from awm.data.rollouts import Episode, Rollouts, open_rollouts
from awm.errors import AwmError
from awm.evolution.inputs import input_spread
from awm.ids import Memory
from awm.models.feature_map import through_frames
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import VAE
from awm.store import Stage, Workspace
from awm.study import statistics
from awm.study.statistics import Estimate
from awm.training import feature_map, mdn_rnn, vae
from awm.training.sequences import END_SPAN, EXPECTED, SequenceData, Sequences, losses

_TRAINING_BATCHES = 24
#: What `awm.training.sequences.found_ends` counts.
_COUNTED = ("true", "expected", "found")


def baselines(ws: Workspace) -> dict:
    """Simple predictors and trained Ms on the test episodes, recorded in `study/baselines.json`.

    Per predictor: `nll` (nats per step, all latents), `nll_informative` (the latents that carry
    information; the others are noise that nobody can predict), `reward_r2`, and `validation_nll`,
    which is what learning curves compare with. The predictors:

    - `persistence`: tomorrow is as today, give or take a deviation fitted for each latent
    - `linear_gaussian`: least squares from [z, a], with the residual's deviation
    - `untrained`: an LSTM of random weights whose head alone was trained
    - `plain`: the trained, plain M

    Of the two Ms also what C hears of them: `units`, `faint_units`, those whose deviation lies
    below the smallest by which C's inputs are divided, and the median unit's `deviation`.
    """
    memories = {kind: Memory(kind) for kind in ("untrained", "plain")}
    smallest = ws.profile.evolution.smallest_deviation
    stage = stages.finding(
        ws.profile,
        "baselines",
        {"batches": _TRAINING_BATCHES, "smallest_deviation": smallest},
        **{kind: stages.mdn_rnn(ws.profile, memory) for kind, memory in memories.items()},
    )

    def compute() -> dict:
        informative = vae.load(ws).informative
        found: dict = {"informative": informative, **_simple(ws, informative)}
        for kind, memory in memories.items():
            manifest = mdn_rnn.load(ws, memory).manifest
            _, deviation = input_spread(ws, memory)
            loudness = deviation[ws.profile.vae.z_size :]
            found[kind] = {
                **{key: manifest["test"][key] for key in ("nll", "nll_informative", "reward_r2")},
                "validation_nll": min(
                    e["validation_nll"] for e in manifest["history"] if "validation_nll" in e
                ),
                "units": len(loudness),
                "faint_units": int((loudness < smallest).sum()),
                "deviation": float(np.median(loudness)),
            }
        return found

    return ws.record(stage, compute)


def _simple(ws: Workspace, informative: list[int]) -> dict[str, dict]:
    """The predictors that need no training, by name."""
    data, batch = mdn_rnn.sequences(ws), ws.profile.mdn_rnn.batch
    z, inputs, reward, after = _join(
        data.training_batch(batch, False, ws.profile.seed, n) for n in range(_TRAINING_BATCHES)
    )
    layer = torch.linalg.lstsq(inputs, torch.cat([after, reward[:, None]], 1)).solution
    drift = (after - z).std(0)
    residual = (after - (inputs @ layer)[:, :-1]).std(0)
    found: dict[str, dict] = {"persistence": {}, "linear_gaussian": {}}
    for split, prefix in (("test", ""), ("validation", "validation_")):
        z, inputs, earned, after = _join(data.held_out(split, False))
        linear = inputs @ layer
        scores = {
            "persistence": (drift, z, reward.mean()),
            "linear_gaussian": (residual, linear[:, :-1], linear[:, -1]),
        }
        for name, (deviation, expected, expected_reward) in scores.items():
            standard = (after - expected) / deviation
            nll = (0.5 * standard.square() + deviation.log() + 0.5 * math.log(2 * math.pi)).mean(0)
            error = (expected_reward - earned).square().mean()
            found[name] |= {
                f"{prefix}nll": float(nll.sum()),
                f"{prefix}nll_informative": float(nll[informative].sum()),
                f"{prefix}reward_r2": float(1 - error / earned.var(unbiased=False)),
            }
    return found


def _join(batches) -> tuple[Tensor, ...]:
    """z, [z, a, 1], reward and z' of every real step of some batches, one row a step."""
    columns = []
    for batch in batches:
        present = batch.mask > 0
        z, after = batch.z[:, :-1][present], batch.z[:, 1:][present]
        inputs = torch.cat([z, batch.action[present], torch.ones(len(z), 1)], dim=1)
        columns.append((z, inputs, batch.reward[present], after))
    return tuple(torch.cat(column) for column in zip(*columns, strict=True))


def attentions(ws: Workspace) -> dict:
    """M's likelihood on test episodes, recorded in `study/attentions.json`.

    `nll` has for each kind that the profile compares one value a training: nats per step on the
    test `episodes`, z drawn alike for all, as the manifests of the trainings tell it, so that their
    weights need not be there. `gains` compares them.
    """
    stage, memories = _compared(ws, "attentions")

    def compute() -> dict:
        return {
            "episodes": len(open_rollouts(ws).indices("test")),
            "nll": {kind: [_tested(ws, m)["nll"] for m in each] for kind, each in memories.items()},
        }

    return ws.record(stage, compute)


def _compared(ws: Workspace, name: str) -> tuple[Stage, dict[str, list[Memory]]]:
    """A finding about all trainings of the Ms that a profile compares, and these by kind."""
    seeds = range(ws.profile.mdn_rnn.seeds)
    memories = {kind: [Memory(kind, seed) for seed in seeds] for kind in ws.profile.predictors}
    inputs = {str(m): stages.mdn_rnn(ws.profile, m) for each in memories.values() for m in each}
    return stages.finding(ws.profile, name, {}, **inputs), memories


def _tested(ws: Workspace, memory: Memory) -> dict:
    """What the manifest of a training tells of test episodes. AwmError if there is none."""
    stage = stages.mdn_rnn(ws.profile, memory)
    if (manifest := ws.told(stage)) is None:
        raise AwmError(f"There is no {stage.name} in {ws.own}. {stage.remedy}")
    return manifest["test"]


def ends(ws: Workspace) -> dict:
    """What Ms know of ends, on test episodes, recorded in `study/ends.json`.

    An end counts as foreseen in a span of `steps` in which M expects one with more than the
    probability `threshold`. `kinds` has for each kind that the profile compares `true`, the spans
    in which an episode ended; `found` of these and `false_alarms` beside them, one number a
    training; and over all trainings `precision` and `recall`, None of nothing. A kind is missing
    where a manifest does not tell.
    """
    stage, memories = _compared(ws, "ends")

    def compute() -> dict:
        told = {kind: [_tested(ws, m).get("ends") for m in each] for kind, each in memories.items()}
        kinds = {kind: _foreseen(each) for kind, each in told.items() if all(each)}
        return {"steps": END_SPAN, "threshold": EXPECTED, "kinds": kinds}

    return ws.record(stage, compute)


def _foreseen(counts: list[dict]) -> dict:
    true, expected, found = (sum(each[key] for each in counts) for key in _COUNTED)
    return {
        "true": counts[0]["true"],
        "found": [each["found"] for each in counts],
        "false_alarms": [each["expected"] - each["found"] for each in counts],
        "precision": found / expected if expected else None,
        "recall": found / true if true else None,
    }


def control_of(nll: dict[str, list[float]]) -> str:
    """What attention is compared with: the M of equal size if there is one, or else plain M."""
    return "wide" if "wide" in nll else "plain"


def gains(nll: dict[str, list[float]]) -> dict[str, Estimate]:
    """What attention adds to M's likelihood beyond its control, in nats per step: less is better.

    By attention, with Dunnett's simultaneous intervals over trainings (`attentions`); none where
    there is but one training.
    """
    arms = {kind: each for kind, each in nll.items() if kind not in ("plain", "wide")}
    control = nll[control_of(nll)]
    return statistics.against_control(arms, control) if arms and len(control) > 1 else {}


def rewards(ws: Workspace) -> dict:
    """`reward_quality` of every attention and of plain M, recorded in `study/rewards.json`."""
    kinds = [kind for kind in ws.profile.predictors if kind != "wide"]
    inputs = {kind: stages.mdn_rnn(ws.profile, Memory(kind)) for kind in kinds}

    def compute() -> dict:
        data = mdn_rnn.sequences(ws)
        return {kind: reward_quality(mdn_rnn.load(ws, Memory(kind)), data) for kind in kinds}

    return ws.record(stages.finding(ws.profile, "rewards", {}, **inputs), compute)


@torch.inference_mode()
def reward_quality(m: MDNRNN, data: SequenceData, windows: Sequence[int] = (1, 5, 20, 50)) -> dict:
    """How well M expects the reward along test episodes, shown the real codes.

    `r2` has the explained variance of sums over so many steps: a tile's border cannot be seen in
    z, so that the step at which it is reached is chance, and the pace is not. `tiles` are the
    steps that reached one; `found` is the share of them among as many steps of the highest
    expected reward (precision and recall at once), and `chance` what drawing steps would find.
    `ends` counts episodes that the simulator ended.
    """
    expected, earned = [], []
    for i in data.rollouts.indices("test").tolist():
        steps = slice(int(data.rollouts.lengths[i]))
        z = torch.from_numpy(data.latents.mu[i, steps])[None]
        maps = torch.from_numpy(data.latents.maps(i, steps)).float()[None] if m.needs_map else None
        hidden, _ = m(z, torch.from_numpy(data.actions[i])[None], maps)
        expected.append(m.predict(hidden).reward[0].numpy())
        earned.append(np.maximum(data.rewards[i], data.smallest_reward))
    r2 = {}
    for window in windows:
        guess, truth = (
            np.concatenate([_sums(episode, window) for episode in side])
            for side in (expected, earned)
        )
        r2[str(window)] = float(1 - np.square(truth - guess).mean() / max(truth.var(), 1e-9))
    guess, reached = np.concatenate(expected), np.concatenate(earned) > 0
    count = int(reached.sum())
    top = np.argsort(-guess, kind="stable")[:count]
    ends = sum(int(data.terminated[i].any()) for i in data.rollouts.indices("test"))
    return {
        "r2": r2,
        "tiles": count,
        "found": float(reached[top].mean()) if count else None,
        "chance": float(reached.mean()),
        "ends": ends,
    }


def _sums(values: np.ndarray, window: int) -> np.ndarray:
    """Sums over whole, adjacent windows."""
    whole = len(values) // window
    return values[: whole * window].reshape(whole, window).sum(axis=1)


@torch.inference_mode()
def feature_maps(ws: Workspace) -> dict:
    """What is lost by a guessed feature map, on test episodes: `study/feature_maps.json`.

    For the `real` maps, those of the `frames` that V draws from a sampled z, and those of the
    `head`: `r2`, the share of the maps' variance that they explain, and `nll`, nats per step of the
    spatially attentive M that looks at them.
    """
    memory = Memory("spatial")
    inputs = {
        "mdn_rnn": stages.mdn_rnn(ws.profile, memory),
        "feature_map": stages.feature_map(ws.profile),
    }

    def compute() -> dict:
        v, m, head = vae.load(ws), mdn_rnn.load(ws, memory), feature_map.load(ws)
        looks = {"frames": lambda z: through_frames(v, z), "head": head}
        data = mdn_rnn.sequences(ws)
        r2 = {"real": 1.0} | {
            name: _explained(look, data.rollouts, data.latents) for name, look in looks.items()
        }
        sums, steps = dict.fromkeys(("real", *looks), 0.0), 0.0
        for batch in data.held_out("test", True):
            seen = {"real": batch.maps} | {n: _maps(look, batch) for n, look in looks.items()}
            for name, maps in seen.items():
                sums[name] += float(losses(m, replace(batch, maps=maps))["nll"].sum())
            steps += float(batch.mask.sum())
        return {"r2": r2, "nll": {name: total / steps for name, total in sums.items()}}

    return ws.record(stages.finding(ws.profile, "feature_maps", {}, **inputs), compute)


def _maps(look, batch: Sequences) -> Tensor:
    parts = batch.z[:, :-1].flatten(0, 1).split(256)
    return torch.cat([look(part) for part in parts]).view_as(batch.maps)


def _explained(look, rollouts: Rollouts, latents: Latents) -> float:
    mu, sigma, maps = feature_map.codes_and_maps(rollouts, latents, "test", 8)
    z = mu + sigma * torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    parts = zip(z.split(256), maps.float().split(256), strict=True)
    missed = sum((look(a) - b).square().sum() for a, b in parts)
    return float(1 - missed / len(z) / maps.float().var(0).sum())


@torch.inference_mode()
def attention_weights(m: MDNRNN, v: VAE, episode: Episode) -> np.ndarray:
    """Where an attentive M looks at each step of an episode, `[time, items]`."""
    mu, _, maps = v.encode_frames(episode.frames[:-1])
    _, found = m(
        torch.from_numpy(mu)[None],
        torch.from_numpy(episode.actions)[None],
        torch.from_numpy(maps)[None] if m.needs_map else None,
    )
    if found is None:
        raise AwmError("This M has no attention. Train one with, or choose another.")
    return found[0].numpy()
