"""CMA-ES (Hansen 2016) as ask and tell, at a fixed step size."""

import cma
import numpy as np

from awm.errors import AwmError


class Optimizer:
    """CMA-ES over C's parameters, higher fitness better; its step size is fixed, the covariance
    adapts. It is deterministic given its seed and the fitness it was told.
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
        #: The distribution's mean before each generation, and now: the agent, of which candidates
        #: are noisy copies.
        self.means = [self._strategy.mean.copy()]

    def average(self, generations: int) -> np.ndarray:
        """The average of the last `generations` means (Polyak & Juditsky 1992).

        At a fixed step size the mean wanders about the optimum; its average wanders less.
        """
        return np.mean(self.means[-generations:], axis=0)

    def ask(self) -> np.ndarray:
        """Candidates `[population, parameters]`."""
        return np.array(self._strategy.ask())

    def tell(self, candidates: np.ndarray, fitness) -> None:
        """Fitness `[population]` of the candidates that `ask` gave. AwmError if not finite."""
        if not np.isfinite(fitness).all():
            raise AwmError("A candidate's fitness is not a finite number. Lower the step size.")
        self._strategy.tell(list(candidates), [-float(f) for f in fitness])
        self.means.append(self._strategy.mean.copy())

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
