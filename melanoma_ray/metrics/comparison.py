"""Two models on the same images: whether the difference is more than chance, lesion by lesion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from scipy import special

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import PRIOR_GROUPS, Clusters, Spread
from melanoma_ray.metrics.inputs import require_both_kinds, require_paired, require_truth
from melanoma_ray.metrics.intervals import SPARSE_BELOW, Estimate, quantile
from melanoma_ray.metrics.ranking import rank_auroc, spread_of_ranking

Test = Literal["DeLong", "McNemar"]
"""DeLong: of two AUROCs, by the variance of their difference. McNemar: of two shares, by the images that differ."""
_MAX_EXACT_STEPS = 2000
"""Sum of the groups' sizes of disagreement up to which McNemar's test is computed exactly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Second model minus first model on the same images."""

    first: float
    second: float
    difference: Estimate
    p_value: float
    """Two-sided, of the hypothesis that there is no difference."""
    test: Test
    """Where the p-value comes from; there is only one for each figure."""


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """Images on which exactly one of two models is right."""

    num_only_first: int
    num_only_second: int
    num_groups: int
    """Groups in which the models aren't right equally often: only these tell anything."""
    is_exact: bool
    """Whether the p-value comes from all ways to swap the models within groups, not from a χ² distribution."""
    p_value: float
    """Two-sided, of the hypothesis that both are right equally often."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reclassification:
    """Who changed sides from the first model's decisions to the second's; groups' intervals."""

    melanomas: Difference
    """Share of the melanomas that are referred: the second model's less the first's."""
    others: Difference
    """Share of the others that are left: the second model's less the first's."""
    net: float
    """Sum of both differences, in [-2, 2]; it weighs a melanoma as much as an image that is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resampled:
    """A difference that was computed anew on resampled groups."""

    difference: float
    low: float
    high: float
    p_value: float
    """Two-sided: twice the share of resamples on the rarer side of 0, at least 2 / (resamples + 1)."""


def compare_auroc(
    first: Float[np.ndarray, " image"],
    second: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Difference:
    """Return the difference of two AUROCs on the same images, by DeLong's variance over groups.

    Args:
        first: Score of each image by the first model, finite, higher for positive ones.
        second: The same by the second one.
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: As for ``ranking.auroc``.

    References:
        DeLong 1988, doi:10.2307/2531595; over groups: Obuchowski 1997, doi:10.2307/2533958.
    """
    before, after = rank_auroc(first, is_positive), rank_auroc(second, is_positive)
    clusters = Clusters.build(group, is_positive)
    change = after.influence - before.influence
    kinds = [clusters.select(is_positive), clusters.select(~is_positive)]
    num_groups = min(kind.num_groups for kind in kinds)
    # As much as one more group of the rarer kind would add that moves past half of the other kind's images.
    assumed = (0.5 / (num_groups + 1)) ** 2
    spread = spread_of_ranking(change, is_positive, clusters)
    spread = _moderate(spread, assumed)
    estimate = _estimate(after.value - before.value, spread, is_positive.size, num_groups)
    p_value = 2 * float(special.stdtr(spread.df, -abs(estimate.value) / math.sqrt(spread.variance)))
    return Difference(first=before.value, second=after.value, difference=estimate, p_value=p_value, test="DeLong")


def compare_shares(
    first: Bool[np.ndarray, " image"],
    second: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Difference:
    """Return the difference of two shares of the same images, such as two models' accuracies, with McNemar's test.

    The interval is by the variance over groups and the test by the groups that differ, so at the border of chance one
    may say what the other doesn't.

    Args:
        first: Whether something holds for each image by the first model.
        second: The same by the second one.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: There are no images, the shapes differ, or an array isn't boolean.

    References:
        Paired differences with a disagreement more each way where few are seen: Bonett & Price 2012,
        doi:10.3102/1076998611411915, here moderated by groups.
    """
    require_paired(first, second)
    require_truth(first)
    require_truth(second)
    clusters = Clusters.build(group, first)
    change = second.astype(np.float64) - first
    spread = clusters.spread((change - change.mean()) / change.size)
    size = change.size / clusters.mean_size + 2
    only_first, only_second = (
        (float(np.count_nonzero(kind)) / clusters.mean_size + 1) / size for kind in (first & ~second, second & ~first)
    )
    assumed = (only_first + only_second - (only_first - only_second) ** 2) / size
    share, other = float(first.mean()), float(second.mean())
    return Difference(
        first=share,
        second=other,
        difference=_estimate(other - share, _moderate(spread, assumed), first.size, clusters.num_groups),
        p_value=mcnemar(first, second, clusters.index).p_value,
        test="McNemar",
    )


def mcnemar(
    is_first_right: Bool[np.ndarray, " image"],
    is_second_right: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> McNemar:
    """Return McNemar's test over groups: with one image a group it is the exact binomial test.

    The hypothesis leaves each group's disagreement as it is and lets chance decide which model it speaks for.

    Args:
        is_first_right: Whether the first model is right about each image.
        is_second_right: The same for the second one.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: There are no images, the shapes differ, or an array isn't boolean.

    References:
        McNemar 1947, doi:10.1007/BF02295996; over groups, the χ² of the same signed sums: Yang, Sun & Hardin 2010,
        doi:10.1002/bimj.201000035.
    """
    require_paired(is_first_right, is_second_right)
    require_truth(is_first_right)
    require_truth(is_second_right)
    clusters = Clusters.build(group, is_first_right)
    sums = clusters.add_up(is_second_right.astype(np.float64) - is_first_right).round().astype(np.int64)
    sums = sums[sums != 0]
    is_exact = int(np.abs(sums).sum()) <= _MAX_EXACT_STEPS
    if sums.size == 0:
        p_value = 1.0
    elif is_exact:
        p_value = _flip_signs(sums)
    else:
        p_value = float(special.erfc(abs(sums.sum()) / math.sqrt(2 * float((sums**2).sum()))))
    return McNemar(
        num_only_first=int(np.count_nonzero(is_first_right & ~is_second_right)),
        num_only_second=int(np.count_nonzero(is_second_right & ~is_first_right)),
        num_groups=sums.size,
        is_exact=is_exact,
        p_value=p_value,
    )


def net_reclassification(
    is_first_referred: Bool[np.ndarray, " image"],
    is_second_referred: Bool[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Reclassification:
    """Return how many melanomas and others changed sides; the two are to be read apart, not only as their sum.

    Args:
        is_first_referred: Whether the first model refers each image.
        is_second_referred: The same for the second one.
        is_melanoma: Whether each image is a melanoma in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: All images are of one kind, the shapes differ, or an array isn't boolean.

    References:
        Pencina 2008, doi:10.1002/sim.2929; why not the sum alone: Kerr 2014, doi:10.1097/EDE.0000000000000018.
    """
    require_paired(is_first_referred, is_melanoma)
    require_paired(is_second_referred, is_melanoma)
    for array in (is_first_referred, is_second_referred, is_melanoma):
        require_truth(array)
    require_both_kinds(is_melanoma)
    groups = Clusters.build(group, is_melanoma).index
    found = [decision[is_melanoma] for decision in (is_first_referred, is_second_referred)]
    left = [~decision[~is_melanoma] for decision in (is_first_referred, is_second_referred)]
    melanomas = compare_shares(found[0], found[1], groups[is_melanoma])
    others = compare_shares(left[0], left[1], groups[~is_melanoma])
    net = melanomas.difference.value + others.difference.value
    return Reclassification(melanomas=melanomas, others=others, net=net)


def paired_bootstrap(
    figure: Callable[[Int64[np.ndarray, " image"]], float],
    group: Shaped[np.ndarray, " image"],
    *,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Return a difference with an interval from resampled groups, for any figure that has no variance of its own.

    Memory doesn't grow with the number of resamples.

    Args:
        figure: Difference of the two models, from how often each image counts; it may raise MetricError for a
            resample in which it isn't defined, and such a resample is left out.
        group: Lesion or patient of each image; both models' images are drawn together.
        num_resamples: 1 or more.
        seed: Seed of the resampling.

    Raises:
        MetricError: ``num_resamples`` is not positive, or the figure isn't defined on the images, or on half of the
            resamples.

    References:
        Efron & Tibshirani 1993, doi:10.1201/9780429246593, chapters 8 (units) and 13 (percentiles).

    >>> first, second = np.array([0, 0, 1, 1] * 25), np.array([0, 1, 1, 1] * 25)
    >>> found = paired_bootstrap(lambda times: float(np.average(second - first, weights=times)), np.arange(100))
    >>> found.difference, 0.1 < found.low < found.high < 0.4
    (0.25, True)
    """
    if num_resamples < 1:
        msg = f"num_resamples={num_resamples}: expected 1 or more"
        raise MetricError(msg)
    clusters = Clusters.build(group, group)
    rng = np.random.default_rng(seed)
    value = figure(np.ones(clusters.index.size, np.int64))
    drawn = []
    for _ in range(num_resamples):
        chosen = rng.integers(0, clusters.num_groups, clusters.num_groups)
        times = np.bincount(chosen, minlength=clusters.num_groups)
        try:
            drawn.append(figure(times[clusters.index]))
        except MetricError:
            continue
    if len(drawn) <= num_resamples / 2:
        msg = f"the difference is defined on {len(drawn)} of {num_resamples} resamples: expected more than half"
        raise MetricError(msg)
    values = np.array(drawn)
    low, high = np.quantile(values, [0.025, 0.975])
    rarer = int(min(np.count_nonzero(values <= 0), np.count_nonzero(values >= 0)))
    p_value = min(2 * (rarer + 1) / (values.size + 1), 1.0)
    return Resampled(difference=value, low=float(low), high=float(high), p_value=p_value)


