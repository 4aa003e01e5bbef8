"""How well a score ranks melanoma above the rest, independent of any threshold."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import Clusters, Spread, design_effect
from melanoma_ray.metrics.inputs import require_both_kinds, require_scored
from melanoma_ray.metrics.intervals import (
    SPARSE_BELOW,
    Estimate,
    moderated_interval,
    score_interval,
    share_interval,
)


class RocCurve(NamedTuple):
    """A ROC curve: a point for each distinct score, from (0, 0) to (1, 1)."""

    fpr: Float64[np.ndarray, " point"]
    """1 - specificity of each point, not decreasing."""
    tpr: Float64[np.ndarray, " point"]
    """Sensitivity of each point, not decreasing."""
    thresholds: Float64[np.ndarray, " point"]
    """Threshold whose rule ``score >= threshold`` gives the point, decreasing; the first one is infinite."""


class Ranking(NamedTuple):
    """A figure of a ranking, and how far each image moves it."""

    value: float
    influence: Float64[np.ndarray, " image"]
    """Deviation of the figure that each image makes; they sum to 0 among positives and among negatives."""


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
        MetricError: All images are of one kind, the shapes differ, a score isn't finite, or the truth isn't boolean.

    References:
        Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747.

    >>> auroc(np.array([0.9, 0.6, 0.6, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    require_rankable(score, is_positive)
    num_positive = int(np.count_nonzero(is_positive))
    num_negative = is_positive.size - num_positive
    lowest_sum = num_positive * (num_positive + 1) / 2
    return (float(midranks(score)[is_positive].sum()) - lowest_sum) / (num_positive * num_negative)


def estimate_auroc(
    score: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the AUROC with DeLong's 95 % interval over groups, moderated where melanomas are few or nearly all right.

    DeLong's variance is zero where the score separates the two kinds perfectly, and far too small where few images
    decide. There the interval leans on the variance that exponential scores would have on the effective numbers of
    images.

    Args:
        score: Score of each image, finite, higher for positive ones.
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: As for ``auroc``, or ``group`` hasn't an entry for each image.

    References:
        DeLong 1988, doi:10.2307/2531595; over groups: Obuchowski 1997, doi:10.2307/2533958; by midranks: Sun & Xu
        2014, doi:10.1109/LSP.2014.2337313; without a variance from the data: Newcombe 2006, doi:10.1002/sim.2324,
        method 5; how the two are joined: ``moderated_interval``.
    """
    ranking = rank_auroc(score, is_positive)
    clusters = Clusters.build(group, score)
    positive, negative = clusters.select(is_positive), clusters.select(~is_positive)
    num_positive = _effective(positive, ranking.influence[is_positive])
    num_negative = _effective(negative, ranking.influence[~is_positive])
    reference = score_interval(ranking.value, lambda true: _exponential_variance(true, num_positive, num_negative))
    return _estimate(ranking, is_positive, clusters, reference)


