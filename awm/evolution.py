"""C is evolved with CMA-ES (Hansen 2016): ask for candidates, let them drive, tell how they did.

The log is the checkpoint: one JSON line a generation with every candidate's fitness. CMA-ES is
deterministic given its seed and the fitness it was told, so a killed run is resumed by telling
the logged generations again (40 ms each), which needs no pickle and leaves nothing out.
"""

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cma
import numpy as np
from tqdm.auto import tqdm

from awm import config, controller, dream, map_head, mdn_rnn, provenance, rollout, vae
from awm.config import Profile, Search, get_profile
from awm.controller import Controller, Inputs
from awm.errors import AwmError
from awm.names import Name, dreamt, evolved, refined, seen, woken
from awm.rollout import Job


@dataclass(frozen=True)
class Evolution:
    """A finished evolution: one log entry a generation, and the controller it found.

    An entry has `generation`, `best`, `mean`, `worst`, `std` of the population's fitness (average
    return over the generation's tracks), `sigma`, `steps` and `seconds` so far, `validation` (the
    mean return of the distribution's mean on the validation tracks, or None), `validation_returns`,
    `fitness` of every candidate, and `seeds` with the population's mean return on each track. In a
    dream all of these are dreamt; `real` is then the mean return of the same controller on the real
    validation tracks, for the curve alone.
    """

    log: list[dict]
    controller: Controller


def log_path(profile: Profile, name: str) -> Path:
    """Where an evolution's log lies."""
    return config.artefact(profile, f"evolution/{name}.jsonl")


def read_log(profile: Profile | str, name: str) -> list[dict]:
    """The generations logged so far; none if there is no log."""
    path = log_path(get_profile(profile), name)
    return generations(path) if path.exists() else []


def generations(path: Path) -> list[dict]:
    """The entries of a log. A last line cut short by a kill is left out; AwmError if damaged."""
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


def chosen(log: list[dict]) -> dict:
    """The entry of a log whose mean validated best: it became the controller."""
    checked = [entry for entry in log if entry["validation"] is not None]
    return max(checked, key=lambda entry: entry["validation"])


def searches(profile: Profile | str) -> list[str]:
    """The names of a profile's searches that have a log, the latest first."""
    profile = get_profile(profile)
    folders = (config.data_dir(profile), config.pretrained_dir() / profile.name)
    names = {path.stem for folder in folders for path in folder.glob("evolution/[!.]*.jsonl")}
    logs = {name: log_path(profile, name) for name in sorted(names)}
    logs = {name: path.stat().st_mtime for name, path in logs.items() if path.exists()}
    return sorted(logs, key=logs.get, reverse=True)


