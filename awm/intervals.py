"""How far a mean may be off, for small samples: of seeds, of trainings, of paired tracks."""

from collections.abc import Sequence

from scipy import stats


def student_reach(sample: Sequence[float]) -> float:
    """Half the width of Student's 95 % interval of a sample's mean; at least two values."""
    return float(stats.t.ppf(0.975, len(sample) - 1) * stats.sem(sample))
