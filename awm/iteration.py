"""Iterative training (Ha & Schmidhuber 2018, "Iterative Training Procedure").

A controller that is evolved in a dream finds where M is wrong, and lives there. So it is sent to
the real track, where its mistakes are recorded; M learns from them; and another controller is
evolved, from zero, in the better dream. Round 0 is the world model of the drivers' rollouts.

A round is the profile with another `round`: its files lie in `round-N` of the profile's folder,
its rollouts join those of the rounds before, its M goes on from theirs, and V stays as it was.
"""

import time
from dataclasses import asdict, replace

import numpy as np

from awm import config, controller, dataset, evolution, mdn_rnn, provenance, vae
from awm.config import Profile, Search, get_profile
from awm.names import dreamt
from awm.rollout import AgentDriver


def iterate(profile: Profile | str, model: str = "none", workers: int | None = None) -> list[dict]:
    """Go through all rounds of a profile; returns at once if it has been done, else goes on.

    An entry of the result is a round: `round`, `controller`, `real_steps` recorded so far, the
    average reward a step of what was recorded in it (`recorded`), V's summed squared error on
    those frames (`vae_error`), M's `reward_r2` on test episodes, and the `dreamt` and `real`
    return of the controller that the dream thought best, on validation tracks. No real return
    chooses anything.

    Args:
        model: the M that dreams, any but the spatial: rounds keep no maps.
    """
    profile = get_profile(profile)
    path = config.artefact(profile, f"iteration-{model}.json")
    sources = {
        "vae": vae.load(profile).manifest["hash"],
        "mdn_rnn": mdn_rnn.load(profile, model).manifest["hash"],
        "dream": asdict(profile.dream),
        **{key: getattr(profile, key) for key in _SETTINGS},
    }
    if path.exists():
        before = provenance.read_json(path)
        recorded = before["sources"]
        if recorded | {"dream": Search.completed(recorded["dream"])} == sources:
            return before["rounds"]
    started = time.perf_counter()
    rounds = [
        _round(replace(profile, round=n), model, workers) for n in range(profile.dream_rounds + 1)
    ]
    seconds = round(time.perf_counter() - started, 1)
    result = provenance.record(
        profile, model=model, sources=sources, wall_time_s=seconds, rounds=rounds
    )
    provenance.write_json(config.data_dir(profile) / path.name, result)
    return rounds


_SETTINGS = ("dream_rounds", "round_rollouts", "round_updates")


def _round(now: Profile, model: str, workers: int | None) -> dict:
    if now.round:
        record(now, model, workers)
        mdn_rnn.train(now, model)
    evolved = evolution.evolve_in_dream(now, model, workers=workers)
    chosen = evolution.chosen(evolved.log)
    rollouts = dataset.open_rollouts(now)
    newest = rollouts.parts[-1] if now.round else rollouts
    frames = vae.held_out_frames(newest, "test")
    return {
        "round": now.round,
        "controller": dreamt(model, round=now.round),
        "real_steps": int(rollouts.lengths.sum()),
        "recorded": float(np.concatenate(newest.column("rewards")).mean()),
        "vae_error": vae.validate(vae.load(now), frames)["validation_reconstruction"],
        "reward_r2": mdn_rnn.load(now, model).manifest["test"]["reward_r2"],
        "dreamt": chosen["validation"],
        "real": chosen["real"],
        "seconds": evolved.log[-1]["seconds"],
    }


def record(now: Profile, model: str, workers: int | None = None) -> None:
    """Record a round's rollouts: the controller of the round before drives.

    Every episode has a copy of its own, as far from it as candidates of the evolution are, so
    that M also sees what the neighbours would do.
    """
    before = replace(now, round=now.round - 1)
    agent = controller.load(before, dreamt(model, round=before.round))
    rng = np.random.default_rng((now.seed, now.round))
    noise = rng.standard_normal((now.round_rollouts, len(agent.parameters)))
    layers = agent.inputs.fold(agent.parameters + now.dream.sigma * noise)
    drivers = [AgentDriver(before, model, layer) for layer in layers]
    dataset.collect(now, workers, drivers, agent=agent.manifest["hash"])
