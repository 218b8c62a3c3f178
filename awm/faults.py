"""The faults of the original (Dharna & Tynes 2019), each committed again where it can be measured.

Every function commits one of them beside what is right, on this profile's models and data.
`measure` runs them all and keeps the result as `faults.json`.
"""

import math
import time

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from tqdm.auto import tqdm

from awm import config, controller, dataset, mdn_rnn, provenance, rollout, vae
from awm.config import Profile, get_profile
from awm.rollout import Job


def measure(profile: Profile | str, name: str = "none", workers: int | None = None) -> dict:
    """All faults, for the controller of that name; returns at once if nothing has changed."""
    profile = get_profile(profile)
    path = config.artefact(profile, "faults.json")
    sources = {
        "vae": vae.load(profile).manifest["hash"],
        "controller": controller.load(profile, name).manifest["hash"],
        "spatial": mdn_rnn.load(profile, "spatial").manifest["hash"],
    }
    if path.exists():
        before = provenance.read_json(path)
        if before["sources"] == sources:
            return before
    started = time.perf_counter()
    found = {
        "sampling": sampling(profile),
        "softmax": softmax(profile),
        "validation": validation(profile),
        "memory": memory(profile, name, workers),
        "ranking": ranking(profile, name, workers),
    }
    seconds = round(time.perf_counter() - started, 1)
    result = provenance.record(profile, sources=sources, wall_time_s=seconds, **found)
    provenance.write_json(config.data_dir(profile) / path.name, result)
    return result


@torch.inference_mode()
def sampling(profile: Profile) -> dict:
    """z = (mu + sigma) · eps for z = mu + sigma · eps, decoded: squared errors on test frames.

    Of each formula the summed squared `error` and the share of informative latents, further from
    zero than one prior deviation, whose `sign` the sample keeps.
    """
    v = vae.load(profile)
    frames = vae.held_out_frames(dataset.open_rollouts(profile), "test", 512)
    mu, logvar, _ = map(torch.from_numpy, v.encode_frames(frames))
    sigma = torch.exp(0.5 * logvar)
    noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    used = torch.tensor(v.manifest["kl_per_latent"]) > vae.INFORMATIVE_NATS
    clear = used & (mu.abs() > 1)

    def judge(z: Tensor) -> dict:
        parts = zip(z.split(64), np.array_split(frames, range(64, len(frames), 64)), strict=True)
        errors = [vae.squared_error(v.decode(code), vae.to_input(x)) for code, x in parts]
        kept = (torch.sign(z) == torch.sign(mu))[clear].float()
        return {"error": float(torch.cat(errors).mean()), "sign": _known(kept.mean())}

    return {"right": judge(mu + sigma * noise), "wrong": judge((mu + sigma) * noise)}


@torch.inference_mode()
def softmax(profile: Profile, batch: int = 32) -> dict:
    """Attention normalised over the batch: the weights of one example in two different batches.

    Of each axis the smallest and largest `sum` of an example's weights, and by how much, relative
    to the weights, they `change` when the rest of the batch is exchanged.
    """
    m, v = mdn_rnn.load(profile, "spatial"), vae.load(profile)
    frames = vae.held_out_frames(dataset.open_rollouts(profile), "test", 2 * batch)
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


def validation(profile: Profile, updates: int = 120, batch: int = 8) -> dict:
    """Validation that trains: a plain M from scratch, and after every update one on held-out data.

    Of each procedure the likelihood (nats a step) on the `validation` sequences, and on `test`
    sequences that neither was shown.
    """
    rollouts = dataset.open_rollouts(profile)
    latents = dataset.encode_latents(profile, vae.load(profile))
    data = mdn_rnn.SequenceData(profile, rollouts, latents)
    held_out, test = (next(data.held_out(part, False, batch)) for part in ("validation", "test"))

    def nll(m: mdn_rnn.MDNRNN, sequences) -> Tensor:
        sums = mdn_rnn.losses(m, sequences)
        return sums["nll"].sum() / sums["steps"]

    def run(validation_trains: bool) -> dict:
        m = mdn_rnn.build(profile, "none")
        optimizer = torch.optim.Adam(m.parameters(), lr=profile.mdn_learning_rate)
        for update in tqdm(range(updates), desc="M, validation", unit="update"):
            part = data.training_batch(batch, False, profile.seed, update)
            for sequences in (part, held_out) if validation_trains else (part,):
                optimizer.zero_grad()
                nll(m, sequences).backward()
                optimizer.step()
        with torch.inference_mode():
            return {"validation": float(nll(m, held_out)), "test": float(nll(m, test))}

    return {"right": run(False), "wrong": run(True)}


def memory(profile: Profile, name: str, workers: int | None = None) -> dict:
    """A memory that is emptied before every step: mean returns on validation tracks."""
    agent = controller.load(profile, name)
    tracks = config.track_seeds(config.VALIDATION_SEEDS, profile.search.validation_tracks)
    jobs = [Job(0, track, profile.search.patience) for track in tracks]
    means = {}
    with rollout.workers(workers) as pool:
        for key, forgetful in (("right", False), ("wrong", True)):
            outcomes = rollout.drive(
                pool, profile, agent.model, agent.weights[None], jobs, pool._max_workers,
                forgetful=forgetful,
            )  # fmt: skip
            means[key] = float(np.mean([o.episode_return for o in outcomes]))
    return {**means, "tracks": len(tracks)}


def ranking(profile: Profile, name: str, workers: int | None = None, candidates: int = 24) -> dict:
    """Evolution on one track: how well few tracks rank candidates as many others do.

    Candidates about the controller drive `tracks` validation tracks. `agreement` has Spearman's
    rank correlation between their average return on so many of the tracks and on all of the
    others, averaged over 200 draws of tracks.
    """
    agent = controller.load(profile, name)
    rng = np.random.default_rng(profile.seed)
    noise = rng.standard_normal((candidates, len(agent.parameters)))
    layers = agent.inputs.fold(agent.parameters + profile.search.sigma * noise)
    count = min(16, profile.search.validation_tracks)
    tracks = config.track_seeds(config.VALIDATION_SEEDS, count)
    jobs = [Job(c, t, profile.search.patience) for c in range(candidates) for t in tracks]
    with rollout.workers(workers) as pool:
        outcomes = rollout.drive(pool, profile, agent.model, layers, jobs, pool._max_workers)
    returns = np.array([o.episode_return for o in outcomes]).reshape(candidates, count)
    agreement = {}
    for few in (n for n in (1, 2, 4, 8) if n < count):
        found = []
        for _ in range(200):
            order = rng.permutation(count)
            chosen, others = returns[:, order[:few]].mean(1), returns[:, order[few:]].mean(1)
            found.append(stats.spearmanr(chosen, others).statistic)
        agreement[str(few)] = _known(np.mean(found))
    return {"tracks": count, "candidates": candidates, "agreement": agreement}


def _known(value) -> float | None:
    """None for what could not be measured: no clear latent, or candidates that all tie."""
    return None if math.isnan(value) else float(value)
