"""The model's doubt: prediction sets, and the error that is left when doubtful images go to a person."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_share
from melanoma_ray.metrics.selective import RiskCoverage, measure_risk_coverage


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictionSets:
    """How the prediction sets of the answered images fare."""

    coverage: dict[str, Estimate]
    """Share of the images of each diagnosis whose set holds it; only diagnoses that have images."""
    mean_size: float
    """Mean number of diagnoses in a set."""
    single: Estimate
    """Share of the sets with exactly one diagnosis."""
    empty: Estimate
    """Share of the sets without any, because no diagnosis fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Uncertainty:
    """Figures of doubt; what isn't defined is none."""

    sets: PredictionSets | None
    """None also for a checkpoint that is older than prediction sets."""
    risk_coverage: RiskCoverage | None
    """Error of the predicted diagnosis by the share of images that remain, the most probable ones first."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return asdict(self)


def measure_uncertainty(answered: Scored, attempts: Attempts) -> Uncertainty:
    """Return the figures of doubt.

    Args:
        answered: Images with an answer.
        attempts: Where the reasons are kept why a figure isn't defined.
    """
    confidence = answered.predictions.probability.max(axis=1, initial=0)
    is_wrong = answered.predicted != answered.target
    return Uncertainty(
        sets=attempts.attempt("prediction_sets", lambda: _measure_sets(answered)),
        risk_coverage=attempts.attempt(
            "risk_coverage", lambda: measure_risk_coverage(confidence, is_wrong, answered.group)
        ),
    )


def _measure_sets(answered: Scored) -> PredictionSets | None:
    in_set, target, group = answered.predictions.in_set, answered.target, answered.group
    if in_set is None:
        return None
    size = in_set.sum(axis=1)
    single, empty = (estimate_share(size == number, group) for number in (1, 0))
    own = {number: target == number for number in np.unique(target[target >= 0])}
    return PredictionSets(
        coverage={
            answered.diagnoses[number]: estimate_share(in_set[is_own, number], group[is_own])
            for number, is_own in own.items()
        },
        mean_size=float(size.mean()),
        single=single,
        empty=empty,
    )
