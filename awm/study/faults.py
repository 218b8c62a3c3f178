"""The faults of the original (Dharna & Tynes 2019), each committed again where it can be measured.

Every function commits one of them beside what is right, on this profile's models and data.
"""

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from awm import config, stages
from awm.data.rollouts import held_out_frames, open_rollouts
from awm.evolution import search
from awm.ids import Agent, Memory
from awm.models.mdn_rnn import MDNRNN
from awm.models.vae import squared_error, to_input
from awm.processes import Workers
from awm.store import Workspace
from awm.training import mdn_rnn, vae
from awm.training.sequences import losses
from awm.worlds.crew import Track, crew
from awm.worlds.lanes import Job


def faults(ws: Workspace, agent: Agent, workers: Workers = None) -> dict:
    """All of them, some on that agent, recorded in `study/faults.json`."""
    spatial = Memory("spatial")
    stage = stages.finding(
        ws.profile,
        "faults",
        {"agent": str(agent)},
        agent=stages.agent(ws.profile, agent),
        spatial=stages.mdn_rnn(ws.profile, spatial),
    )

    def compute() -> dict:
        return {
            "sampling": sampling(ws),
            "softmax": softmax(ws, spatial),
            "validation": validation(ws),
            "memory": memory(ws, agent, workers),
            "ranking": ranking(ws, agent, workers),
        }

    return ws.record(stage, compute)


@torch.inference_mode()
def sampling(ws: Workspace) -> dict:
    """z = (mu + sigma) · eps for z = mu + sigma · eps, decoded: squared errors on test frames.

    Of each formula the summed squared `error` and the share of informative latents, further from
    zero than one prior deviation, whose `sign` the sample keeps.
    """
    v = vae.load(ws)
    frames = held_out_frames(open_rollouts(ws), "test", 512)
    mu, logvar, _ = map(torch.from_numpy, v.encode_frames(frames))
    sigma = torch.exp(0.5 * logvar)
    noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    clear = mu.abs() > 1
    clear[:, np.setdiff1d(np.arange(v.z_size), v.informative)] = False

    def judge(z: Tensor) -> dict:
        parts = zip(z.split(64), np.array_split(frames, range(64, len(frames), 64)), strict=True)
        errors = [squared_error(v.decode(code), to_input(x)) for code, x in parts]
        kept = (torch.sign(z) == torch.sign(mu))[clear].float()
        return {"error": float(torch.cat(errors).mean()), "sign": _known(kept.mean())}

    return {"right": judge(mu + sigma * noise), "wrong": judge((mu + sigma) * noise)}


@torch.inference_mode()
def softmax(ws: Workspace, spatial: Memory, batch: int = 32) -> dict:
    """Attention normalised over the batch: the weights of one example in two different batches.

    Of each axis the smallest and largest `sum` of an example's weights, and by how much, relative
    to the weights, they `change` when the rest of the batch is exchanged.
    """
    m, v = mdn_rnn.load(ws, spatial), vae.load(ws)
    frames = held_out_frames(open_rollouts(ws), "test", 2 * batch)
    maps = torch.from_numpy(v.encode_frames(frames)[2]).float()
    half = len(maps) // 2
    one, other = maps[:half], torch.cat([maps[:1], maps[half + 1 :]])

    def scores(part: Tensor) -> Tensor:
        items, query = m.attention.items(part), torch.zeros(len(part), m.hidden_size)
        hidden = torch.tanh(items.keys + m.attention.query(query)[:, None])
        return m.attention.score(hidden).squeeze(-1)

    def judge(axis: int) -> dict:
        weights, again = (torch.softmax(scores(part), dim=axis) for part in (one, other))
        sums = weights.sum(1)
        change = (weights[0] - again[0]).abs().sum() / weights[0].sum()
        return {"sum": [float(sums.min()), float(sums.max())], "change": float(change)}

    return {"right": judge(1), "wrong": judge(0)}


def validation(ws: Workspace, updates: int = 120, batch: int = 8) -> dict:
    """Validation that trains: a plain M from scratch, and after every update one on held-out data.

    Of each procedure the likelihood (nats per step) on the `validation` sequences, and on `test`
    sequences that neither was shown.
    """
    data = mdn_rnn.sequences(ws)
    held_out, test = (next(data.held_out(part, False, batch)) for part in ("validation", "test"))

    def nll(m: MDNRNN, sequences) -> Tensor:
        sums = losses(m, sequences)
        return sums["nll"].sum() / sums["steps"]

    def run(validation_trains: bool) -> dict:
        m = mdn_rnn.build(ws.profile)
        optimizer = torch.optim.Adam(m.parameters(), lr=ws.profile.mdn_rnn.learning_rate)
        for update in tqdm(range(updates), desc="M, validation", unit="update"):
            part = data.training_batch(batch, False, ws.profile.seed, update)
            for sequences in (part, held_out) if validation_trains else (part,):
                optimizer.zero_grad()
                nll(m, sequences).backward()
                optimizer.step()
        with torch.inference_mode():
            return {"validation": float(nll(m, held_out)), "test": float(nll(m, test))}

    return {"right": run(False), "wrong": run(True)}


def memory(ws: Workspace, agent: Agent, workers: Workers = None) -> dict:
    """A memory that is emptied before every step: mean returns on validation tracks."""
    how, layers = ws.profile.evolution.search, search.load(ws, agent).weights[None]
    tracks = config.track_seeds(config.VALIDATION_SEEDS, how.validation_tracks)
    jobs = [Job(0, track, how.patience) for track in tracks]
    means = {}
    with crew(workers) as hands:
        for key, forgetful in (("right", False), ("wrong", True)):
            outcomes = hands.drive(Track.of(ws, agent.memory, forgetful=forgetful), layers, jobs)
            means[key] = float(np.mean([o.episode_return for o in outcomes]))
    return {**means, "tracks": len(tracks)}


def ranking(ws: Workspace, agent: Agent, workers: Workers = None, candidates: int = 24) -> dict:
    """Evolution on one track: how well few tracks rank candidates as many others do.

    Candidates about the controller drive `tracks` validation tracks. `agreement` has Spearman's
    rank correlation between their average return on so many of the tracks and on all of the
    others, averaged over 200 draws of tracks.
    """
    how, found = ws.profile.evolution.search, search.load(ws, agent)
    rng = np.random.default_rng(ws.profile.seed)
    noise = rng.standard_normal((candidates, len(found.parameters)))
    layers = found.inputs.fold(found.parameters + how.sigma * noise)
    count = min(16, how.validation_tracks)
    tracks = config.track_seeds(config.VALIDATION_SEEDS, count)
    jobs = [Job(c, t, how.patience) for c in range(candidates) for t in tracks]
    with crew(workers) as hands:
        outcomes = hands.drive(Track.of(ws, agent.memory), layers, jobs)
    returns = np.array([o.episode_return for o in outcomes]).reshape(candidates, count)
    agreement = {}
    for few in (n for n in (1, 2, 4, 8) if n < count):
        correlations = []
        for _ in range(200):
            order = rng.permutation(count)
            chosen, others = returns[:, order[:few]].mean(1), returns[:, order[few:]].mean(1)
            correlations.append(stats.spearmanr(chosen, others).statistic)
        agreement[str(few)] = _known(np.mean(correlations))
    return {"tracks": count, "candidates": candidates, "agreement": agreement}


def _known(value) -> float | None:
    """None for what could not be measured: no clear latent, or candidates that all tie."""
    return None if math.isnan(value) else float(value)
