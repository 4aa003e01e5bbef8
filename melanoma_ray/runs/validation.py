"""Figures of a validation pass from sums that workers can add up: a confusion matrix and two histograms of scores.

A score is the log-odds that an image is to be referred. AUROC, and the specificity at a sensitivity, depend only on the
order of the scores, so histograms with narrow bins are enough: images in one bin count as tied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.multiclass import estimate_balanced_accuracy
from melanoma_ray.metrics.proportions import estimate_specificity
from melanoma_ray.metrics.ranking import estimate_auroc
from melanoma_ray.metrics.thresholds import threshold_at_sensitivity

NUM_BINS = 512
TARGET_SENSITIVITY = 0.95
"""Sensitivity at which the specificity is measured."""
_WIDEST = 10.0
"""Log-odds of the outermost bins; beyond them (probabilities below 0.00005) images count as tied."""


def count_scores(
    logits: Float[np.ndarray, "image diagnosis"], referred: Sequence[int], is_referred: Bool[np.ndarray, " image"]
) -> Float64[np.ndarray, "truth bin"]:
    """Return histograms of the scores: of images that aren't to be referred, and of those that are.

    Args:
        logits: Logits of each image; images without finite ones are left out.
        referred: Class numbers of the diagnoses that are to be referred.
        is_referred: Whether each image has one of them, in truth.
    """
    known = np.isfinite(logits).all(axis=1)
    chosen = np.isin(np.arange(logits.shape[1]), list(referred))
    if not chosen.any() or chosen.all():
        return np.zeros((2, NUM_BINS))
    wide = logits[known].astype(np.float64)
    score = np.logaddexp.reduce(wide[:, chosen], axis=1) - np.logaddexp.reduce(wide[:, ~chosen], axis=1)
    place = np.clip((score + _WIDEST) / (2 * _WIDEST) * NUM_BINS, 0, NUM_BINS - 1).astype(np.int64)
    truth = is_referred[known]
    return np.stack(
        [np.bincount(place[truth == kind], minlength=NUM_BINS).astype(np.float64) for kind in (False, True)]
    )


def measure_confusion(confusion: Int64[np.ndarray, "target predicted"]) -> Estimate:
    """Return the balanced accuracy with its interval, each image being its own unit.

    Args:
        confusion: Number of images by target and prediction.

    Raises:
        MetricError: There are no images.
    """
    # One entry for each image: row and column of each cell, repeated as often as the cell counts.
    target, predicted = (np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices(confusion.shape))
    return estimate_balanced_accuracy(predicted, target, None, len(confusion))


def measure_scores(scores: Float64[np.ndarray, "truth bin"]) -> dict[str, float | None]:
    """Return AUROC, and specificity at a sensitivity, by their fields of ``EpochRecord``; undefined ones: none.

    Args:
        scores: Sum of the workers' ``count_scores``.
    """
    whole = np.rint(scores).astype(np.int64)
    truth, place = (np.repeat(axis.ravel(), whole.ravel()) for axis in np.indices(whole.shape))
    score, is_referred = place.astype(np.float64), truth.astype(bool)
    return {
        **_fields("val_melanoma_auroc", lambda: estimate_auroc(score, is_referred)),
        **_fields("val_specificity", lambda: _specificity(score, is_referred)),
    }


def _specificity(score: Float64[np.ndarray, " image"], is_referred: Bool[np.ndarray, " image"]) -> Estimate:
    threshold = threshold_at_sensitivity(score, is_referred, target_sensitivity=TARGET_SENSITIVITY)
    return estimate_specificity(score >= threshold, is_referred)


def _fields(name: str, measure: Callable[[], Estimate]) -> dict[str, float | None]:
    try:
        found = measure()
    except MetricError:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
