"""Checks of the metrics' arguments, so that no metric is silently NaN."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

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


def require_score(score: Float[np.ndarray, " image"]) -> None:
    """Refuse scores that can't be ranked.

    Raises:
        MetricError: A score is NaN or infinite.
    """
    num_bad = int(np.count_nonzero(~np.isfinite(score)))
    if num_bad:
        msg = f"{num_bad} of {score.size} scores are NaN or infinite: expected finite numbers"
        raise MetricError(msg)


def require_probability(probability: Float[np.ndarray, " image"]) -> None:
    """Refuse numbers that aren't probabilities.

    Raises:
        MetricError: A value is NaN or outside [0, 1].
    """
    require_score(probability)
    if probability.min() < 0 or probability.max() > 1:
        msg = f"probabilities lie in [{probability.min():g}, {probability.max():g}]: expected [0, 1]"
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
        MetricError: A class number is outside [0, num_diagnoses).
    """
    if index.min() < 0 or index.max() >= num_diagnoses:
        msg = f"diagnosis indices lie in [{index.min()}, {index.max()}]: expected 0 to {num_diagnoses - 1}"
        raise MetricError(msg)
