"""M on its own: from a first z, what it expects to happen under given actions."""

import numpy as np
import torch
from torch import Tensor

from awm import dataset
from awm.errors import AwmError
from awm.mdn_rnn import MDNRNN


@torch.inference_mode()
def imagine(
    m: MDNRNN,
    z: Tensor,
    actions: Tensor,
    temperature: float = 1.0,
    warm_up: int = 0,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Dream a sequence: after `warm_up` real steps M is fed its own samples.

    Args:
        m: any M but the spatially attentive, which would have to see frames.
        z: real latents `[time, z]`, of which the first `warm_up + 1` are used.
        actions: `[time, 3]`, the actions of the whole sequence.
        temperature: of the samples (Ha & Schmidhuber 2018, section 4).

    Returns:
        z `[time, z]`, real up to `warm_up` and dreamt after it, and the rewards that M expects
        `[time]`.
    """
    if m.needs_map:
        raise AwmError("A spatially attentive M looks at frames: dream with another M.")
    generator = torch.Generator().manual_seed(seed)
    state, now = m.initial_state(1), z[:1]
    latents, rewards = [], []
    for t in range(len(actions)):
        latents.append(now)
        state, _ = m.step(now, actions[t : t + 1], state)
        expected = m.predict(state.h)
        rewards.append(expected.reward)
        dreaming = t >= warm_up
        now = expected.sample(temperature, generator) if dreaming else z[t + 1 : t + 2]
    return torch.cat(latents), torch.cat(rewards)


@torch.inference_mode()
def error_by_horizon(
    m: MDNRNN,
    rollouts: dataset.Rollouts,
    latents: dataset.Latents,
    informative: list[int],
    horizon: int = 50,
    warm_up: int = 10,
    temperature: float = 0.1,
) -> list[dict]:
    """How far a dream is from what happened, against the steps since M was left alone.

    Squared errors of z summed over the `informative` latents, averaged over test episodes. One
    entry a step: `step`, `dream` (M with the real actions) and `still` (the last real z, kept).
    """
    actions = rollouts.column("actions")
    dreams, stills = [], []
    for i in rollouts.indices("test"):
        length = min(int(rollouts.lengths[i]), warm_up + horizon + 1)
        z = torch.from_numpy(latents.mu[i, :length])
        dreamt, _ = imagine(m, z, torch.from_numpy(actions[i][:length]), temperature, warm_up)
        for errors, guess in ((dreams, dreamt), (stills, z[warm_up])):
            squared = (guess - z).square()[warm_up + 1 :, informative].sum(-1)
            missing = (0, horizon - len(squared))
            errors.append(np.pad(squared.numpy(), missing, constant_values=np.nan))
    return [
        {"step": step + 1, "dream": float(dream), "still": float(still)}
        for step, (dream, still) in enumerate(
            zip(np.nanmean(dreams, axis=0), np.nanmean(stills, axis=0), strict=True)
        )
    ]
