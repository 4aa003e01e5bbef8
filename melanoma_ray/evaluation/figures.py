"""All metrics of one checkpoint on one split, with their intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Int

from melanoma_ray.diagnoses import MELANOMA, class_numbers
from melanoma_ray.errors import MetricError
from melanoma_ray.inference.predictor import Predictions
from melanoma_ray.metrics.calibration import brier_score, expected_calibration_error
from melanoma_ray.metrics.intervals import Estimate, estimate_share
from melanoma_ray.metrics.multiclass import confusion_matrix, estimate_balanced_accuracy
from melanoma_ray.metrics.proportions import estimate_accuracy, estimate_sensitivity, estimate_specificity
from melanoma_ray.metrics.ranking import RocCurve, estimate_auroc, roc_curve


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """The predictions for a split's images, with their true diagnoses."""

    predictions: Predictions
    target: Int[np.ndarray, " image"]
    """Target of each image; -1 for a diagnosis that the model doesn't have."""
    group: Int[np.ndarray, " image"]
    """Number of each image's group, because images of one group, such as one lesion, aren't independent."""
    diagnoses: tuple[str, ...]
    referred: tuple[str, ...] = (MELANOMA,)
    """Diagnoses that must be referred: melanomas, or where no class is one, malignant ones."""

    @property
    def predicted(self) -> Int[np.ndarray, " image"]:
        """Class number of the most probable diagnosis of each image."""
        return np.asarray(self.predictions.probability.argmax(axis=1))

    @property
    def is_melanoma(self) -> np.ndarray:
        """Whether each image is a melanoma in truth."""
        return np.isin(self.target, class_numbers([n for n in self.referred if n in self.diagnoses], self.diagnoses))

    @property
    def is_referred(self) -> np.ndarray:
        """Whether the decision for each image is to refer it."""
        return np.array([decision == "refer" for decision in self.predictions.decision])


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
    num_images: int
    num_unknown: int
    """Number of images whose diagnosis the model doesn't have: they count as wrong and aren't in ``confusion``."""
    undefined: dict[str, str] = field(default_factory=dict)
    """Reasons why metrics aren't defined, by metric."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return {
            "num_images": self.num_images,
            "num_unknown": self.num_unknown,
            **{name: estimate.to_dict() for name, estimate in self.estimates.items()},
            **self.calibration,
            "recall": {name: estimate.to_dict() for name, estimate in self.recall.items()},
            "apart": list(self.apart),
            "confusion": self.confusion.tolist(),
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
    melanoma, score = scored.is_melanoma, scored.predictions.melanoma_probability
    known = scored.target >= 0
    num_diagnoses = len(scored.diagnoses)
    confusion = confusion_matrix(scored.predicted[known], scored.target[known], num_diagnoses)
    num_images = confusion.sum(axis=1)
    num_groups = np.array([len(np.unique(scored.group[scored.target == i])) for i in range(num_diagnoses)])
    balanced = known & (num_groups >= min_groups)[scored.target]
    undefined: dict[str, str] = {}

    def attempt(name: str, compute: Callable[[], Any]) -> dict[str, Any]:
        try:
            return {name: compute()}
        except MetricError as error:
            undefined[name] = str(error)
            return {}

    estimates = (
        attempt("accuracy", lambda: estimate_accuracy(scored.predicted, scored.target))
        | attempt(
            "balanced_accuracy",
            lambda: estimate_balanced_accuracy(
                scored.predicted[balanced], scored.target[balanced], scored.group[balanced], num_diagnoses
            ),
        )
        | attempt("melanoma_auroc", lambda: estimate_auroc(score, melanoma))
        | attempt("sensitivity", lambda: estimate_sensitivity(scored.is_referred, melanoma))
        | attempt("specificity", lambda: estimate_specificity(scored.is_referred, melanoma))
    )
    calibration = attempt("brier_score", lambda: brier_score(score, melanoma)) | attempt(
        "expected_calibration_error", lambda: expected_calibration_error(score, melanoma)
    )
    return Figures(
        estimates=estimates,
        recall={
            scored.diagnoses[i]: estimate_share(int(confusion[i, i]), int(num_images[i]))
            for i in np.flatnonzero(num_images)
        },
        apart=tuple(scored.diagnoses[i] for i in np.flatnonzero((num_groups > 0) & (num_groups < min_groups))),
        calibration=calibration,
        confusion=confusion,
        roc=attempt("roc", lambda: roc_curve(score, melanoma)).get("roc"),
        num_images=len(scored.target),
        num_unknown=int((~known).sum()),
        undefined=undefined,
    )
