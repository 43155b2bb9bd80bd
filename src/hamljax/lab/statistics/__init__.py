"""Statistics over runs and tasks: estimates, their intervals, comparisons, and how many runs they take.

It stands on numpy and scipy alone. Scores are ``Scores`` or arrays (runs, tasks, ...); a single task is ``x[:, None]``.
"""

from .aggregates import (
    AGGREGATES,
    improvement_by_task,
    iqm,
    mean,
    median,
    optimality_gap,
    share_above,
    task_means,
)
from .comparison import (
    CORRECTIONS,
    TESTS,
    Comparison,
    benjamini_hochberg,
    compare,
    holm,
    mann_whitney,
    mean_difference,
    more_runs,
    paired_t,
    smallest_p,
    welch,
)
from .intervals import (
    FEW,
    Estimate,
    aggregates,
    bootstrap,
    difference,
    performance_profile,
    probability_of_improvement,
    sample_efficiency,
    student_t,
)
from .planning import power, runs_for_half_width, runs_to_tell_apart, sd_of_win_rates
from .scores import Scores

__all__ = [
    "AGGREGATES",
    "CORRECTIONS",
    "FEW",
    "TESTS",
    "Comparison",
    "Estimate",
    "Scores",
    "aggregates",
    "benjamini_hochberg",
    "bootstrap",
    "compare",
    "difference",
    "holm",
    "improvement_by_task",
    "iqm",
    "mann_whitney",
    "mean",
    "mean_difference",
    "median",
    "more_runs",
    "optimality_gap",
    "paired_t",
    "performance_profile",
    "power",
    "probability_of_improvement",
    "runs_for_half_width",
    "runs_to_tell_apart",
    "sample_efficiency",
    "sd_of_win_rates",
    "share_above",
    "smallest_p",
    "student_t",
    "task_means",
    "welch",
]
