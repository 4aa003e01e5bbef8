"""How well a score ranks melanoma above the rest, independent of any threshold."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64

from melanoma_ray.metrics.inputs import require_both_kinds, require_paired, require_score
from melanoma_ray.metrics.intervals import Z_95, Estimate, wilson_interval


class RocCurve(NamedTuple):
    """A ROC curve: a point for each distinct score, from (0, 0) to (1, 1)."""

    fpr: Float64[np.ndarray, " point"]
    """1 - specificity of each point, not decreasing."""
    tpr: Float64[np.ndarray, " point"]
    """Sensitivity of each point, not decreasing."""
    thresholds: Float64[np.ndarray, " point"]
    """Threshold whose rule ``score >= threshold`` gives the point, decreasing; the first one is infinite."""


def midranks(score: Float[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """Return the rank of each score, from 1 for the lowest; equal scores get their mean rank.

    >>> midranks(np.array([0.1, 0.6, 0.6, 0.9])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    _, inverse, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2
    return np.asarray(rank[inverse], dtype=np.float64)


def auroc(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> float:
    """Return the probability that a positive image scores above a negative one; a tie counts half.

    Args:
        score: Score of each image, finite, higher for positive ones.
        is_positive: Whether each image is positive in truth.

    Raises:
        MetricError: All images are of one kind, the shapes differ, or a score isn't finite.

    References:
        Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.

    >>> auroc(np.array([0.9, 0.6, 0.6, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    _require_rankable(score, is_positive)
    num_positive = int(np.count_nonzero(is_positive))
    num_negative = is_positive.size - num_positive
    lowest_sum = num_positive * (num_positive + 1) / 2
    return (float(midranks(score)[is_positive].sum()) - lowest_sum) / (num_positive * num_negative)


def estimate_auroc(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> Estimate:
    """Return the AUROC with DeLong's 95 % interval, computed on the logit scale so that it stays in (0, 1).

    DeLong's variance is zero where the score separates the two kinds perfectly, and undefined with a single image of a
    kind; the interval would have no width. In these cases disjoint pairs (one positive, one negative) are used as
    independent trials whose mean is the AUROC: Wilson's interval over as many pairs as the rarer kind allows is valid
    and wider.

    Raises:
        MetricError: As for ``auroc``.

    References:
        DeLong 1988, doi:10.2307/2531595; by midranks: Sun & Xu 2014, doi:10.1109/LSP.2014.2337313.
    """
    value = auroc(score, is_positive)
    num_positive = int(np.count_nonzero(is_positive))
    num_pairs = min(num_positive, is_positive.size - num_positive)
    variance = _delong_variance(score, is_positive) if num_pairs > 1 else 0.0
    if variance == 0 or value in {0.0, 1.0}:
        low, high = wilson_interval(value * num_pairs, num_pairs)
    else:
        low, high = _logit_interval(value, math.sqrt(variance))
    return Estimate(value=value, low=low, high=high, numerator=None, denominator=is_positive.size)


def roc_curve(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> RocCurve:
    """Return sensitivity against 1 - specificity at every distinct score.

    Raises:
        MetricError: As for ``auroc``.
    """
    _require_rankable(score, is_positive)
    order = np.argsort(-score, kind="stable")
    descending = score[order]
    is_last_of_tie = np.append(np.diff(descending) != 0, True)
    true_positives = np.cumsum(is_positive[order])[is_last_of_tie]
    false_positives = np.cumsum(~is_positive[order])[is_last_of_tie]
    return RocCurve(
        fpr=np.concatenate(([0.0], false_positives / false_positives[-1])),
        tpr=np.concatenate(([0.0], true_positives / true_positives[-1])),
        thresholds=np.concatenate(([np.inf], descending[is_last_of_tie])).astype(np.float64),
    )


def _require_rankable(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> None:
    require_paired(score, is_positive)
    require_score(score)
    require_both_kinds(is_positive)


def _delong_variance(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> float:
    """Return DeLong's variance of the AUROC: from the share of the other kind that each image ranks above."""
    rank = midranks(score)
    positive, negative = score[is_positive], score[~is_positive]
    above = (rank[is_positive] - midranks(positive)) / negative.size
    below = (rank[~is_positive] - midranks(negative)) / positive.size
    return float(above.var(ddof=1) / positive.size + below.var(ddof=1) / negative.size)


def _logit_interval(value: float, standard_error: float) -> tuple[float, float]:
    """Return value ± 1.96 standard errors on the logit scale, by the delta method."""
    logit = math.log(value / (1 - value))
    half_width = Z_95 * standard_error / (value * (1 - value))
    # The logistic function in terms of tanh, which can't overflow however large half_width is in a small sample.
    low = (1 + math.tanh((logit - half_width) / 2)) / 2
    high = (1 + math.tanh((logit + half_width) / 2)) / 2
    return low, high
