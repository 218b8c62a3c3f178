"""CMA-ES: it finds a maximum, and repeats itself."""

import numpy as np
import pytest

from awm.errors import AwmError
from awm.evolution.optimizer import Optimizer


def searched(generations: int):
    optimizer, log = Optimizer(np.zeros(12), 0.3, 8, seed=3), []
    for g in range(generations):
        candidates = optimizer.ask()
        fitness = [-float(np.square(c - 1).sum()) for c in candidates]
        optimizer.tell(candidates, fitness)
        log.append({"generation": g, "fitness": fitness, "candidates_sum": float(candidates.sum())})
    return optimizer, log


def test_it_finds_a_maximum_and_repeats_itself():
    optimizer, log = searched(80)
    mean = optimizer.means[-1]
    assert np.square(mean - 1).sum() < 0.5  # it was 12; as near as this step size gets
    assert len(optimizer.means) == 81 and not optimizer.means[0].any()
    again = Optimizer(np.zeros(12), 0.3, 8, seed=3)
    np.random.seed(0)  # numpy's global generator is none of its business
    again.replay(log)
    assert np.array_equal(again.means, optimizer.means)
    assert np.array_equal(again.ask(), optimizer.ask())


def test_an_average_of_means_wanders_less():
    optimizer, _ = searched(80)
    assert np.array_equal(optimizer.average(1), optimizer.means[-1])
    assert np.allclose(optimizer.average(20), np.mean(optimizer.means[-20:], axis=0))
    assert np.square(optimizer.average(20) - 1).sum() < np.square(optimizer.means[-1] - 1).sum()


def test_a_log_that_cannot_be_repeated_is_refused():
    _, log = searched(8)
    log[5]["candidates_sum"] += 1
    with pytest.raises(AwmError, match="Generation 5 of the log cannot be repeated"):
        Optimizer(np.zeros(12), 0.3, 8, seed=3).replay(log)
    with pytest.raises(AwmError, match="Generation 0"):
        Optimizer(np.zeros(12), 0.3, 8, seed=4).replay(log)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_fitness_that_is_not_finite_is_refused(value):
    optimizer = Optimizer(np.zeros(12), 0.3, 8, seed=3)
    with pytest.raises(AwmError, match="not a finite number"):
        optimizer.tell(optimizer.ask(), [1.0] * 7 + [value])
    assert len(optimizer.means) == 1
