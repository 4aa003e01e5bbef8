"""Checks of the metrics' arguments, so that no metric is silently NaN and none answers another question."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Num, Shaped

from melanoma_ray.errors import MetricError


def require_paired(first: Shaped[np.ndarray, "*first"], second: Shaped[np.ndarray, "*second"]) -> None:
    """Refuse anything but two vectors with one entry for each image.

    Raises:
        MetricError: The shapes differ, the arrays aren't vectors, or there are no images.
    """
    if first.shape != second.shape:
        msg = f"shapes {first.shape} and {second.shape} differ: expected one entry for each image in both"
        raise MetricError(msg)
    if first.ndim != 1:
        msg = f"shape {first.shape}: expected a vector with one entry for each image"
        raise MetricError(msg)
    if first.size == 0:
        msg = "the figure is undefined: there are no images"
        raise MetricError(msg)


def require_truth(truth: Bool[np.ndarray, " image"]) -> None:
    """Refuse anything but booleans: ``~`` and indexing silently mean something else for integers.

    Raises:
        MetricError: The array isn't boolean.
    """
    if truth.dtype != np.bool_:
        msg = f"yes or no is given as {truth.dtype}: expected booleans, such as target == melanoma"
        raise MetricError(msg)


def require_score(score: Num[np.ndarray, " image"]) -> None:
    """Refuse scores that can't be ranked.

    Raises:
        MetricError: A score is no number, NaN or infinite.
    """
    if score.dtype.kind not in "fiu":
        msg = f"scores are given as {score.dtype}: expected finite numbers"
        raise MetricError(msg)
    num_bad = int(np.count_nonzero(~np.isfinite(score)))
    if num_bad:
        msg = f"{num_bad} of {score.size} scores are NaN or infinite: expected finite numbers"
        raise MetricError(msg)


def require_scored(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> None:
    """Refuse what isn't a finite score and a truth for each image.

    Raises:
        MetricError: As for ``require_paired``, ``require_truth`` and ``require_score``.
    """
    require_paired(score, is_positive)
    require_truth(is_positive)
    require_score(score)


def require_probability(probability: Float[np.ndarray, " image"]) -> None:
    """Refuse numbers that aren't probabilities.

    Raises:
        MetricError: A value is NaN or outside [0, 1].
    """
    require_score(probability)
    if probability.min() < 0 or probability.max() > 1:
        msg = f"probabilities lie in [{probability.min():g}, {probability.max():g}]: expected [0, 1]"
        raise MetricError(msg)


def require_share(name: str, value: float) -> None:
    """Refuse a number that isn't strictly between 0 and 1.

    Raises:
        MetricError: The value is NaN, or outside (0, 1).
    """
    if not 0 < value < 1:
        msg = f"{name}={value}: expected (0, 1)"
        raise MetricError(msg)


def require_both_kinds(is_positive: Bool[np.ndarray, " image"]) -> None:
    """Refuse images that are all positive or all negative, among which a score separates nothing.

    Raises:
        MetricError: Only one kind is present.
    """
    num_positive = int(np.count_nonzero(is_positive))
    if num_positive in {0, is_positive.size}:
        found = "no positive" if num_positive == 0 else "nothing but positive"
        msg = f"the figure is undefined: {found} images among {is_positive.size}"
        raise MetricError(msg)


def require_diagnosis(index: Int[np.ndarray, " image"], num_diagnoses: int) -> None:
    """Refuse class numbers of no diagnosis; as an array index a negative one would silently count from the end.

    Raises:
        MetricError: A class number is no integer, or outside [0, num_diagnoses).
    """
    if index.dtype.kind not in "iu":
        msg = f"diagnosis indices are given as {index.dtype}: expected integers"
        raise MetricError(msg)
    if index.min() < 0 or index.max() >= num_diagnoses:
        msg = f"diagnosis indices lie in [{index.min()}, {index.max()}]: expected 0 to {num_diagnoses - 1}"
        raise MetricError(msg)
