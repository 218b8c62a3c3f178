"""The one search: it begins at zero or at another agent, and runs on the track or in a dream.

The log is the checkpoint: one JSON line a generation with every candidate's fitness. A killed run
is resumed by telling the logged generations again (40 ms each), which needs no pickle and leaves
nothing out; so is one that is to go on for longer than before.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from awm import config, stages, store
from awm.config import Search
from awm.errors import AwmError
from awm.evolution.inputs import input_statistics
from awm.evolution.optimizer import Optimizer
from awm.ids import Agent
from awm.models.controller import Controller, Inputs
from awm.processes import Workers
from awm.store import Workspace
from awm.worlds.crew import Crew, Dream, Track, crew, dream_of
from awm.worlds.lanes import Job


@dataclass(frozen=True)
class Evolution:
    """A finished search: one log entry a generation, and the controller it found.

    An entry has `generation`, `best`, `mean`, `worst`, `std` of the population's fitness (average
    return over the generation's tracks), `sigma`, `steps` and `seconds` so far, `validation` (the
    mean return of the distribution's mean on the validation tracks, or None), `validation_returns`,
    `fitness` of every candidate, and `seeds` with the population's mean return on each track. In a
    dream all of these are dreamt; `real` is then the mean return of the same controller on the real
    validation tracks, for the curve alone.
    """

    log: list[dict]
    controller: Controller


def log_of(ws: Workspace, agent: Agent) -> list[dict]:
    """The generations of an agent's last search that are logged; none if there is no log.

    Raises:
        AwmError: if the log is damaged, or another search's. (One that is committed is left out.)
    """
    stage = stages.log(ws.profile, agent)
    path = ws.find(stage.name)
    log = generations(path) if path else []
    differs = log and ws.differences(log[0].get("record", {}), stage)
    if not differs:
        return log
    if not path.is_relative_to(ws.own):  # what is committed stands in only if it fits
        return []
    raise _unfit(path, f"is the log of another search, {differs}")


def _unfit(path: Path, problem: str) -> AwmError:
    return AwmError(
        f"{path} {problem}. Move it away to evolve afresh, or work in a profile with a name of "
        "its own."
    )


def generations(path: Path) -> list[dict]:
    """The entries of a log. A last line cut short by a kill is left out; AwmError if damaged."""
    entries, lines = [], path.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines) - 1:  # cut short by a kill
                break
            entry = None
        try:
            entry = store.unsealed(entry)
            if entry["generation"] != number:
                raise ValueError(f"it is generation {entry['generation']}")
        except (ValueError, KeyError) as error:
            raise AwmError(
                f"{path}, line {number + 1}, is damaged ({error}). Move the file away to evolve "
                "afresh."
            ) from None
        entries.append(entry)
    return entries


def _line(entry: dict) -> str:
    return json.dumps(store.sealed(entry)) + "\n"


def best_validated(log: list[dict]) -> dict:
    """The entry of a log whose mean validated best: it became the controller."""
    checked = [entry for entry in log if entry["validation"] is not None]
    return max(checked, key=lambda entry: entry["validation"])


def searches(ws: Workspace) -> list[Agent]:
    """The agents whose searches have a log, the latest first."""
    names = ws.names("agents/*.jsonl")
    names.sort(key=lambda name: ws.find(name).stat().st_mtime, reverse=True)
    return [Agent.parse(Path(name).stem) for name in names]


def load(ws: Workspace, agent: Agent) -> Controller:
    """An agent's controller. AwmError if it has not been evolved, or does not fit."""
    tensors, manifest = ws.load(stages.agent(ws.profile, agent))
    arrays = {key: value.numpy() for key, value in tensors.items()}
    if not all(np.isfinite(value).all() for value in arrays.values()):
        raise AwmError(f"The controller of {agent} holds values that are not finite. Evolve anew.")
    inputs = Inputs(arrays["input_mean"], arrays["input_deviation"])
    return Controller(arrays["parameters"], inputs, manifest)


