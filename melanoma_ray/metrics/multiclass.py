"""Metrics over all diagnoses: the confusion matrix, balanced accuracy, and each diagnosis against the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, Shaped

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import Clusters
from melanoma_ray.metrics.inputs import require_diagnosis, require_paired, require_score
from melanoma_ray.metrics.intervals import SPARSE_BELOW, Estimate, mover_interval
from melanoma_ray.metrics.proportions import (
    estimate_ppv,
    estimate_sensitivity,
    estimate_share,
    estimate_specificity,
    measure_share,
)
from melanoma_ray.metrics.ranking import estimate_auroc


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisFigures:
    """One diagnosis against the rest; what isn't defined is none."""

    sensitivity: Estimate | None
    """Share of its images that are called it; none: it has no images."""
    specificity: Estimate | None
    """Share of the other images that aren't called it; none: there are no others."""
    ppv: Estimate | None
    """Share of the images called it that are it; none: no image is called it."""
    f1: Estimate | None
    """Harmonic mean of sensitivity and PPV; none: no image is it or is called it."""
    auroc: Estimate | None
    """Of its probability; none: it has no images, or there are no others."""


def confusion_matrix(
    predicted: Int[np.ndarray, " image"], target: Int[np.ndarray, " image"], num_diagnoses: int
) -> Int64[np.ndarray, "target predicted"]:
    """Return the number of images by true (rows) and predicted (columns) diagnosis.

    Args:
        predicted: Predicted class number of each image.
        target: Target of each image.
        num_diagnoses: Number of diagnoses.

    Raises:
        MetricError: There are no images, the shapes differ, or a class number is outside [0, num_diagnoses).

    >>> confusion_matrix(np.array([1, 1, 0]), np.array([0, 0, 0]), 2).tolist()
    [[1, 2], [0, 0]]
    """
    require_paired(predicted, target)
    require_diagnosis(predicted, num_diagnoses)
    require_diagnosis(target, num_diagnoses)
    cell = target.astype(np.int64) * num_diagnoses + predicted
    return np.bincount(cell, minlength=num_diagnoses**2).reshape(num_diagnoses, num_diagnoses)


def balanced_accuracy(
    predicted: Int[np.ndarray, " image"], target: Int[np.ndarray, " image"], num_diagnoses: int
) -> float:
    """Return the mean recall over the diagnoses that are present.

    Args:
        predicted: Predicted class number of each image; -1: there is no answer, which is wrong.
        target: Target of each image.
        num_diagnoses: Number of diagnoses.

    Raises:
        MetricError: As for ``confusion_matrix``.

    >>> balanced_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]), 2)  # all are called the frequent one
    0.5
    """
    require_paired(predicted, target)
    require_diagnosis(np.maximum(predicted, 0) if predicted.min() == -1 else predicted, num_diagnoses)
    require_diagnosis(target, num_diagnoses)
    total = np.bincount(target, minlength=num_diagnoses)
    right = np.bincount(target[predicted == target], minlength=num_diagnoses)
    return float((right[total > 0] / total[total > 0]).mean())