class Optimizer:
    """CMA-ES as ask/tell over C's parameters, higher fitness better, restarted from a log.

    Its step size is fixed; the covariance adapts.
    """

    def __init__(self, start: np.ndarray, sigma: float, population: int, seed: int):
        generator = np.random.default_rng(seed)
        options = {
            "popsize": population,
            # A generator of its own: cma's default seeds and uses numpy's global one.
            "randn": lambda *shape: generator.standard_normal(shape),
            "seed": np.nan,
            "verbose": -9,
            # The step size stays: on this noisy fitness path-length control lets it grow until
            # candidates no longer keep to the road, and the mean falls back with them.
            "AdaptSigma": False,
            # Fitness is noisy and new tracks come every generation: never stop by itself.
            "maxiter": np.inf,
            "tolfun": 0,
            "tolfunhist": 0,
            "tolx": 0,
            "tolstagnation": 10**9,
            "tolflatfitness": 10**9,
        }
        self._strategy = cma.CMAEvolutionStrategy(start, sigma, options)
        self._means = [self.mean]

    @property
    def mean(self) -> np.ndarray:
        """The distribution's mean: the agent, of which candidates are noisy copies."""
        return self._strategy.mean.copy()

    def average(self, generations: int) -> np.ndarray:
        """The average of the last `generations` means (Polyak & Juditsky 1992).

        At a fixed step size the mean wanders about the optimum; its average wanders less.
        """
        return np.mean(self._means[-generations:], axis=0)

    def ask(self) -> np.ndarray:
        """Candidates `[population, parameters]`."""
        return np.array(self._strategy.ask())

    def tell(self, candidates: np.ndarray, fitness) -> None:
        """Fitness `[population]` of the candidates that `ask` gave."""
        self._strategy.tell(list(candidates), [-float(f) for f in fitness])
        self._means.append(self.mean)

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
    cluster: str | None = None,
    executor=None,
) -> Evolution:
    """Evolve a controller from zero; returns at once if that has been done, goes on if interrupted.

    The same tracks serve all candidates of a generation. Every few generations the distribution's
    *mean* drives the fixed validation tracks; the best mean by that is the result. Here, not in
    tests, hopeless episodes end early (`Search.patience`).

    Args:
        model: what C sees, one of `awm.config.MODELS`.
        seed: of CMA-ES and of the training tracks, the same tracks for every model. Which training
            of M it drives with is `Profile.searched_on`'s to say.
        workers: processes, or tasks a generation if an executor is given; by default one a core.
        cluster: the address of a Dask scheduler to drive on, instead of processes of this machine.
        executor: any other `concurrent.futures.Executor`.
    """
    profile = get_profile(profile)
    controller.check_model(model)
    what = seen(profile, model, seed)
    run = _Run(profile, profile.search, evolved(model, seed), what, seed, _sources(profile, what))
    if run.done:
        return run.result()
    inputs = controller.input_statistics(profile, what)
    return run.go(np.zeros(inputs.parameters), inputs, workers, cluster, executor)


def refine(
    profile: Profile | str,
    name: str = "none",
    workers: int | None = None,
    cluster: str | None = None,
    executor=None,
) -> Evolution:
    """Evolve a controller further, as `Profile.refinement` says; otherwise as `evolve`.

    Args:
        name: the controller to begin with. The result is `refined(name)`.
    """
    profile = get_profile(profile)
    return _go_on(profile, profile.refinement, name, refined(name), workers, cluster, executor)


def wake(
    profile: Profile | str,
    name: str = "none-dream",
    workers: int | None = None,
    cluster: str | None = None,
    executor=None,
) -> Evolution:
    """Evolve a dream's controller on the track, by the search that `evolve` begins at zero.

    Args:
        name: the controller to begin with. The result is `woken(name)`.
    """
    profile = get_profile(profile)
    before = Name.parse(name)
    if not before.dream or before.woken or before.refined:
        raise AwmError(f"{name!r} was not left by a dream. Choose a controller like none-dream.")
    return _go_on(profile, profile.search, name, woken(name), workers, cluster, executor)


def _go_on(
    profile: Profile, search: Search, before: str, name: str, workers, cluster, executor
) -> Evolution:
    """Another search, on the track, from where a controller stands."""
    profile = replace(profile, round=Name.parse(before).round)
    start = controller.load(profile, before)
    sources = {**_sources(profile, start.model), "controller": start.manifest["hash"]}
    run = _Run(profile, search, name, start.model, start.manifest["seed"], sources)
    if run.done:
        return run.result()
    return run.go(start.parameters, start.inputs, workers, cluster, executor)


def evolve_in_dream(
    profile: Profile | str,
    model: str = "none",
    seed: int = 0,
    temperature: float | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    executor=None,
) -> Evolution:
    """Evolve a controller in M's dream (Ha & Schmidhuber 2018, section 4); otherwise as `evolve`.

    Fitness, and the choice of the best mean, are dreamt: no real return has a part in them.

    Args:
        model: the M that dreams.
        temperature: of the dream; by default as `Profile.dream` says. The result is
            `dreamt(model, seed, temperature, profile.round)`.
    """
    profile = get_profile(profile)
    if model not in config.ATTENTIONS:
        raise AwmError(f"{model!r} cannot dream. Choose one of: {', '.join(config.ATTENTIONS)}.")
    search, name = profile.dream, dreamt(model, seed, temperature, profile.round)
    if temperature is not None:
        search = replace(search, temperature=temperature)
    sources = _sources(profile, model)
    if model == "spatial":  # with a head it dreams another dream than without
        head = map_head.path_of(profile)
        sources["map_head"] = map_head.load(profile).manifest["hash"] if head.exists() else None
    run = _Run(profile, search, name, model, seed, sources)
    if run.done:
        return run.result()
    inputs = controller.input_statistics(profile, model)
    return run.go(np.zeros(inputs.parameters), inputs, workers, cluster, executor)


