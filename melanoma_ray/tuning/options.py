"""How a sweep searches, what it searches for, and when it stops trials or itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.runs.history import BEST_METRIC

Search = Literal["tpe", "random", "population"]
Stopping = Literal["asha", "hyperband", "none"]
Objective = Literal["balanced-accuracy", "melanoma-auroc", "specificity", "balanced-accuracy-and-latency"]
METRICS: dict[Objective, str] = {
    "balanced-accuracy": BEST_METRIC,
    "melanoma-auroc": "val_melanoma_auroc",
    "specificity": "val_specificity",
    "balanced-accuracy-and-latency": BEST_METRIC,
}
"""Field of ``EpochRecord`` for each objective; the largest value over a trial's epochs counts."""
WORDS: dict[Objective, str] = {
    "balanced-accuracy": "balanced accuracy",
    "melanoma-auroc": "melanoma AUROC",
    "specificity": "specificity at 95 % sensitivity",
    "balanced-accuracy-and-latency": "balanced accuracy",
}
"""Names of these metrics in sentences."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchOptions:
    """Everything about a sweep but its experiment, its space and its number of trials."""

    search: Search = "tpe"
    """How settings are proposed. tpe: by Optuna's tree-structured Parzen estimator, from the trials that have ended;
    random: independently; population: all trials train side by side for a generation, then the worst fifth goes on
    from the weights of the best fifth, with its settings varied (population based training, arXiv:1711.09846)."""
    stopping: Stopping = "asha"
    """Which trials are stopped early. asha: those in the worse half at 1, 2, 4 … epochs (asynchronous successive
    halving, arXiv:1810.05934); hyperband: the same with several first numbers of epochs (arXiv:1603.06560);
    none: no trial. With a population or two objectives no trial is stopped early."""
    objective: Objective = "balanced-accuracy"
    """What is searched for, on the validation split: balanced-accuracy; melanoma-auroc; specificity at 95 %
    sensitivity for melanoma; or balanced-accuracy-and-latency, the trade-off of balanced accuracy and the time of an
    image, for which no trial is stopped early."""
    patience: Annotated[int | None, Range(1)] = None
    """Number of ended trials without a better value after which the sweep stops early, 1 or more;
    none: all trials are done. Not for a population."""
    generation_epochs: Annotated[int, Range(1)] = 1
    """Number of epochs of a generation of a population, 1 or more; unused with other searches."""
    max_failures: Annotated[int, Range(0)] = 1
    """Number of failures of a trial from which it goes on at its newest progress, 0 or more; after one more it is
    recorded as failed, and the sweep goes on. With workers these are also started again once within each try."""

    def __post_init__(self) -> None:
        """Check ranges, and that the options don't contradict each other."""
        check_ranges(self)
        if self.is_population and self.has_latency:
            msg = (
                f"search=population, objective={self.objective}: a population is ranked by one figure; "
                "choose another objective, or search=tpe"
            )
            raise ConfigError(msg)
        if self.stopping == "hyperband" and (self.is_population or self.has_latency):
            why = "search=population" if self.is_population else f"objective={self.objective}"
            msg = f"stopping=hyperband: no trial is stopped early with {why}; leave it out"
            raise ConfigError(msg)
        if self.is_population and self.patience is not None:
            msg = f"patience={self.patience}: a population has a given number of generations; leave it out"
            raise ConfigError(msg)

    @property
    def is_population(self) -> bool:
        """Whether trials are the generations of a population."""
        return self.search == "population"

    @property
    def has_latency(self) -> bool:
        """Whether there are two objectives."""
        return self.objective == "balanced-accuracy-and-latency"

    @property
    def stops_trials(self) -> bool:
        """Whether trials can be stopped early at all."""
        return not self.is_population and not self.has_latency

    @property
    def metric(self) -> str:
        """Field of ``EpochRecord`` that ranks the trials; the larger, the better."""
        return METRICS[self.objective]
