"""Training M: the likelihood of the next z, with the reward's and the end's errors."""

import os
from collections.abc import Sequence
from concurrent.futures import as_completed
from contextlib import redirect_stderr
from dataclasses import replace

import numpy as np
import torch
from tqdm.auto import tqdm

from awm import processes, stages
from awm.config import Profile
from awm.data.latents import encode_latents
from awm.data.rollouts import open_rollouts
from awm.ids import ATTENTIONS, LOOKS_AT, PLAIN, Memory
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import map_shape
from awm.store import Stage, Workspace
from awm.training import vae
from awm.training.loop import Recipe, finish, fit
from awm.training.sequences import SequenceData, Sequences, losses, validate


def build(profile: Profile, memory: Memory = PLAIN) -> MDNRNN:
    """M with fresh weights from the profile's seed and its own.

    An untrained and a wide M are plain. The wide one has the fewest hidden units with which it has
    no fewer parameters than any attentive M, to tell what attention is worth from what size is.
    """
    hidden_size = profile.mdn_rnn.hidden_size
    if memory.kind == "wide":
        largest = max(_parameters(profile, attention, hidden_size) for attention in ATTENTIONS)
        while _parameters(profile, "plain", hidden_size) < largest:
            hidden_size += 1
    torch.manual_seed(profile.seed + memory.seed)
    attention = memory.kind if memory.kind in LOOKS_AT else "plain"
    return _of_size(profile, attention, hidden_size)


def _of_size(profile: Profile, attention: str, hidden_size: int) -> MDNRNN:
    config = profile.mdn_rnn
    channels = map_shape(profile.vae.encoder)[1]
    return MDNRNN(
        attention, profile.vae.z_size, hidden_size, config.mixtures, config.memory, channels
    )


def _parameters(profile: Profile, attention: str, hidden_size: int) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in _of_size(profile, attention, hidden_size).parameters())


def load(ws: Workspace, memory: Memory = PLAIN) -> MDNRNN:
    """A trained M, ready to step. AwmError if there is none, or it does not fit."""
    m = build(ws.profile, memory)
    ws.load_into(m, stages.mdn_rnn(ws.profile, memory))
    return m


def sequences(ws: Workspace, memory: Memory = PLAIN) -> SequenceData:
    """The sequences that a memory is trained and judged on."""
    rollouts = open_rollouts(ws, memory)
    latents = encode_latents(ws, vae.load(ws), memory)
    return SequenceData(ws.profile.mdn_rnn, rollouts, latents)


def train(ws: Workspace, memory: Memory = PLAIN, device: str = "cpu") -> MDNRNN:
    """Train M on the latents; returns at once if trained, goes on if interrupted.

    Of an untrained M the head alone is trained: its LSTM keeps its random weights. In a round of
    iterative training M begins with the weights of the round before. The weights of the best
    validation likelihood are kept.

    Args:
        device: as for `awm.training.loop.device_of`.
    """
    stage = stages.mdn_rnn(ws.profile, memory)
    with ws.making(stage) as made:
        return load(ws, memory) if made else _train(ws, stage, memory, device)


def train_all(ws: Workspace, memories: Sequence[Memory], workers: int | None = None) -> None:
    """Train several Ms, each as `train` does, side by side.

    Those of which the manifest is committed without the weights are left as they are: the study's
    records of them stand in. (`train` trains one of them anew, as any other that is not there.)

    One training with two threads is hardly faster than with one: a step of the LSTM is too small to
    share. Two trainings at a time are twice as fast.

    Args:
        workers: processes of one thread each, by default one a core.
    """
    missing = [memory for memory in memories if not ws.told(stages.mdn_rnn(ws.profile, memory))]
    if not missing:
        return
    encode_latents(ws, vae.load(ws))  # once, with all cores
    size = min(workers or os.cpu_count() or 1, len(missing))
    with (
        processes.pool(size) as pool,
        tqdm(total=len(missing), unit="M", desc="Ms, side by side") as bar,
    ):
        for job in as_completed([pool.submit(_train_alone, ws, memory) for memory in missing]):
            job.result()
            bar.update()


def _train_alone(ws: Workspace, memory: Memory) -> None:
    torch.set_num_threads(1)
    # The bars of several trainings would write over each other.
    with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):
        train(ws, memory)


def _train(ws: Workspace, stage: Stage, memory: Memory, device: str) -> MDNRNN:
    config = ws.profile.mdn_rnn
    data = sequences(ws, memory)
    m = build(ws.profile, memory)
    if memory.round:
        before = load(ws, replace(memory, round=memory.round - 1))
        m.load_state_dict(before.state_dict())
    m.lstm.requires_grad_(memory.kind != "untrained")
    seed = ws.profile.seed + memory.seed

    def average(batch: Sequences) -> dict[str, torch.Tensor]:
        sums = losses(m, batch)
        terms = {
            "nll": sums["nll"].sum() / sums["steps"],
            "reward_error": sums["reward"] / sums["steps"],
            "done": sums["done"] / sums["steps"],
        }
        return {"loss": sum(terms.values()), **terms}

    def held_out() -> dict[str, float]:
        found = validate(m, data)
        return {key: found[key] for key in ("nll", "reward_r2", "done")}

    recipe = Recipe(
        stage.settings["updates"],
        config.learning_rate,
        batch=lambda update: data.training_batch(config.batch, m.needs_map, seed, update),
        losses=average,
        validate=held_out,
        score="nll",
        clip=config.gradient_norm,
        validate_every=40,
        checkpoint_every=200,
    )
    facts = fit(ws, stage, m, recipe, f"M {memory}", device)
    test = validate(m, data, "test")
    # V's unused latents are pure noise: their entropy is most of the likelihood, and tells nothing.
    used = vae.load(ws).informative
    test["nll_informative"] = float(np.array(test["nll_per_latent"])[used].sum())
    parameters = sum(p.numel() for p in m.parameters())
    finish(ws, stage, m, kind=memory.kind, parameters=parameters, test=test, **facts)
    return m
