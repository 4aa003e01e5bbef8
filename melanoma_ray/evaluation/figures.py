"""All metrics of one checkpoint on one split, with their intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from melanoma_ray.errors import MetricError
from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.referral import Referral, measure_referral
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.uncertainty import Uncertainty, measure_uncertainty
from melanoma_ray.metrics.calibration import (
    CalibrationLine,
    ReliabilityBin,
    brier_score,
    estimate_brier_score,
    estimate_calibration_line,
    reliability_curve,
)
from melanoma_ray.metrics.calibration_error import (
    CalibrationError,
    estimate_calibration_error,
    expected_calibration_error,
)
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.multiclass import (
    DiagnosisFigures,
    confusion_matrix,
    estimate_balanced_accuracy,
    estimate_recalls,
    measure_diagnoses,
)
from melanoma_ray.metrics.proportions import estimate_sensitivity, estimate_share, estimate_specificity
from melanoma_ray.metrics.ranking import (
    RocCurve,
    estimate_auroc,
    estimate_average_precision,
    estimate_partial_auroc,
    roc_curve,
)
from melanoma_ray.metrics.tables import NetBenefit, OperatingPoint, decision_curve, measure_point


@dataclass(frozen=True, kw_only=True, slots=True)
class Details:
    """Figures beside the main ones; what isn't defined is none or empty."""

    average_precision: Estimate | None
    partial_auroc: Estimate | None
    """Above a sensitivity of 80 %, the score of the ISIC Challenge 2024; at most 0.2."""
    brier_score: Estimate | None
    calibration_error: CalibrationError | None
    calibration_line: CalibrationLine | None
    reliability: tuple[ReliabilityBin, ...]
    point: OperatingPoint | None
    """What follows from the decisions, at the prevalence of these images."""
    decision_curve: tuple[NetBenefit, ...]
    by_diagnosis: dict[str, DiagnosisFigures]
    """Each diagnosis of the model against the rest."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json; keys differ from those of the main figures."""
        plain = asdict(self)
        plain["brier_score_interval"] = plain.pop("brier_score")
        plain["operating_point"] = plain.pop("point")
        return plain


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Figures:
    """All metrics of an evaluation; one that isn't defined for these images is left out and listed as undefined."""

    estimates: dict[str, Estimate]
    """Estimates of accuracy, balanced_accuracy, melanoma_auroc, sensitivity and specificity."""
    recall: dict[str, Estimate]
    """Share of the images of each diagnosis that is recognised, by diagnosis; only diagnoses that have images."""
    apart: tuple[str, ...]
    """Diagnoses with too few groups to count in the balanced accuracy; they are listed separately."""
    calibration: dict[str, float]
    """brier_score and expected_calibration_error of the melanoma probability."""
    confusion: Int[np.ndarray, "target predicted"]
    """Number of images by true and predicted diagnosis."""
    roc: RocCurve | None
    """ROC curve of melanoma against the rest; none where it isn't defined."""
    details: Details
    referral: Referral
    uncertainty: Uncertainty
    num_images: int
    num_unknown: int
    """Number of images whose diagnosis the model doesn't have: they count as wrong and aren't in ``confusion``."""
    num_unanswered: int
    """Number of images without an answer: wrong, unassessable, and in no figure that needs a probability."""
    undefined: dict[str, str] = field(default_factory=dict)
    """Reasons why metrics aren't defined, by metric."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return {
            "num_images": self.num_images,
            "num_unknown": self.num_unknown,
            "num_unanswered": self.num_unanswered,
            **{name: estimate.to_dict() for name, estimate in self.estimates.items()},
            **self.calibration,
            "recall": {name: estimate.to_dict() for name, estimate in self.recall.items()},
            "apart": list(self.apart),
            "confusion": self.confusion.tolist(),
            **self.details.to_dict(),
            "referral": self.referral.to_dict(),
            "uncertainty": self.uncertainty.to_dict(),
            "undefined": self.undefined,
        }


def measure(scored: Scored, *, min_groups: int = 1) -> Figures:
    """Return every metric that is defined for these images.

    Args:
        scored: Predictions and true diagnoses.
        min_groups: Smallest number of groups with which a diagnosis counts in the balanced accuracy. One with fewer is
            listed separately, because a single image of it would weigh as much as hundreds of another diagnosis. Its
            images count in all other metrics.
    """
    melanoma, target, group = scored.is_melanoma, scored.target, scored.group
    predicted, is_answered = scored.predicted, scored.predictions.is_answered
    answered = scored.select(is_answered)
    score, scored_melanoma = answered.score, answered.is_melanoma
    known = target >= 0
    num_diagnoses = len(scored.diagnoses)
    confusion = np.zeros((num_diagnoses, num_diagnoses), np.int64)
    if (known & is_answered).any():
        confusion = confusion_matrix(predicted[known & is_answered], target[known & is_answered], num_diagnoses)
    num_groups = np.array([len(np.unique(group[target == i])) for i in range(num_diagnoses)])
    balanced = known & (num_groups >= min_groups)[target]
    attempts = Attempts()
    attempt = attempts.attempt
    estimates = {
        "accuracy": attempt("accuracy", lambda: _estimate_accuracy(scored)),
        "balanced_accuracy": attempt(
            "balanced_accuracy",
            lambda: estimate_balanced_accuracy(predicted[balanced], target[balanced], group[balanced], num_diagnoses),
        ),
        "melanoma_auroc": attempt("melanoma_auroc", lambda: estimate_auroc(score, scored_melanoma, answered.group)),
        "sensitivity": attempt("sensitivity", lambda: estimate_sensitivity(scored.is_referred, melanoma, group)),
        "specificity": attempt("specificity", lambda: estimate_specificity(scored.is_referred, melanoma, group)),
    }
    calibration = {
        "brier_score": attempt("brier_score", lambda: brier_score(score, scored_melanoma)),
        "expected_calibration_error": attempt(
            "expected_calibration_error", lambda: expected_calibration_error(score, scored_melanoma)
        ),
    }
    recalls = attempt("recall", lambda: estimate_recalls(predicted[known], target[known], group[known], num_diagnoses))
    return Figures(
        estimates={name: estimate for name, estimate in estimates.items() if estimate is not None},
        recall={scored.diagnoses[number]: estimate for number, estimate in (recalls or {}).items()},
        apart=tuple(scored.diagnoses[i] for i in np.flatnonzero((num_groups > 0) & (num_groups < min_groups))),
        calibration={name: value for name, value in calibration.items() if value is not None},
        confusion=confusion,
        roc=attempt("roc", lambda: roc_curve(score, scored_melanoma)),
        details=_measure_details(answered, attempts),
        referral=measure_referral(scored, attempts),
        uncertainty=measure_uncertainty(answered, attempts),
        num_images=len(target),
        num_unknown=int((target < 0).sum()),
        num_unanswered=int((~is_answered).sum()),
        undefined=attempts.undefined,
    )


def _estimate_accuracy(scored: Scored) -> Estimate:
    _require_known(scored)
    return estimate_share((scored.predicted == scored.target) & scored.predictions.is_answered, scored.group)


def _measure_each(scored: Scored) -> tuple[DiagnosisFigures, ...]:
    _require_known(scored)
    probability = scored.predictions.probability
    return measure_diagnoses(probability, scored.target, scored.group, predicted=scored.predicted)


def _require_known(scored: Scored) -> None:
    if len(scored.target) and not (scored.target >= 0).any():
        msg = "no image has a diagnosis of the model"
        raise MetricError(msg)


def _measure_details(scored: Scored, attempts: Attempts) -> Details:
    melanoma, score, group = scored.is_melanoma, scored.score, scored.group
    attempt = attempts.attempt
    by_diagnosis = attempt("by_diagnosis", lambda: _measure_each(scored))
    return Details(
        average_precision=attempt("average_precision", lambda: estimate_average_precision(score, melanoma, group)),
        partial_auroc=attempt("partial_auroc", lambda: estimate_partial_auroc(score, melanoma, group)),
        brier_score=attempt("brier_score", lambda: estimate_brier_score(score, melanoma, group)),
        calibration_error=attempt("calibration_error", lambda: estimate_calibration_error(score, melanoma, group)),
        calibration_line=attempt("calibration_line", lambda: estimate_calibration_line(score, melanoma, group)),
        reliability=attempt("reliability", lambda: reliability_curve(score, melanoma, group)) or (),
        point=attempt("operating_point", lambda: measure_point(scored.is_referred, melanoma, group)),
        decision_curve=attempt("decision_curve", lambda: decision_curve(score, melanoma, group)) or (),
        by_diagnosis=dict(zip(scored.diagnoses, by_diagnosis or (), strict=False)),
    )
