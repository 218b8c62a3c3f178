"""How far dreams are from what happened, against the steps since M was left alone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from awm import stages
from awm.errors import AwmError
from awm.ids import Memory
from awm.models.feature_map import FeatureMapHead
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import VAE, squared_error, to_input
from awm.store import Workspace
from awm.study import statistics
from awm.study.likelihood import control_of
from awm.training import feature_map, mdn_rnn, vae
from awm.training.sequences import SequenceData
from awm.worlds.dream import imagine

#: Where Ms are compared: after one second of driving.
_SECOND = 50


def dream_error(ws: Workspace, kinds: Sequence[str] = (), steps: int = 100) -> dict:
    """`error_by_horizon` of all trainings of a profile's Ms, recorded in `study/dream_error.json`.

    Args:
        kinds: the Ms, by default all that the profile compares.
        steps: the horizon; less if the profile's episodes are too short for it.

    The errors of each training have a record of their own (`training_errors`): not all weights have
    to be there at once.

    Returns:
        The record, with `less` beside what `error_by_horizon` finds: how each M's errors after 50
        steps differ from those of the `control`, the M of equal size without attention if the
        profile trains it, or else plain M.
    """
    kinds, how = tuple(kinds) or ws.profile.predictors, _how(ws, steps)
    memories = {k: [Memory(k, seed) for seed in range(ws.profile.mdn_rnn.seeds)] for k in kinds}
    inputs = {str(m): stages.mdn_rnn(ws.profile, m) for each in memories.values() for m in each}
    if any(Memory(kind).needs_map for kind in kinds):
        inputs["feature_map"] = stages.feature_map(ws.profile)

    def compute() -> dict:
        each = {k: [training_errors(ws, m, steps) for m in ms] for k, ms in memories.items()}
        curves = {kind: [found["errors"] for found in told] for kind, told in each.items()}
        first = each[kinds[0]][0]
        found = {key: first[key] for key in ("steps", "dreams", "persistence")}
        found["models"] = {k: {"trainings": c, **_over_trainings(c)} for k, c in curves.items()}
        control = control_of(curves)
        return {**found, "control": control, "less": _less_control(found, control)}

    return ws.record(stages.finding(ws.profile, "dream_error", how, **inputs), compute)


def training_errors(ws: Workspace, memory: Memory, steps: int = 100) -> dict:
    """`error_by_horizon` of one training, recorded in `study/dream_error/MEMORY.json`.

    Returns the record, with `steps`, `dreams`, `persistence` and the training's `errors`.
    """
    how, inputs = _how(ws, steps), {"mdn_rnn": stages.mdn_rnn(ws.profile, memory)}
    if memory.needs_map:
        inputs["feature_map"] = stages.feature_map(ws.profile)

    def compute() -> dict:
        head = feature_map.load(ws) if memory.needs_map else None
        ms = {memory.kind: [mdn_rnn.load(ws, memory)]}
        found = error_by_horizon(vae.load(ws), ms, mdn_rnn.sequences(ws), head=head, **how)
        (errors,) = found.pop("models")[memory.kind]["trainings"]
        return {**found, "errors": errors}

    return ws.record(stages.finding(ws.profile, f"dream_error/{memory}", how, **inputs), compute)


def _how(ws: Workspace, steps: int) -> dict:
    warm_up = min(60, ws.profile.data.steps // 4)
    horizon = min(steps, ws.profile.data.steps - warm_up - 1)
    return {"horizon": horizon, "warm_up": warm_up, "begun": 4, "temperature": 0.1}


@torch.inference_mode()
def error_by_horizon(
    v: VAE,
    ms: dict[str, list[MDNRNN]],
    data: SequenceData,
    horizon: int = 100,
    warm_up: int = 60,
    begun: int = 4,
    temperature: float = 0.1,
    head: FeatureMapHead | None = None,
) -> dict:
    """How far dreams are from what happened, against the steps since M was left alone.

    A dream begins at `begun` random moments of every test episode, the same for every M, with the
    `warm_up` real steps before it; so none begins in the first 50 steps, in which CarRacing's
    camera zooms. The actions are the real ones. Errors are averages over these dreams:

    - `z`: squared error of z summed over the informative latents
    - `frame`: squared error of the decoded frame, summed over its channels in [0, 1]
    - `return`: the absolute error of the rewards' sum since M was left alone

    Args:
        ms: the trainings of every M by its name.

    Returns:
        `steps`: where errors are given; `dreams`: how many were averaged; `persistence`: the errors
        of the guess that nothing moves any more and that rewards are on average those of the
        warm-up; `models`: of every M its `trainings`, their `mean` and, if there are several, the
        `low` and `high` end of its 95 % interval over trainings (Student's, step by step).

    Raises:
        AwmError: if no test episode is long enough.
    """
    rng, length = np.random.default_rng(0), warm_up + horizon + 1
    rollouts, latents = data.rollouts, data.latents
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
    z, actions, earned = (
        torch.stack([torch.from_numpy(column[i][t : t + length]) for i, t in windows])
        for column in (latents.mu, data.actions, data.rewards)
    )
    happened = {i: rollouts.read("frames", i) for i in dict.fromkeys(i for i, _ in windows)}
    frames = [to_input(happened[i][[t + step for step in at]]) for i, t in windows]
    maps = None
    if any(m.needs_map for trainings in ms.values() for m in trainings):
        parts = [latents.maps(i, slice(t, t + warm_up + 1)) for i, t in windows]
        maps = torch.from_numpy(np.stack(parts))

    def errors(guess: Tensor, expected: Tensor) -> dict[str, list[float]]:
        ahead = guess[:, at]
        missed = (expected - earned)[:, warm_up:].cumsum(1).abs()
        pictures = zip(ahead, frames, strict=True)
        found = {
            "z": (ahead - z[:, at])[..., v.informative].square().sum(-1),
            "frame": torch.stack([squared_error(v.decode(a), x) for a, x in pictures]),
            "return": missed[:, [step - 1 for step in steps]],
        }
        return {kind: _rounded(values.double().mean(0).tolist()) for kind, values in found.items()}

    usual = earned[:, :warm_up].mean(1, keepdim=True)
    persistence = errors(z[:, warm_up : warm_up + 1].expand_as(z), usual.expand_as(earned))
    models = {}
    for name, trainings in ms.items():
        curves = [
            errors(*imagine(m, z, actions, temperature, warm_up, head=head, maps=maps))
            for m in trainings
        ]
        models[name] = {"trainings": curves, **_over_trainings(curves)}
    return {"steps": steps, "dreams": len(windows), "persistence": persistence, "models": models}


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


def _less_control(found: dict, control: str) -> dict[str, dict]:
    """How every M's error after a second differs from the control's, by name and kind of error.

    Each is `mean`, `low` and `high`: `statistics.against_control` over trainings. Empty without
    several trainings of the control and another.
    """
    trainings = {name: model["trainings"] for name, model in found["models"].items()}
    if len(trainings) < 2 or len(trainings.get(control, ())) < 2 or _SECOND not in found["steps"]:
        return {}
    at, less = found["steps"].index(_SECOND), {}
    for kind in found["persistence"]:
        values = {name: [curve[kind][at] for curve in each] for name, each in trainings.items()}
        apart = values.pop(control)
        for name, gap in statistics.against_control(values, apart).items():
            ends = _rounded((gap.value, gap.low, gap.high))
            less.setdefault(name, {})[kind] = dict(zip(("mean", "low", "high"), ends, strict=True))
    return less


def _rounded(values: Sequence[float]) -> list[float]:
    """To four digits: the record is read by people, and is committed."""
    return [float(f"{value:.4g}") for value in values]
