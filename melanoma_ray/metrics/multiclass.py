"""Metrics over all diagnoses: the confusion matrix, and balanced accuracy, in which each diagnosis counts the same."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Int64, Shaped

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_diagnosis, require_paired
from melanoma_ray.metrics.intervals import Estimate


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
        predicted: Predicted class number of each image.
        target: Target of each image.
        num_diagnoses: Number of diagnoses.

    Raises:
        MetricError: As for ``confusion_matrix``.

    >>> balanced_accuracy(np.array([0, 0, 0, 0]), np.array([0, 0, 0, 1]), 2)  # all are called the frequent one
    0.5
    """
    matrix = confusion_matrix(predicted, target, num_diagnoses)
    return float(_mean_recall(np.diagonal(matrix), matrix.sum(axis=1)))


def estimate_balanced_accuracy(
    predicted: Int[np.ndarray, " image"],
    target: Int[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"],
    num_diagnoses: int,
    seed: int = 0,
    num_resamples: int = 2000,
) -> Estimate:
    """Return the balanced accuracy with a bootstrapped 95 % interval that resamples whole groups.

    Images of one lesion aren't independent, so lesions are resampled, not images. They are resampled within their
    diagnosis: otherwise a rare diagnosis would be absent from many resamples, whose value would be the mean of other
    recalls than the metric itself. The interval shows only the variation among the lesions: if all are predicted
    correctly, or each is the only one of its diagnosis, it has no width.

    Args:
        predicted: Predicted class number of each image.
        target: Target of each image.
        group: Lesion, patient or other unit of each image; strings or numbers.
        num_diagnoses: Number of diagnoses.
        seed: Seed of the resampling.
        num_resamples: Number of resamples, 1 or more.

    Raises:
        MetricError: As for ``confusion_matrix``, or ``num_resamples`` is not positive.

    References:
        Efron & Tibshirani 1993, doi:10.1201/9780429246593, chapters 13 (percentiles) and 8 (units, strata).
    """
    value = balanced_accuracy(predicted, target, num_diagnoses)
    require_paired(group, target)
    if num_resamples < 1:
        msg = f"num_resamples={num_resamples}: expected 1 or more"
        raise MetricError(msg)
    counts = _count_by_group(predicted, target, group, num_diagnoses)
    right, total = np.split(_resample(counts, np.random.default_rng(seed), num_resamples), 2, axis=1)
    low, high = np.quantile(_mean_recall(right, total), [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high), numerator=None, denominator=target.size)


def _mean_recall(
    right: Int[np.ndarray, "*resample diagnosis"], total: Int[np.ndarray, "*resample diagnosis"]
) -> Float[np.ndarray, "*resample"]:
    is_present = total > 0
    recall = right / np.maximum(total, 1)
    return np.asarray(recall.sum(axis=-1) / is_present.sum(axis=-1))


def _count_by_group(
    predicted: Int[np.ndarray, " image"],
    target: Int[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"],
    num_diagnoses: int,
) -> Int64[np.ndarray, "group right_then_total"]:
    """Return a row for each group: its correctly predicted images by diagnosis, then all its images by diagnosis."""
    names, index = np.unique(group, return_inverse=True)
    counts = np.zeros((names.size, 2 * num_diagnoses), dtype=np.int64)
    np.add.at(counts, (index, target), predicted == target)
    np.add.at(counts, (index, num_diagnoses + target), 1)
    return counts


def _resample(
    counts: Int64[np.ndarray, "group right_then_total"], rng: np.random.Generator, num_resamples: int
) -> Int64[np.ndarray, "resample right_then_total"]:
    """Return resamples: the groups of each diagnosis are drawn with replacement, and their counts added up.

    Groups with the same counts are interchangeable, so the draw is a multinomial one over the few distinct rows
    instead of thousands of groups: the same distribution, in milliseconds.
    """
    num_diagnoses = counts.shape[1] // 2
    stratum = counts[:, num_diagnoses:].argmax(axis=1)
    drawn = np.zeros((num_resamples, counts.shape[1]), dtype=np.int64)
    for diagnosis in np.unique(stratum):
        kinds, multiplicity = np.unique(counts[stratum == diagnosis], axis=0, return_counts=True)
        num_groups = int(multiplicity.sum())
        drawn += rng.multinomial(num_groups, multiplicity / num_groups, size=num_resamples) @ kinds
    return drawn
