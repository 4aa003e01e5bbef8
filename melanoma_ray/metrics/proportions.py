"""Shares of images, each with an interval that knows groups: accuracy, sensitivity, specificity, PPV and NPV."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Shaped

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import Clusters, design_effect
from melanoma_ray.metrics.inputs import require_paired, require_truth
from melanoma_ray.metrics.intervals import SPARSE_BELOW, Z_95, Estimate, quantile, share_interval


class Share(NamedTuple):
    """A share, and the number of independent images that would know it as well."""

    value: float
    size: float
    """Number of images divided by the design effect; smaller still where the groups are few."""
    num_successes: int
    num_images: int
    num_groups: int

    @property
    def is_sparse(self) -> bool:
        """Whether it stands on too few groups to say much."""
        return self.num_groups < SPARSE_BELOW

    def estimate(self) -> Estimate:
        """Return the share with its interval."""
        low, high = share_interval(self.value, self.size)
        return Estimate(
            value=self.value,
            low=low,
            high=high,
            numerator=self.num_successes,
            denominator=self.num_images,
            num_groups=self.num_groups,
            is_sparse=self.is_sparse,
        )


def measure_share(is_success: Bool[np.ndarray, " image"], clusters: Clusters) -> Share:
    """Return a share with its effective size: images of one group count as much as they tell apart.

    Below ``SPARSE_BELOW`` groups the size shrinks as Student's t is wider than the normal distribution.

    References:
        Wilson's interval on an effective size: Dean & Pagano 2015, doi:10.1093/jssam/smv024; the correction by t:
        Korn & Graubard 1998, Survey Methodology 24(2), 193-201.
    """
    num_images = is_success.size
    num_successes = int(np.count_nonzero(is_success))
    value = num_successes / num_images
    spread = clusters.spread((is_success - value) / num_images)
    effect = design_effect(clusters, spread, value * (1 - value) / num_images)
    size = num_images / effect
    if clusters.num_groups < SPARSE_BELOW:
        size = max(size * (Z_95 / quantile(max(clusters.num_groups - 1, 4))) ** 2, 1.0)
    return Share(value, size, num_successes, num_images, clusters.num_groups)


def estimate_share(
    is_success: Bool[np.ndarray, " image"], group: Shaped[np.ndarray, " image"] | None = None
) -> Estimate:
    """Return the share of images for which something holds.

    Args:
        is_success: Whether it holds for each image.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: There are no images, or the shapes differ.

    References:
        As for ``measure_share`` and ``share_interval``.

    >>> found = estimate_share(np.array([True] * 36 + [False] * 4))
    >>> f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})", found.num_groups, found.is_sparse
    ('0.90 (0.77 to 0.96)', 40, False)
    """
    require_paired(is_success, is_success)
    require_truth(is_success)
    return measure_share(is_success, Clusters.build(group, is_success)).estimate()


def estimate_accuracy(
    predicted: Int[np.ndarray, " image"],
    target: Int[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the share of images whose predicted diagnosis is the true one.

    Args:
        predicted: Predicted class number of each image.
        target: Target of each image.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: There are no images, or the shapes differ.
    """
    require_paired(predicted, target)
    return estimate_share(predicted == target, group)


def estimate_sensitivity(
    is_referred: Bool[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the share of melanomas that are referred; its denominator is the number of melanomas.

    Args:
        is_referred: Whether each image is referred.
        is_melanoma: Whether each image is a melanoma in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: There is no melanoma among the images, the shapes differ, or an array isn't boolean.

    >>> is_referred, is_melanoma = np.array([True, True, False, True]), np.array([True, True, True, False])
    >>> found = estimate_sensitivity(is_referred, is_melanoma)
    >>> found.numerator, found.denominator
    (2, 3)
    """
    return _estimate_among(is_referred, is_melanoma, group, "sensitivity is undefined: no melanoma among {} images")


def estimate_specificity(
    is_referred: Bool[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the share of the other images that are not referred; its denominator is their number.

    Args:
        is_referred: Whether each image is referred.
        is_melanoma: Whether each image is a melanoma in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: All images are melanomas, the shapes differ, or an array isn't boolean.

    >>> is_referred, is_melanoma = np.array([True, False, False, True]), np.array([False, False, False, True])
    >>> found = estimate_specificity(is_referred, is_melanoma)
    >>> found.numerator, found.denominator
    (2, 3)
    """
    require_truth(is_referred)
    require_truth(is_melanoma)
    reason = "specificity is undefined: all {} images are melanoma"
    return _estimate_among(~is_referred, ~is_melanoma, group, reason)


def estimate_ppv(
    is_referred: Bool[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the share of referred images that are melanomas, at the prevalence of these images.

    Args:
        is_referred: Whether each image is referred.
        is_melanoma: Whether each image is a melanoma in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: No image is referred, the shapes differ, or an array isn't boolean.
    """
    return _estimate_among(is_melanoma, is_referred, group, "PPV is undefined: none of {} images is referred")


def estimate_npv(
    is_referred: Bool[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the share of images not referred that are no melanoma, at the prevalence of these images.

    Args:
        is_referred: Whether each image is referred.
        is_melanoma: Whether each image is a melanoma in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: All images are referred, the shapes differ, or an array isn't boolean.
    """
    require_truth(is_referred)
    require_truth(is_melanoma)
    return _estimate_among(~is_melanoma, ~is_referred, group, "NPV is undefined: all {} images are referred")


def _estimate_among(
    is_success: Bool[np.ndarray, " image"],
    counts: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None,
    reason: str,
) -> Estimate:
    """Return the share of successes among the images that count."""
    require_paired(is_success, counts)
    require_truth(is_success)
    require_truth(counts)
    if not counts.any():
        raise MetricError(reason.format(counts.size))
    clusters = Clusters.build(group, counts)
    return measure_share(is_success[counts], clusters.select(counts)).estimate()