def evolve(ws: Workspace, agent: Agent, workers: Workers = None) -> Evolution:
    """Search for an agent; returns at once if that has been done, goes on if interrupted.

    How it was found says where the search begins, at zero or at the agent's parent, and where it
    runs. The same tracks serve all candidates of a generation. Every few generations the
    distribution's *mean* drives the fixed validation tracks; the best mean by that is the result.
    In a dream (Ha & Schmidhuber 2018, section 4) both are dreamt: no real return has a part in
    them. Here, not in tests, hopeless episodes end early (`Search.patience`).

    Args:
        workers: as for `awm.processes.opened`.

    Raises:
        AwmError: if something that it needs is missing or does not fit, or its log is another's.
    """
    run = _Run(ws, agent)
    if run.over:
        return run.result()
    with ws.lock(f"agents/{agent}"):
        return _Run(ws, agent).go(workers)


#: Hard tracks are drawn from so many of those that went worst.
_HARD_POOL = 16


def _tracks(search: Search, agent: Agent, log: list[dict]) -> list[int]:
    """The training tracks of the next generation: new ones, and some of those that went worst.

    They depend on the search and its seed alone, not on the memory, but for the hard ones.
    """
    generation, fresh = len(log), search.tracks - search.hard_tracks
    known = {}
    for entry in log:
        known |= dict(zip(entry.get("seeds", ()), entry.get("track_means", ()), strict=True))
    # Each seed has 50,000 tracks, the same wherever its search begins, and as many to refine on.
    room = 100_000 * agent.seed + 50_000 * (agent.found == "refined")
    first = room + generation * search.tracks
    new = config.track_seeds(config.EVOLUTION_SEEDS, search.tracks, first)
    if len(known) < _HARD_POOL or not search.hard_tracks:
        return new
    worst = sorted(known, key=known.get)[:_HARD_POOL]
    rng = np.random.default_rng((agent.seed, generation))
    again = rng.choice(worst, size=search.hard_tracks, replace=False)
    return new[:fresh] + [int(track) for track in again]


