"""C is evolved with CMA-ES (Hansen 2016): ask for candidates, let them drive, tell how they did.

The log is the checkpoint: one JSON line a generation with every candidate's fitness. CMA-ES is
deterministic given its seed and the fitness it was told, so a killed run is resumed by telling
the logged generations again (40 ms each), which needs no pickle and leaves nothing out.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import cma
import numpy as np
from tqdm.auto import tqdm

from awm import config, controller, mdn_rnn, provenance, rollout, vae
from awm.config import Profile, get_profile
from awm.controller import Controller, Inputs
from awm.errors import AwmError
from awm.rollout import Job


@dataclass(frozen=True)
class Evolution:
    """A finished evolution: one log entry a generation, and the controller it found.

    An entry has `generation`, `best`, `mean`, `worst`, `std` of the population's fitness (average
    return over the generation's tracks), `sigma`, `steps` and `seconds` so far, `validation` (the
    return of the distribution's mean on the validation tracks, or None) and `fitness`, `seeds`.
    """

    log: list[dict]
    controller: Controller


def name_of(model: str, seed: int) -> str:
    """The name of the controller that is evolved for a model with a seed."""
    return model if seed == 0 else f"{model}-seed{seed}"


def log_path(profile: Profile, name: str) -> Path:
    """Where an evolution's log lies."""
    return config.data_dir(profile) / "evolution" / f"{name}.jsonl"


def read_log(profile: Profile | str, name: str) -> list[dict]:
    """The generations logged so far. A last line cut short by a kill is left out."""
    path = log_path(get_profile(profile), name)
    if not path.exists():
        return []
    entries = []
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            if number == len(lines):
                break
            raise AwmError(
                f"{path}, line {number}, is damaged. Move the file away to evolve afresh."
            ) from None
    return entries


class Optimizer:
    """CMA-ES as ask/tell over C's parameters, higher fitness better, restarted from a log."""

    def __init__(self, parameters: int, sigma: float, population: int, seed: int):
        generator = np.random.default_rng(seed)
        options = {
            "popsize": population,
            # A generator of its own: cma's default seeds and uses numpy's global one.
            "randn": lambda *shape: generator.standard_normal(shape),
            "seed": np.nan,
            "verbose": -9,
            # Fitness is noisy and new tracks come every generation: never stop by itself.
            "maxiter": np.inf,
            "tolfun": 0,
            "tolfunhist": 0,
            "tolx": 0,
            "tolstagnation": 10**9,
            "tolflatfitness": 10**9,
        }
        self._strategy = cma.CMAEvolutionStrategy(np.zeros(parameters), sigma, options)

    @property
    def mean(self) -> np.ndarray:
        """The distribution's mean: the agent, of which candidates are noisy copies."""
        return self._strategy.mean.copy()

    @property
    def sigma(self) -> float:
        """The step size."""
        return float(self._strategy.sigma)

    def ask(self) -> np.ndarray:
        """Candidates `[population, parameters]`."""
        return np.array(self._strategy.ask())

    def tell(self, candidates: np.ndarray, fitness) -> None:
        """Fitness `[population]` of the candidates that `ask` gave."""
        self._strategy.tell(list(candidates), [-float(f) for f in fitness])

    def replay(self, log: list[dict]) -> None:
        """Tell the generations of a log again.

        Raises:
            AwmError: if the candidates that come out are not those that were evaluated, as can
                happen with another version or processor.
        """
        for entry in log:
            candidates = self.ask()
            if not np.isclose(np.sum(candidates), entry["candidates_sum"], rtol=1e-6, atol=1e-6):
                raise AwmError(
                    f"Generation {entry['generation']} of the log cannot be repeated on this "
                    "machine. Resume where it was begun, or move the log away to evolve afresh."
                )
            self.tell(candidates, entry["fitness"])


def evolve(
    profile: Profile | str,
    model: str = "none",
    seed: int = 0,
    workers: int | None = None,
    executor=None,
) -> Evolution:
    """Evolve a controller; returns at once if that has been done, goes on if interrupted.

    The same new tracks serve all candidates of a generation. Every few generations the
    distribution's *mean* drives the fixed validation tracks; the best mean by that is the result.
    Here, not in tests, hopeless episodes end early (`Profile.patience`).

    Args:
        model: what C sees, one of `awm.config.MODELS`.
        seed: of CMA-ES and of the training tracks, the same tracks for every model.
        workers: processes, or tasks a generation if an executor is given; by default one a core.
        executor: any `concurrent.futures.Executor`, such as a Dask client's; by default a pool of
            processes.
    """
    profile = get_profile(profile)
    controller.check_model(model)
    name = name_of(model, seed)
    log = read_log(profile, name)
    _check_log(profile, name, model, seed, log)
    if len(log) > profile.generations:
        return Evolution(log, controller.load(profile, name))
    sources = _sources(profile, model)
    inputs = controller.input_statistics(profile, model)
    optimizer = Optimizer(inputs.parameters, profile.sigma, profile.population, seed)
    optimizer.replay(log)
    if executor is not None:
        _run(profile, model, seed, log, optimizer, inputs, sources, executor, workers or 2)
    else:
        with rollout.workers(workers) as pool:
            _run(profile, model, seed, log, optimizer, inputs, sources, pool, pool._max_workers)
    return Evolution(log, controller.load(profile, name))