def estimate_balanced_accuracy(
    predicted: Int[np.ndarray, " image"],
    target: Int[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None,
    num_diagnoses: int,
) -> Estimate:
    """Return the balanced accuracy with a 95 % interval from the intervals of the recalls.

    A resampling of the lesions shows no variation in a diagnosis whose nine images are all right; the recalls' own
    intervals do. The recalls vary together where a group, such as a patient, has images of several diagnoses. It is
    sparse where a single diagnosis has fewer than ``SPARSE_BELOW`` groups, since that one weighs as much as the others.

    Args:
        predicted: Predicted class number of each image; -1: there is no answer, which is wrong.
        target: Target of each image.
        group: Lesion, patient or other unit of each image; strings or numbers; none: each image is its own.
        num_diagnoses: Number of diagnoses.

    Raises:
        MetricError: As for ``confusion_matrix``.

    References:
        As for ``mover_interval``, ``measure_share`` and ``share_interval``.
    """
    value = balanced_accuracy(predicted, target, num_diagnoses)
    clusters = Clusters.build(group, target)
    is_right = predicted == target
    present = [target == diagnosis for diagnosis in np.unique(target)]
    shares = [measure_share(is_right[chosen], clusters.select(chosen)) for chosen in present]
    recalls = [share.estimate() for share in shares]
    low, high = mover_interval(recalls, _correlate(is_right, present, clusters))
    num_groups = min(share.num_groups for share in shares)
    return Estimate(
        value=value,
        low=low,
        high=high,
        numerator=None,
        denominator=target.size,
        num_groups=num_groups,
        is_sparse=num_groups < SPARSE_BELOW,
    )


def estimate_recalls(
    predicted: Int[np.ndarray, " image"],
    target: Int[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None,
    num_diagnoses: int,
) -> dict[int, Estimate]:
    """Return, by class number, the share of a diagnosis's images that are recognised; only of those with images.

    Args:
        predicted: Predicted class number of each image.
        target: Target of each image; others than [0, num_diagnoses) are in no recall.
        group: Lesion or patient of each image; none: each image is its own.
        num_diagnoses: Number of diagnoses.

    Raises:
        MetricError: There are no images, or the shapes differ.
    """
    require_paired(predicted, target)
    clusters = Clusters.build(group, target)
    found: dict[int, Estimate] = {}
    for diagnosis in range(num_diagnoses):
        chosen = target == diagnosis
        if chosen.any():
            found[diagnosis] = measure_share(predicted[chosen] == diagnosis, clusters.select(chosen)).estimate()
    return found


def measure_diagnoses(
    probability: Float[np.ndarray, "image diagnosis"],
    target: Int[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
    *,
    predicted: Int[np.ndarray, " image"] | None = None,
) -> tuple[DiagnosisFigures, ...]:
    """Return each diagnosis against the rest.

    Args:
        probability: Probability of each diagnosis for each image.
        target: Target of each image; another number than a column's is a diagnosis that the model doesn't know.
        group: Lesion or patient of each image; none: each image is its own.
        predicted: What each image is called; none: the most probable diagnosis, the first of equals.

    Raises:
        MetricError: There are no images, the shapes differ, or a probability isn't finite.
    """
    if probability.ndim != 2:
        msg = f"shape {probability.shape}: expected a row for each image and a column for each diagnosis"
        raise MetricError(msg)
    require_paired(probability[:, 0], target)
    require_score(probability)
    called = probability.argmax(axis=1) if predicted is None else predicted
    require_paired(called, target)
    groups = Clusters.build(group, target).index
    return tuple(
        _measure_diagnosis(probability[:, number], called == number, target == number, groups)
        for number in range(probability.shape[1])
    )


def _measure_diagnosis(
    probability: Float[np.ndarray, " image"],
    is_called: Bool[np.ndarray, " image"],
    is_it: Bool[np.ndarray, " image"],
    group: Int64[np.ndarray, " image"],
) -> DiagnosisFigures:
    has_images, has_others = bool(is_it.any()), not bool(is_it.all())
    return DiagnosisFigures(
        sensitivity=estimate_sensitivity(is_called, is_it, group) if has_images else None,
        specificity=estimate_specificity(is_called, is_it, group) if has_others else None,
        ppv=estimate_ppv(is_called, is_it, group) if is_called.any() else None,
        f1=_estimate_f1(is_called, is_it, group) if has_images or is_called.any() else None,
        auroc=estimate_auroc(probability, is_it, group) if has_images and has_others else None,
    )


def _estimate_f1(
    is_called: Bool[np.ndarray, " image"], is_it: Bool[np.ndarray, " image"], group: Int64[np.ndarray, " image"]
) -> Estimate:
    """Return F1 by way of Jaccard's index, a plain share of which it is a rising function: F1 = 2 J / (1 + J)."""
    counts = is_called | is_it
    jaccard = estimate_share((is_called & is_it)[counts], group[counts])
    value, low, high = (2 * end / (1 + end) for end in (jaccard.value, jaccard.low, jaccard.high))
    return Estimate(
        value=value,
        low=low,
        high=high,
        numerator=None,
        denominator=jaccard.denominator,
        num_groups=jaccard.num_groups,
        is_sparse=jaccard.is_sparse,
    )


def _correlate(
    is_right: Bool[np.ndarray, " image"], present: list[np.ndarray], clusters: Clusters
) -> Float64[np.ndarray, "diagnosis diagnosis"]:
    """Return how the recalls vary together over groups; 0 where a group never has two diagnoses."""
    deviations = np.stack(
        [clusters.add_up(np.where(chosen, is_right - is_right[chosen].mean(), 0.0)) for chosen in present]
    )
    covariance = deviations @ deviations.T
    scale = np.sqrt(np.diagonal(covariance))
    scale[scale == 0] = np.inf
    correlation = covariance / np.outer(scale, scale)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(correlation)
