"""Intervals and tests: that they hold what they say, and where they do not."""

import numpy as np
import pytest
from scipy import stats

from awm.errors import AwmError
from awm.study import statistics
from awm.study.statistics import Estimate


def test_a_mean_of_runs_has_students_interval():
    found = statistics.mean_of_runs([0, 1, 2])
    reach = stats.t.ppf(0.975, 2) / np.sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1 - reach, 1 + reach))


def test_one_run_has_no_interval():
    for ask in (
        lambda: statistics.mean_of_runs([1.0]),
        lambda: statistics.difference([1.0, 2.0], [1.0]),
        lambda: statistics.against_control({"a": [1.0, 2.0]}, [1.0]),
    ):
        with pytest.raises(AwmError, match="another seed"):
            ask()


def test_groups_of_runs_are_independent_and_may_vary_unlike():
    ones, others = [1.0, 2.0, 4.0], [0.0, 10.0, 20.0, 30.0]
    found = statistics.difference(ones, others)
    variances = [np.var(side, ddof=1) / len(side) for side in (ones, others)]
    df = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 3)  # Welch (1947)
    reach = stats.t.ppf(0.975, df) * np.sqrt(sum(variances))
    assert found.df == pytest.approx(df)
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))
    assert statistics.difference(ones, others[::-1]) == found, "no pair is made of the order"


@pytest.mark.parametrize("one, other", [(87, 87), (87, 130), (43, 130)])
def test_the_interval_covers_what_it_says_where_runs_are_independent(one, other):
    """A null simulation: five runs against five, 1,000 times, in points of return."""
    rng = np.random.default_rng(1)
    sides = [rng.normal(700, spread, (1000, 5)) for spread in (one, other)]
    held = [statistics.difference(*runs) for runs in zip(*sides, strict=True)]
    assert 0.94 <= np.mean([found.sign == 0 for found in held]) <= 0.975


def test_what_is_not_covered_is_known():
    """Searches that share trainings of M: the docstring's numbers, and the direction."""
    assert [round(statistics.coverage(t), 2) for t in (0, 0.5, 1)] == [0.96, 0.93, 0.88]
    assert statistics.coverage(1, trainings=(0, 1, 2, 3, 4)) >= 0.95, "an M for every search"
    assert statistics.coverage(1, trainings=(0, 0, 0, 0, 0)) < 0.7, "one M for all of them"


def test_a_control_is_compared_with_all_arms_at_once():
    rng = np.random.default_rng(2)
    arms = {name: rng.normal(shift, 1, 4) for name, shift in (("a", 5.0), ("b", 0.0))}
    control = rng.normal(0, 1, 4)
    found = statistics.against_control(arms, control)
    assert list(found) == ["a", "b"] and (found["a"].sign, found["b"].sign) == (1, 0)
    assert found["a"].p < 0.05 < found["b"].p
    assert found == statistics.against_control(arms, control), "its random numbers are fixed"
    sides = [*arms.values(), control]
    spread = np.sqrt(np.mean([np.var(side, ddof=1) for side in sides]) * (1 / 4 + 1 / 4))
    single = stats.t.ppf(0.975, 9) * spread
    assert found["b"].high - found["b"].value > single, "wider than one comparison by itself"


def test_arms_that_are_alike_are_rarely_told_apart():
    """Dunnett's intervals hold all at once: in 95 % of draws none of them misses."""
    rng = np.random.default_rng(3)
    draws = rng.normal(0, 1, (20, 4, 3))
    missed = [
        any(e.sign for e in statistics.against_control({"a": a, "b": b, "c": c}, d).values())
        for a, b, c, d in draws
    ]
    assert np.mean(missed) <= 0.1


def test_agents_are_compared_track_by_track():
    rng = np.random.default_rng(4)
    tracks = rng.normal(500, 300, 40)  # tracks differ far more than agents do
    ahead = statistics.median_of_pairs(tracks + rng.normal(4, 3, 40), tracks)
    assert ahead.sign == 1 and ahead.low < 4 < ahead.high and ahead.p < 1e-4
    same = statistics.median_of_pairs(tracks, tracks)
    assert same == Estimate(0, 0, 0, 1) and same.sign == 0
    few = statistics.median_of_pairs([2.0, 3.0, 4.0], [0.0, 0.0, 0.0])
    assert few.value == 3 and few.sign == 0, "three tracks cannot show anything"


def test_perfect_laps_are_counted_where_agents_differ():
    both, none = [True] * 80, [False] * 5
    found = statistics.perfect_laps(
        both + none + [True] * 12 + [False] * 3, both + none + [False] * 12 + [True] * 3
    )
    assert (found.first, found.second, found.sign) == (12, 3, 1)
    assert found.p == pytest.approx(2 * sum(stats.binom.pmf(k, 15, 0.5) for k in range(4)))
    assert statistics.perfect_laps(both, both).sign == 0


def test_laps_have_a_bootstrap_that_repeats():
    returns = [900.0, 905.0, 300.0, 910.0]
    low, high = statistics.mean_of_laps(returns)
    assert low < np.mean(returns) < high and (low, high) == statistics.mean_of_laps(returns)
    assert statistics.mean_of_laps([1.0]) is None


def test_a_median_of_laps_has_an_interval_of_laps():
    returns = np.random.default_rng(0).normal(900, 50, 100)
    low, high = statistics.median_of_laps(returns)
    assert low < np.median(returns) < high and {low, high} <= set(returns)
    assert statistics.median_of_laps([900.0] * 5) is None