def _sources(profile: Profile, model: str) -> dict:
    """The hashes of the models that the controller is evolved on."""
    sources = {"vae": vae.load(profile).manifest["hash"]}
    if model != "V":
        sources["mdn_rnn"] = mdn_rnn.load(profile, model).manifest["hash"]
    return sources


def _check_log(profile: Profile, name: str, model: str, seed: int, log: list[dict]) -> None:
    if not log:
        return
    path = log_path(profile, name)
    expected = {"model": model, "seed": seed, **_settings(profile), **_sources(profile, model)}
    found = {key: log[0].get("settings", {}).get(key) for key in expected}
    if found != expected:
        changed = ", ".join(key for key in expected if found[key] != expected[key])
        raise AwmError(
            f"{path} is the log of another evolution (it differs in {changed}). "
            "Move it and its controller away to evolve afresh."
        )


def _settings(profile: Profile) -> dict:
    keys = ("population", "tracks", "sigma", "patience", "validation_tracks", "hidden_size")
    return {key: getattr(profile, key) for key in keys}


def _run(profile, model, seed, log, optimizer, inputs: Inputs, sources, executor, tasks) -> None:
    name = name_of(model, seed)
    path = log_path(profile, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Rewritten whole once, which drops a line that a kill cut short; appended to afterwards.
    with provenance.atomic(path) as temporary:
        temporary.write_text("".join(json.dumps(entry) + "\n" for entry in log))
    best = max((e["validation"] for e in log if e["validation"] is not None), default=-np.inf)
    steps = log[-1]["steps"] if log else 0
    before = log[-1]["seconds"] if log else 0.0
    started = time.perf_counter()
    bar = tqdm(total=profile.generations, initial=len(log), unit="generation", desc=f"C on {model}")
    # One round more than generations: the last only validates the final mean.
    for generation in range(len(log), profile.generations + 1):
        final = generation == profile.generations
        mean, sigma = optimizer.mean, optimizer.sigma
        candidates = np.empty((0, inputs.parameters)) if final else optimizer.ask()
        tracks = _tracks(profile, seed, generation)
        jobs = [
            Job(candidate, track, profile.patience)
            for candidate in range(len(candidates))
            for track in tracks
        ]
        validate = final or generation % profile.validation_every == 0
        if validate:
            # The mean's validation rides along as one more candidate, so that lanes stay full.
            validation = config.track_seeds(config.VALIDATION_SEEDS, profile.validation_tracks)
            jobs = [Job(len(candidates), track, profile.patience) for track in validation] + jobs
        layers = inputs.fold(np.vstack([candidates, mean]))
        outcomes = rollout.drive(executor, profile, model, layers, jobs, tasks)
        steps += sum(o.length for o in outcomes)
        score = None
        if validate:
            score = float(np.mean([o.episode_return for o in outcomes[: len(validation)]]))
            outcomes = outcomes[len(validation) :]
        seconds = before + time.perf_counter() - started
        entry = {"generation": generation, "validation": score, "sigma": sigma, "steps": steps}
        entry["seconds"] = round(seconds, 1)
        if not final:
            returns = np.array([o.episode_return for o in outcomes]).reshape(len(candidates), -1)
            fitness = returns.mean(axis=1)
            optimizer.tell(candidates, fitness)
            entry |= {
                "best": float(fitness.max()),
                "mean": float(fitness.mean()),
                "worst": float(fitness.min()),
                "std": float(fitness.std()),
                "fitness": fitness.tolist(),
                "seeds": tracks,
                "candidates_sum": float(np.sum(candidates)),
            }
        if generation == 0:
            settings = {"model": model, "seed": seed, **_settings(profile), **sources}
            entry |= {"settings": settings, "record": provenance.record(profile)}
        if validate and score > best:
            best = score
            manifest = provenance.record(
                profile,
                seed=seed,
                sources=sources,
                validation=score,
                validation_seeds=validation,
                generation=generation,
                steps=steps,
                wall_time_s=round(seconds, 1),
            )
            found = Controller(model, mean, inputs, manifest)
            controller.save(profile, name, found)
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
        log.append(entry)
        if not final:
            rate = (steps - (log[-2]["steps"] if generation else 0)) / max(
                seconds - (log[-2]["seconds"] if generation else 0), 1e-9
            )
            bar.set_postfix(
                best=f"{entry['best']:.0f}",
                mean=f"{entry['mean']:.0f}",
                validated=f"{best:.0f}",
                steps_per_s=f"{rate:.0f}",
            )
            bar.update()
    bar.close()


def _tracks(profile: Profile, seed: int, generation: int) -> list[int]:
    """The training tracks of a generation: new ones every time, the same for every model."""
    room = 100_000  # generations × tracks of one evolution seed
    offset = seed * room + generation * profile.tracks
    return config.track_seeds(config.EVOLUTION_SEEDS, profile.tracks, offset)
