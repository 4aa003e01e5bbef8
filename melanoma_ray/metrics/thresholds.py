"""Thresholds of a score, which are chosen on the validation split and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.inputs import require_scored

SENSITIVITIES = (1.0, 0.98, 0.95, 0.90, 0.85, 0.80)
"""Target sensitivities of a two-way table."""
SPECIFICITIES = (0.99, 0.95, 0.90, 0.80, 0.70, 0.50)
"""Target specificities of the reverse table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedThreshold:
    """A threshold, and what it was chosen for."""

    aim: Literal["sensitivity", "specificity"]
    target: float
    """Smallest sensitivity or specificity, in (0, 1], that it reached where it was chosen."""
    threshold: float
    """An image with this score or more is referred."""


def threshold_at_sensitivity(
    score: Float[np.ndarray, " image"], is_melanoma: Bool[np.ndarray, " image"], *, target_sensitivity: float
) -> float:
    """Return the largest threshold at which ``score >= threshold`` selects at least the target share of melanomas.

    The threshold is the score of a melanoma, so no value between two scores has to be chosen.

    Args:
        score: Score of each image, finite, higher for melanomas.
        is_melanoma: Whether each image is a melanoma in truth.
        target_sensitivity: Smallest share of melanomas to select, in (0, 1].

    Raises:
        MetricError: There is no melanoma, the shapes differ, a score isn't finite, the truth isn't boolean, or the
            target is out of its range.

    >>> score, is_melanoma = np.array([0.9, 0.6, 0.3, 0.7, 0.1]), np.array([True, True, True, False, False])
    >>> threshold_at_sensitivity(score, is_melanoma, target_sensitivity=0.66)
    0.6
    """
    require_scored(score, is_melanoma)
    if not 0 < target_sensitivity <= 1:
        msg = f"target_sensitivity={target_sensitivity}: expected (0, 1]"
        raise MetricError(msg)
    melanoma_score = np.sort(score[is_melanoma])[::-1]
    if melanoma_score.size == 0:
        msg = f"a threshold for sensitivity is undefined: no melanoma among {score.size} images"
        raise MetricError(msg)
    # Compared as k / n, not by ceil(target * n), because 0.07 * 100 is more than 7 in floating point.
    sensitivity = np.arange(1, melanoma_score.size + 1) / melanoma_score.size
    return float(melanoma_score[np.searchsorted(sensitivity, target_sensitivity)])


def threshold_at_specificity(
    score: Float[np.ndarray, " image"], is_melanoma: Bool[np.ndarray, " image"], *, target_specificity: float
) -> float:
    """Return the smallest threshold at which ``score >= threshold`` leaves at least the target share of the others.

    The threshold is the next number above the score of an image that is no melanoma.

    Args:
        score: Score of each image, finite, higher for melanomas.
        is_melanoma: Whether each image is a melanoma in truth.
        target_specificity: Smallest share of the others not to select, in (0, 1].

    Raises:
        MetricError: All images are melanomas, the shapes differ, a score isn't finite, the truth isn't boolean, or the
            target is out of its range.

    >>> score, is_melanoma = np.array([0.9, 0.6, 0.7, 0.1]), np.array([True, True, False, False])
    >>> 0.1 < threshold_at_specificity(score, is_melanoma, target_specificity=0.5) < 0.1000001
    True
    """
    require_scored(score, is_melanoma)
    if not 0 < target_specificity <= 1:
        msg = f"target_specificity={target_specificity}: expected (0, 1]"
        raise MetricError(msg)
    other_score = np.sort(score[~is_melanoma])
    if other_score.size == 0:
        msg = f"a threshold for specificity is undefined: all {score.size} images are melanoma"
        raise MetricError(msg)
    specificity = np.arange(1, other_score.size + 1) / other_score.size
    highest_left = other_score[np.searchsorted(specificity, target_specificity)]
    return float(np.nextafter(highest_left, np.array(np.inf, dtype=highest_left.dtype)))


def fix_thresholds(
    score: Float[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    *,
    sensitivities: tuple[float, ...] = SENSITIVITIES,
    specificities: tuple[float, ...] = SPECIFICITIES,
) -> tuple[FixedThreshold, ...]:
    """Return a threshold for each target, chosen on these images, which must be those of the validation split.

    Args:
        score: Score of each image, finite, higher for melanomas.
        is_melanoma: Whether each image is a melanoma in truth.
        sensitivities: Targets, each in (0, 1].
        specificities: Targets, each in (0, 1].

    Raises:
        MetricError: As for ``threshold_at_sensitivity`` and ``threshold_at_specificity``.
    """
    by_sensitivity = tuple(
        FixedThreshold(
            aim="sensitivity",
            target=target,
            threshold=threshold_at_sensitivity(score, is_melanoma, target_sensitivity=target),
        )
        for target in sensitivities
    )
    by_specificity = tuple(
        FixedThreshold(
            aim="specificity",
            target=target,
            threshold=threshold_at_specificity(score, is_melanoma, target_specificity=target),
        )
        for target in specificities
    )
    return by_sensitivity + by_specificity