class _Run:
    """One search, on disk."""

    def __init__(self, ws: Workspace, agent: Agent):
        self.ws, self.agent = ws, agent
        self.search = stages.search(ws.profile, agent)
        self.stage = stages.agent(ws.profile, agent)
        self.begun = stages.log(ws.profile, agent)
        self.log = self._begun_log()
        if not self.log:
            ws.manifest(self.stage)  # what another search has found is not written over
        #: One entry more than generations: the last only validates the final mean, or average.
        self.done = len(self.log) > self.search.generations
        if not self.done:
            self.log = [entry for entry in self.log if "fitness" in entry]

    def _begun_log(self) -> list[dict]:
        """What is logged of this search; AwmError if it has gone further than it is to go."""
        log, path = log_of(self.ws, self.agent), self.ws.find(self.begun.name)
        told = sum("fitness" in entry for entry in log)
        if told <= self.search.generations:
            return log
        if not path.is_relative_to(self.ws.own):
            return []
        asked = self.search.generations
        raise _unfit(path, f"has {told} generations, and the profile asks for {asked}")

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.done and self.ws.manifest(self.stage) is not None

    def result(self) -> Evolution:
        return Evolution(self.log, load(self.ws, self.agent))

    def go(self, workers: Workers) -> Evolution:
        if self.over:  # another run has found it in the meantime
            return self.result()
        if self.agent.parent:
            parent = load(self.ws, self.agent.parent)
            start, inputs = parent.parameters, parent.inputs
        else:
            inputs = input_statistics(self.ws, self.agent.memory)
            start = np.zeros(inputs.parameters)
        search = self.search
        optimizer = Optimizer(start, search.sigma, search.population, self.agent.seed)
        optimizer.replay([entry for entry in self.log if "fitness" in entry])
        if not self.done:
            with crew(workers) as hands:
                self._generations(optimizer, inputs, hands)
        self._save(optimizer, inputs)
        return self.result()

    def _save(self, optimizer: Optimizer, inputs: Inputs) -> None:
        best, search = best_validated(self.log), self.search
        final = best["generation"] == search.generations
        mean = optimizer.means[best["generation"]]
        tensors = {
            "parameters": optimizer.average(search.averaged) if final else mean,
            "input_mean": inputs.mean,
            "input_deviation": inputs.deviation,
        }
        self.ws.save(
            self.stage,
            {key: torch.from_numpy(np.array(value)) for key, value in tensors.items()},
            validation=best["validation"],
            validation_seeds=config.track_seeds(config.VALIDATION_SEEDS, search.validation_tracks),
            generation=best["generation"],
            steps=self.log[-1]["steps"],
            wall_time_s=self.log[-1]["seconds"],
        )

    def _generations(self, optimizer: Optimizer, inputs: Inputs, hands: Crew) -> None:
        search, log, path = self.search, self.log, self.ws.own / self.begun.name
        # Rewritten whole once, which drops what is to be done again; appended to afterwards.
        with store.atomic(path) as temporary:
            temporary.write_text("".join(map(_line, log)))
        place = self._place()
        before = log[-1]["seconds"] if log else 0.0
        started = time.perf_counter()
        bar = tqdm(
            total=search.generations, initial=len(log), unit="generation", desc=f"C {self.agent}"
        )
        for generation in range(len(log), search.generations + 1):
            entry = self._generation(generation, optimizer, inputs, hands, place)
            entry["seconds"] = round(before + time.perf_counter() - started, 1)
            if generation == 0:
                entry["record"] = self.ws.describe(self.begun)
            with path.open("a") as file:
                file.write(_line(entry))
            log.append(entry)
            if "fitness" in entry:
                last = log[-2] if generation else {"steps": 0, "seconds": 0.0}
                spent = max(entry["seconds"] - last["seconds"], 1e-9)
                bar.set_postfix(
                    best=f"{entry['best']:.0f}",
                    mean=f"{entry['mean']:.0f}",
                    validated=f"{best_validated(log)['validation']:.0f}",
                    steps_per_s=f"{(entry['steps'] - last['steps']) / spent:.0f}",
                )
                bar.update()
        bar.close()

    def _generation(
        self, generation: int, optimizer: Optimizer, inputs: Inputs, hands: Crew, place
    ) -> dict:
        search, log = self.search, self.log
        final = generation == search.generations
        mean = optimizer.average(search.averaged) if final else optimizer.means[-1]
        candidates = np.empty((0, inputs.parameters)) if final else optimizer.ask()
        tracks = _tracks(search, self.agent, log)
        patience = None if isinstance(place, Dream) else search.patience
        jobs = [Job(c, track, patience) for c in range(len(candidates)) for track in tracks]
        validation = []
        if final or generation % search.validation_every == 0:
            # The mean's validation rides along as one more candidate: lanes stay full.
            validation = config.track_seeds(config.VALIDATION_SEEDS, search.validation_tracks)
            jobs = [Job(len(candidates), track, patience) for track in validation] + jobs
        layers = inputs.fold(np.vstack([candidates, mean]))
        apart = len(validation) if search.moments else 0
        outcomes = hands.drive(place, layers, jobs[apart:], search.steering_noise)
        if apart:  # held-out episodes to begin at are another world
            held_out = replace(place, split="validation")
            tested = hands.drive(held_out, layers, jobs[:apart], search.steering_noise)
            outcomes = tested + outcomes
        earned = np.array([o.episode_return for o in outcomes])
        if not np.isfinite(earned).all():
            raise AwmError(
                f"Returns in generation {generation} of {self.agent} are not finite numbers: M or "
                "a controller has diverged. The generations before are kept in the log."
            )
        validated, returns = np.split(earned, [len(validation)])
        steps = sum(o.length for o in outcomes) + (log[-1]["steps"] if log else 0)
        entry = {"generation": generation, "steps": steps, "sigma": search.sigma}
        entry["validation"] = float(validated.mean()) if validation else None
        if validation:
            entry["validation_returns"] = validated.round(1).tolist()
            if isinstance(place, Dream):
                road = [Job(0, track, search.patience) for track in validation]
                real = hands.drive(Track.of(self.ws, self.agent.memory), layers[-1:], road)
                entry["real"] = float(np.mean([o.episode_return for o in real]))
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
        return entry

    def _place(self) -> Track | Dream:
        if self.search.temperature is None:
            return Track.of(self.ws, self.agent.memory)
        return dream_of(self.ws, self.agent.memory, self.search)
