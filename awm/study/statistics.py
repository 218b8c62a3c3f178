"""Every interval and every test of the study, with SciPy: which unit it counts, what it covers.

The unit of a claim about a kind of model is the *run*: one search, or one training. Laps are
many but belong to a run, so they say how well one agent is known and not what another search
finds. Two agents that are compared as they stand are compared track by track instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from awm.errors import AwmError

#: Of all intervals.
CONFIDENCE = 0.95

_ENDLESS = (-np.inf, np.inf)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, and p for that it is zero where that was tested."""

    value: float
    low: float
    high: float
    p: float | None = None
    df: float | None = None  #: degrees of freedom, where Student's t is behind it

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies on one side of zero, else 0: nothing is shown."""
        return int(self.low > 0) - int(self.high < 0)


@dataclass(frozen=True)
class Perfect:
    """On how many tracks either of two agents alone drove a perfect lap; p by McNemar's test."""

    first: int
    second: int
    p: float

    @property
    def sign(self) -> int:
        """1 or -1 if one of the two drives more of them (p < 0.05), else 0."""
        return 0 if self.p >= 1 - CONFIDENCE else (1 if self.first > self.second else -1)


def mean_of_runs(values: Sequence[float]) -> Estimate:
    """The mean of independent runs with Student's interval; AwmError below two."""
    runs = _runs(values)
    found = stats.ttest_1samp(runs, 0).confidence_interval(CONFIDENCE)
    return Estimate(float(runs.mean()), float(found.low), float(found.high))


def mean_of_laps(returns: Sequence[float]) -> tuple[float, float] | None:
    """The interval of an agent's mean over tracks: the percentile bootstrap's, as laps are skewed.

    10,000 resamples of a fixed seed; None below two laps.
    """
    if len(returns) < 2:
        return None
    sample = np.asarray(returns, np.float64)
    found = stats.bootstrap(
        (sample,), np.mean, n_resamples=10_000, method="percentile", rng=0,
        confidence_level=CONFIDENCE,
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def median_of_laps(returns: Sequence[float]) -> tuple[float, float] | None:
    """The interval of an agent's median over tracks, by order statistics; None below six laps."""
    found = stats.quantile_test(returns, q=0, p=0.5).confidence_interval(CONFIDENCE)
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None


def difference(ones: Sequence[float], others: Sequence[float]) -> Estimate:
    """The mean of one group of runs less that of another, by Welch's t-test.

    The groups are independent: searches of one seed share their tracks, and nothing comes of it
    (the effect of the seed is F = 1.0), so there is nothing to pair. Welch's test and not a
    variance pooled over all models, because the models need not vary alike: runs on an M carry
    the luck of its training too, and V alone has no M. That costs degrees of freedom, about 7
    for five runs against five instead of 24.

    A run counts once even where several drove with the same training of M. What such runs share
    is then not covered; `coverage` tells how much is missing.

    Raises:
        AwmError: if there are fewer than two runs on a side.
    """
    first, second = _runs(ones), _runs(others)
    found = stats.ttest_ind(first, second, equal_var=False)
    reach = found.confidence_interval(CONFIDENCE)
    gap = float(first.mean() - second.mean())
    return Estimate(gap, float(reach.low), float(reach.high), float(found.pvalue), float(found.df))


def coverage(
    training: float, trainings: Sequence[int] = (0, 0, 0, 1, 2), replicates: int = 2000
) -> float:
    """How often the interval of `difference` holds the truth if trainings of M differ, too.

    Simulated for two models that are equally good, each searched once for each entry of
    `trainings`, which names the training of its M that the search drove with. Searches on one M
    deviate by 1, and the Ms themselves by `training`, in the same unit: 0 where all Ms are alike,
    which gives 0.96, 0.5 gives 0.93 and 1 gives 0.88. The seed is fixed.
    """
    rng = np.random.default_rng(0)
    sides = []
    for _ in range(2):
        luck = training * rng.standard_normal((replicates, max(trainings) + 1))
        sides.append(luck[:, trainings] + rng.standard_normal((replicates, len(trainings))))
    found = stats.ttest_ind(*sides, axis=1, equal_var=False).confidence_interval(CONFIDENCE)
    return float(np.mean((found.low <= 0) & (found.high >= 0)))


def against_control(
    arms: Mapping[str, Sequence[float]], control: Sequence[float]
) -> dict[str, Estimate]:
    """Each arm's mean less the control's, with Dunnett's intervals and p (two-sided).

    They hold *simultaneously*: the chance that any of them misses is 5 %. The variance is pooled
    over all arms and the control, which suits trainings of networks of one size on one data set.

    Raises:
        AwmError: if an arm or the control has fewer than two runs.
    """
    samples = [_runs(values) for values in arms.values()]
    found = stats.dunnett(*samples, control=_runs(control), rng=np.random.default_rng(0))
    reach = found.confidence_interval(CONFIDENCE)
    rows = zip(arms, samples, reach.low, reach.high, found.pvalue, strict=True)
    return {
        name: Estimate(float(sample.mean() - np.mean(control)), float(low), float(high), float(p))
        for name, sample, low, high, p in rows
    }


def median_of_pairs(ones: Sequence[float], others: Sequence[float]) -> Estimate:
    """The median difference of two agents on the same tracks, one less the other.

    Its interval is that of the sign test (order statistics; without end below six tracks), p is
    Wilcoxon's signed-rank test's. It speaks of these two agents, and not of what another search
    would find.
    """
    gaps = np.asarray(ones, np.float64) - np.asarray(others, np.float64)
    if not gaps.any():  # the same agent, lap by lap
        return Estimate(0.0, 0.0, 0.0, 1.0)
    reach = stats.quantile_test(gaps, q=0, p=0.5).confidence_interval(CONFIDENCE)
    low, high = (end if np.isfinite(end) else far for end, far in zip(reach, _ENDLESS, strict=True))
    p = float(stats.wilcoxon(gaps).pvalue)
    return Estimate(float(np.median(gaps)), float(low), float(high), p)


def perfect_laps(ones: Sequence[bool], others: Sequence[bool]) -> Perfect:
    """Which of two agents drives more perfect laps on the same tracks: McNemar's exact test."""
    first, second = np.asarray(ones, bool), np.asarray(others, bool)
    only = int((first & ~second).sum()), int((second & ~first).sum())
    p = stats.binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
    return Perfect(*only, float(p))


def _runs(values: Sequence[float]) -> np.ndarray:
    if len(values) < 2:
        raise AwmError("One run has no interval. Repeat it with another seed.")
    return np.asarray(values, np.float64)