def average_precision(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> float:
    """Return the mean, over the positive images, of the PPV at each one's score.

    Args:
        score: Score of each image, finite, higher for positive ones.
        is_positive: Whether each image is positive in truth.

    Raises:
        MetricError: As for ``auroc``.

    References:
        scikit-learn's ``average_precision_score``; Zhu 2004, Recall, precision and average precision.

    >>> round(average_precision(np.array([0.9, 0.6, 0.5, 0.1]), np.array([True, False, True, False])), 4)
    0.8333
    """
    require_rankable(score, is_positive)
    return rank_average_precision(score, is_positive).value


def estimate_average_precision(
    score: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the average precision, at the prevalence of these images, with its 95 % interval over groups.

    Args:
        score: Score of each image, finite, higher for positive ones.
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: As for ``auroc``, or ``group`` hasn't an entry for each image.

    References:
        Interval on the logit scale, and the share of as many images as are positive as its reference: Boyd, Eng &
        Page 2013, doi:10.1007/978-3-642-40994-3_29.
    """
    ranking = rank_average_precision(score, is_positive)
    return _estimate_by_share(ranking, is_positive, Clusters.build(group, score))


def partial_auroc(
    score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"], *, min_sensitivity: float = 0.8
) -> float:
    """Return the area between the ROC curve and the line of a sensitivity, the score of the ISIC Challenge 2024.

    Args:
        score: Score of each image, finite, higher for positive ones.
        is_positive: Whether each image is positive in truth.
        min_sensitivity: In (0, 1); the area is at most 1 - ``min_sensitivity``.

    Raises:
        MetricError: As for ``auroc``, or ``min_sensitivity`` is out of its range.

    References:
        ISIC 2024 Challenge, "pAUC-above-80%TPR"; Kurtansky 2024, doi:10.1038/s41597-024-03743-w.

    >>> round(partial_auroc(np.array([0.9, 0.8, 0.2]), np.array([True, True, False])), 12)  # the best there is
    0.2
    """
    return rank_partial_auroc(score, is_positive, min_sensitivity=min_sensitivity).value


def estimate_partial_auroc(
    score: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
    *,
    min_sensitivity: float = 0.8,
) -> Estimate:
    """Return the partial AUROC above a sensitivity with its 95 % interval over groups.

    Args:
        score: Score of each image, finite, higher for positive ones.
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.
        min_sensitivity: In (0, 1).

    Raises:
        MetricError: As for ``partial_auroc``, or ``group`` hasn't an entry for each image.

    References:
        Influence of an image on a partial area: He & Escobar 2008, doi:10.1002/sim.3284.
    """
    ranking = rank_partial_auroc(score, is_positive, min_sensitivity=min_sensitivity)
    part = 1 - min_sensitivity
    whole = Ranking(min(ranking.value / part, 1.0), ranking.influence / part)
    found = _estimate_by_share(whole, is_positive, Clusters.build(group, score), part=part)
    return Estimate(
        value=ranking.value,
        low=found.low * part,
        high=found.high * part,
        numerator=None,
        denominator=found.denominator,
        num_groups=found.num_groups,
        is_sparse=found.is_sparse,
    )


def roc_curve(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> RocCurve:
    """Return sensitivity against 1 - specificity at every distinct score.

    Raises:
        MetricError: As for ``auroc``.
    """
    require_rankable(score, is_positive)
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


def require_rankable(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> None:
    """Refuse scores among which there is nothing to rank.

    Raises:
        MetricError: All images are of one kind, the shapes differ, a score isn't finite, or the truth isn't boolean.
    """
    require_scored(score, is_positive)
    require_both_kinds(is_positive)


def rank_auroc(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> Ranking:
    """Return the AUROC and each image's influence: the share of the other kind that it is ranked rightly against.

    Raises:
        MetricError: As for ``auroc``.
    """
    value = auroc(score, is_positive)
    rank = midranks(score)
    positive, negative = score[is_positive], score[~is_positive]
    influence = np.empty(score.size)
    influence[is_positive] = ((rank[is_positive] - midranks(positive)) / negative.size - value) / positive.size
    below = (rank[~is_positive] - midranks(negative)) / positive.size
    influence[~is_positive] = (1 - below - value) / negative.size
    return Ranking(value, influence)


def rank_average_precision(score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> Ranking:
    """Return the average precision and each image's influence, by its derivatives in both kinds' distributions.

    Raises:
        MetricError: As for ``auroc``.
    """
    require_rankable(score, is_positive)
    _, inverse = np.unique(score, return_inverse=True)
    positives, others = np.bincount(inverse, is_positive), np.bincount(inverse, ~is_positive)
    num_positive, num_negative = positives.sum(), others.sum()
    # Of each distinct score: shares of positives and of negatives at or above it, and the PPV there.
    sensitivity, fpr = np.cumsum(positives[::-1])[::-1] / num_positive, np.cumsum(others[::-1])[::-1] / num_negative
    referred = num_positive * sensitivity + num_negative * fpr
    ppv = num_positive * sensitivity / referred
    weight = positives / num_positive
    value = float((weight * ppv).sum())
    slope = num_positive * num_negative / referred**2
    by_sensitivity, by_fpr = weight * slope * fpr, -weight * slope * sensitivity
    of_positive = ppv - value + np.cumsum(by_sensitivity) - (by_sensitivity * sensitivity).sum()
    of_negative = np.cumsum(by_fpr) - (by_fpr * fpr).sum()
    influence = np.where(is_positive, of_positive[inverse] / num_positive, of_negative[inverse] / num_negative)
    return Ranking(value, influence)


def rank_partial_auroc(
    score: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"], *, min_sensitivity: float
) -> Ranking:
    """Return the partial AUROC and each image's influence: only the lowest-scored positives count.

    Raises:
        MetricError: As for ``partial_auroc``.
    """
    if not 0 < min_sensitivity < 1:
        msg = f"min_sensitivity={min_sensitivity}: expected (0, 1)"
        raise MetricError(msg)
    require_rankable(score, is_positive)
    _, inverse = np.unique(score, return_inverse=True)
    positives, others = np.bincount(inverse, is_positive), np.bincount(inverse, ~is_positive)
    num_positive, num_negative = positives.sum(), others.sum()
    part = 1 - min_sensitivity
    # How much of the lowest ``part`` of the positives has each distinct score: nothing from where the part is full.
    below = (np.cumsum(positives) - positives) / num_positive
    weight = np.clip(part - below, 0, positives / num_positive)
    # The ROC curve is straight between two scores: a tie that is cut by the line counts less than half.
    tied = np.divide(weight, positives / num_positive, out=np.zeros_like(weight), where=positives > 0)
    beaten = (np.cumsum(others) - others * (1 - tied / 2)) / num_negative
    value = float((weight * beaten).sum())
    at_line = beaten[np.searchsorted(below, part) - 1]
    of_positive = np.where(below < part, beaten - at_line, 0.0)
    of_positive -= (of_positive * positives).sum() / num_positive
    ahead = np.cumsum(weight[::-1])[::-1] - weight
    of_negative = ahead + weight * tied / 2
    of_negative -= (of_negative * others).sum() / num_negative
    influence = np.where(is_positive, of_positive[inverse] / num_positive, of_negative[inverse] / num_negative)
    return Ranking(value, influence)


def spread_of_ranking(influence: Float64[np.ndarray, " image"], is_positive: np.ndarray, clusters: Clusters) -> Spread:
    """Return the variance of a ranking's figure over groups, which may hold images of both kinds (as patients do).

    References:
        Obuchowski 1997, doi:10.2307/2533958; degrees of freedom of a sum: Satterthwaite 1946, doi:10.2307/3002019.
    """
    parts = [clusters.select(kind).spread(influence[kind]) for kind in (is_positive, ~is_positive)]
    between = clusters.cross(np.where(is_positive, influence, 0), np.where(is_positive, 0, influence))
    apart = parts[0].variance + parts[1].variance
    variance = max(apart + 2 * between, 0.0)
    if variance <= 0:
        return Spread(0.0, 0.0)
    uncertainty = sum(part.variance**2 / part.df for part in parts if part.df > 0)
    return Spread(variance, apart**2 / uncertainty if uncertainty > 0 else 0.0)


def _estimate(
    ranking: Ranking, is_positive: np.ndarray, clusters: Clusters, reference: tuple[float, float], *, part: float = 1.0
) -> Estimate:
    """Return the figure with its interval; only ``part`` of the positives tell how much it varies."""
    num_groups = min(clusters.select(is_positive).num_groups, clusters.select(~is_positive).num_groups)
    is_sparse = num_groups < SPARSE_BELOW
    variance, df = spread_of_ranking(ranking.influence, is_positive, clusters)
    # Two melanomas that are ranked alike show no variance; however many others there are, they don't make up for it.
    spread = Spread(variance, min(df, max(2 * (part * num_groups - 1), 0.0)))
    low, high = moderated_interval(ranking.value, spread, reference, is_sparse=is_sparse)
    return Estimate(
        value=ranking.value,
        low=low,
        high=high,
        numerator=None,
        denominator=is_positive.size,
        num_groups=num_groups,
        is_sparse=is_sparse,
    )


def _estimate_by_share(ranking: Ranking, is_positive: np.ndarray, clusters: Clusters, *, part: float = 1.0) -> Estimate:
    """Return the figure with the interval of a share of the positives, or of half of them, as its reference."""
    size = _effective(clusters.select(is_positive), ranking.influence[is_positive])
    if part < 1:
        size /= 2  # all of them would make it too narrow, ``part`` of them too wide (benchmarks/coverage.py)
    reference = share_interval(min(max(ranking.value, 0.0), 1.0), max(size, 1.0))
    return _estimate(ranking, is_positive, clusters, reference, part=part)


def _effective(clusters: Clusters, influence: Float64[np.ndarray, " image"]) -> float:
    """Return how many independent images of a kind would know the figure as well."""
    num_images = influence.size
    independent = float(influence.var(ddof=1)) * num_images if num_images > 1 else 0.0
    return num_images / design_effect(clusters, clusters.spread(influence), independent)


def _exponential_variance(value: float, num_positive: float, num_negative: float) -> float:
    """Return the variance of an AUROC of exponentially distributed scores.

    References:
        Hanley & McNeil 1982, with the mean number of both kinds in both terms as in Newcombe 2006, method 5.
    """
    mean_size = (num_positive + num_negative) / 2 - 1
    terms = 1 + mean_size * ((1 - value) / (2 - value) + value / (1 + value))
    return max(value * (1 - value) * terms, 0.0) / (num_positive * num_negative)
