"""What the decisions do: who is referred, who can't be assessed, and what is left for routine, other cancers too."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from melanoma_ray.api import DECISIONS, Decision
from melanoma_ray.errors import MetricError
from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_sensitivity, estimate_share, estimate_specificity
from melanoma_ray.metrics.ranking import estimate_auroc


@dataclass(frozen=True, kw_only=True, slots=True)
class Referral:
    """Figures of the decisions; one that isn't defined is none."""

    unassessable: Estimate | None
    """Share of the images that can't be assessed."""
    sensitivity_unassessable_referred: Estimate | None
    """Sensitivity if a person looks at once at what can't be assessed, as the worklist asks for."""
    specificity_unassessable_referred: Estimate | None
    """Specificity in the same case."""
    sensitivity_assessed: Estimate | None
    """Sensitivity among the images that can be assessed, referred ones included."""
    specificity_assessed: Estimate | None
    """Specificity among the same."""
    malignancy_auroc: Estimate | None
    """Probability that any malignant lesion has a higher malignancy probability than one that is not malignant."""
    malignancy_sensitivity: Estimate | None
    """Share of all malignant images that are referred, whatever the threshold was chosen for."""
    by_decision: dict[Decision, dict[str, int]]
    """Number of images by decision and true diagnosis, most frequent first."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return asdict(self)


def measure_referral(scored: Scored, attempts: Attempts) -> Referral:
    """Return the figures of the decisions.

    Args:
        scored: Predictions and true diagnoses.
        attempts: Where the reasons are kept why a figure isn't defined.
    """
    attempt, group, melanoma = attempts.attempt, scored.group, scored.is_melanoma
    unassessable = scored.is_decided("unassessable")
    referred = scored.is_referred | unassessable
    assessed = scored.select(~unassessable)
    answered = scored.select(scored.predictions.is_answered)
    return Referral(
        unassessable=attempt("unassessable", lambda: estimate_share(unassessable, group)),
        sensitivity_unassessable_referred=attempt(
            "sensitivity_unassessable_referred", lambda: estimate_sensitivity(referred, melanoma, group)
        ),
        specificity_unassessable_referred=attempt(
            "specificity_unassessable_referred", lambda: estimate_specificity(referred, melanoma, group)
        ),
        sensitivity_assessed=attempt(
            "sensitivity_assessed",
            lambda: estimate_sensitivity(assessed.is_referred, assessed.is_melanoma, assessed.group),
        ),
        specificity_assessed=attempt(
            "specificity_assessed",
            lambda: estimate_specificity(assessed.is_referred, assessed.is_melanoma, assessed.group),
        ),
        malignancy_auroc=attempt(
            "malignancy_auroc",
            lambda: estimate_auroc(answered.malignancy_probability, _require_malignancy(answered), answered.group),
        ),
        malignancy_sensitivity=attempt(
            "malignancy_sensitivity",
            lambda: estimate_sensitivity(scored.is_referred, _require_malignancy(scored), group),
        ),
        by_decision={
            decision: dict(Counter(scored.truth[scored.is_decided(decision)].tolist()).most_common())
            for decision in DECISIONS
        },
    )


def _require_malignancy(scored: Scored) -> Bool[np.ndarray, " image"]:
    """Return which images are malignant; refuse where their diagnoses don't tell."""
    if not scored.tells_other_cancers:
        msg = "the diagnoses don't tell other cancers from benign lesions"
        raise MetricError(msg)
    return scored.is_malignant