def _sources(profile: Profile, model: str) -> dict:
    """The hashes of the models that the controller is evolved on."""
    sources = {"vae": vae.load(profile).manifest["hash"]}
    if model != "V":
        sources["mdn_rnn"] = mdn_rnn.load(profile, model).manifest["hash"]
    return sources


class _Run:
    """One search for one controller, on disk."""

    def __init__(
        self, profile: Profile, search: Search, name: str, model: str, seed: int, sources: dict
    ):
        self.profile, self.search, self.name = profile, search, name
        self.model, self.seed, self.sources = model, seed, sources
        self.settings = {"model": model, "seed": seed, "lanes": profile.lanes, **asdict(search)}
        # These two decide when and how a search ends, and nothing before that.
        del self.settings["generations"], self.settings["averaged"]
        self.log = read_log(profile, name)
        self._check_log()

    @property
    def done(self) -> bool:
        # One entry more than generations: the last only validates the final mean, or average.
        return len(self.log) > self.search.generations

    def result(self) -> Evolution:
        return Evolution(self.log, controller.load(self.profile, self.name))

    def _check_log(self) -> None:
        if not self.log:
            return
        expected = {**self.settings, **self.sources}
        recorded = Search.completed(self.log[0].get("settings", {}))
        found = {key: recorded.get(key) for key in expected}
        if found != expected:
            changed = ", ".join(key for key in expected if found[key] != expected[key])
            raise AwmError(
                f"{log_path(self.profile, self.name)} is the log of another evolution (it differs "
                f"in {changed}). Move it and its controller away to evolve afresh."
            )

    def go(self, start: np.ndarray, inputs: Inputs, workers, cluster, executor) -> Evolution:
        optimizer = Optimizer(start, self.search.sigma, self.search.population, self.seed)
        optimizer.replay(self.log)
        if executor is not None:
            self._generations(optimizer, inputs, executor, workers or 2)
        elif cluster is not None:
            with rollout.cluster(cluster) as (remote, threads):
                self._generations(optimizer, inputs, remote, workers or threads)
        else:
            with rollout.workers(workers) as pool:
                self._generations(optimizer, inputs, pool, pool._max_workers)
        return self.result()

    def _generations(self, optimizer: Optimizer, inputs: Inputs, executor, tasks: int) -> None:
        profile, search, log = self.profile, self.search, self.log
        path = config.data_dir(profile) / "evolution" / f"{self.name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Rewritten whole once, which drops a line that a kill cut short; appended to afterwards.
        with provenance.atomic(path) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in log))
        best = max((e["validation"] for e in log if e["validation"] is not None), default=-np.inf)
        steps = log[-1]["steps"] if log else 0
        before = log[-1]["seconds"] if log else 0.0
        started = time.perf_counter()
        bar = tqdm(
            total=search.generations, initial=len(log), unit="generation", desc=f"C {self.name}"
        )
        for generation in range(len(log), search.generations + 1):
            final = generation == search.generations
            mean = optimizer.average(search.averaged) if final else optimizer.mean
            candidates = np.empty((0, inputs.parameters)) if final else optimizer.ask()
            tracks = _tracks(search, self.name, self.seed, log)
            jobs = [
                Job(candidate, track, search.patience)
                for candidate in range(len(candidates))
                for track in tracks
            ]
            validate = final or generation % search.validation_every == 0
            if validate:
                # The mean's validation rides along as one more candidate: lanes stay full.
                validation = config.track_seeds(config.VALIDATION_SEEDS, search.validation_tracks)
                jobs = [Job(len(candidates), track, search.patience) for track in validation] + jobs
            layers = inputs.fold(np.vstack([candidates, mean]))
            outcomes = self._drive(executor, layers, jobs, tasks)
            steps += sum(o.length for o in outcomes)
            returns = np.array([o.episode_return for o in outcomes])
            seconds = round(before + time.perf_counter() - started, 1)
            entry = {"generation": generation, "steps": steps, "seconds": seconds}
            entry |= {"sigma": search.sigma, "validation": None}
            if validate:
                validated, returns = np.split(returns, [len(validation)])
                entry["validation"] = float(validated.mean())
                entry["validation_returns"] = validated.round(1).tolist()
                if search.temperature is not None:
                    entry["real"] = self._real_return(executor, layers[-1:], validation, tasks)
            if not final:
                returns = returns.reshape(len(candidates), -1)
                fitness = returns.mean(axis=1)
                optimizer.tell(candidates, fitness)
                entry |= {
                    "best": float(fitness.max()),
                    "mean": float(fitness.mean()),
                    "worst": float(fitness.min()),
                    "std": float(fitness.std()),
                    "fitness": fitness.tolist(),
                    "seeds": tracks,
                    "track_means": returns.mean(axis=0).round(1).tolist(),
                    "candidates_sum": float(np.sum(candidates)),
                }
            if generation == 0:
                entry |= {
                    "settings": {**self.settings, **self.sources},
                    "record": provenance.record(profile),
                }
            if validate and entry["validation"] > best:
                best = entry["validation"]
                manifest = provenance.record(
                    profile,
                    seed=self.seed,
                    search=asdict(search),
                    sources=self.sources,
                    validation=best,
                    validation_seeds=validation,
                    generation=generation,
                    steps=steps,
                    wall_time_s=seconds,
                )
                controller.save(profile, self.name, Controller(self.model, mean, inputs, manifest))
            with path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            if not final:
                last = log[-1] if log else {"steps": 0, "seconds": 0.0}
                rate = (steps - last["steps"]) / max(seconds - last["seconds"], 1e-9)
                bar.set_postfix(
                    best=f"{entry['best']:.0f}",
                    mean=f"{entry['mean']:.0f}",
                    validated=f"{best:.0f}",
                    steps_per_s=f"{rate:.0f}",
                )
                bar.update()
            log.append(entry)
        bar.close()

    def _drive(self, executor, layers: np.ndarray, jobs: list[Job], tasks: int):
        """The jobs on the real track, or in M's dream."""
        search = self.search
        how = {"steering_noise": search.steering_noise}
        if search.temperature is not None:
            how = {"task": dream.drive_jobs, "temperature": search.temperature}
            how["idle_at_mean"] = search.idle_at_mean
        return rollout.drive(executor, self.profile, self.model, layers, jobs, tasks, **how)

    def _real_return(self, executor, layer: np.ndarray, tracks: list[int], tasks: int) -> float:
        jobs = [Job(0, track, self.search.patience) for track in tracks]
        outcomes = rollout.drive(executor, self.profile, self.model, layer, jobs, tasks)
        return float(np.mean([o.episode_return for o in outcomes]))


#: Hard tracks are drawn from so many of those that went worst.
_HARD_POOL = 16


def _tracks(search: Search, name: str, seed: int, log: list[dict]) -> list[int]:
    """The training tracks of the next generation: new ones, and some of those that went worst.

    They depend on the search and its seed alone, not on the model, but for the hard ones.
    """
    generation, fresh = len(log), search.tracks - search.hard_tracks
    known = {}
    for entry in log:
        known |= dict(zip(entry.get("seeds", ()), entry.get("track_means", ()), strict=True))
    # Each seed has 50,000 tracks, the same wherever its search begins, and as many to refine on.
    room = 100_000 * seed + 50_000 * Name.parse(name).refined
    first = room + generation * search.tracks
    new = config.track_seeds(config.EVOLUTION_SEEDS, search.tracks, first)
    if len(known) < _HARD_POOL or not search.hard_tracks:
        return new
    worst = sorted(known, key=known.get)[:_HARD_POOL]
    rng = np.random.default_rng((seed, generation))
    again = rng.choice(worst, size=search.hard_tracks, replace=False)
    return new[:fresh] + [int(track) for track in again]