def weighted_auroc(
    score: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
) -> Callable[[Int64[np.ndarray, " image"]], float]:
    """Return a function from how often each image counts to the AUROC, which sorts the scores only once.

    Args:
        score: Score of each image, finite, higher for positive ones.
        is_positive: Whether each image is positive in truth.

    Raises:
        MetricError: As for ``ranking.auroc``; the function too, where only one kind is left.

    >>> weighted_auroc(np.array([0.9, 0.6, 0.6, 0.1]), np.array([True, True, False, False]))(np.array([1, 1, 1, 1]))
    0.875
    """
    rank_auroc(score, is_positive)
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(score[order]) > 0))
    is_sorted_positive = is_positive[order]

    def compute(times: Int64[np.ndarray, " image"]) -> float:
        weight = times[order].astype(np.float64)
        positives = np.add.reduceat(np.where(is_sorted_positive, weight, 0.0), starts)
        others = np.add.reduceat(np.where(is_sorted_positive, 0.0, weight), starts)
        pairs = positives.sum() * others.sum()
        if pairs == 0:
            msg = "the AUROC is undefined: only one kind of image is left"
            raise MetricError(msg)
        return float((positives * (np.cumsum(others) - others / 2)).sum() / pairs)

    return compute


def _moderate(spread: Spread, assumed: float) -> Spread:
    """Return the spread with an assumed variance added, the less the more is known of the seen one."""
    df = spread.df + PRIOR_GROUPS
    return Spread(spread.variance + assumed * PRIOR_GROUPS / df, df)


def _estimate(value: float, spread: Spread, num_images: int, num_groups: int) -> Estimate:
    """Return a difference in [-1, 1] with its interval."""
    is_sparse = num_groups < SPARSE_BELOW
    step = quantile(spread.df, is_sparse=is_sparse) * math.sqrt(spread.variance)
    return Estimate(
        value=value,
        low=max(value - step, -1.0),
        high=min(value + step, 1.0),
        numerator=None,
        denominator=num_images,
        num_groups=num_groups,
        is_sparse=is_sparse,
    )


def _flip_signs(sums: Int64[np.ndarray, " group"]) -> float:
    """Return how probable so large a sum is if each group's sign is thrown like a coin: all ways, summed up exactly."""
    sizes = np.abs(sums)
    reach = int(sizes.sum())
    chance: Float64[np.ndarray, " sum"] = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for size in sizes:
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    distance = np.abs(np.arange(-reach, reach + 1))
    return min(float(chance[distance >= abs(int(sums.sum()))].sum()), 1.0)
