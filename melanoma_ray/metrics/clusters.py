"""Images of one lesion or patient aren't independent: sums, variances and effective numbers over such groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped

from melanoma_ray.metrics.inputs import require_paired


class Spread(NamedTuple):
    """How much a sum over groups would vary if other groups had been drawn."""

    variance: float
    df: float
    """Degrees of freedom: how many groups' worth of evidence the variance itself stands on; 0: none."""


@dataclass(frozen=True, slots=True, eq=False)
class Clusters:
    """Which images belong together."""

    index: Int64[np.ndarray, " image"]
    """Number of each image's group, from 0 to ``num_groups`` - 1; each has an image."""
    num_groups: int

    @staticmethod
    def build(group: Shaped[np.ndarray, " image"] | None, like: Shaped[np.ndarray, " image"]) -> Clusters:
        """Return the groups of images; without ``group`` each image is a group of its own.

        Args:
            group: Lesion, patient or other unit of each image; strings or numbers.
            like: Any array with an entry for each image.

        Raises:
            MetricError: ``group`` hasn't an entry for each image.
        """
        if group is None:
            return Clusters(np.arange(like.size), like.size)
        require_paired(group, like)
        if group.dtype.kind == "i" and group.min() >= 0 and group.max() < 4 * group.size:
            return _number_anew(group.astype(np.int64, copy=False), int(group.max()) + 1)
        names, index = np.unique(group, return_inverse=True)
        return Clusters(index, names.size)

    def select(self, chosen: Bool[np.ndarray, " image"]) -> Clusters:
        """Return the groups of the chosen images alone."""
        return _number_anew(self.index[chosen], self.num_groups)

    def add_up(self, values: Shaped[np.ndarray, " image"]) -> Float64[np.ndarray, " group"]:
        """Return the sum of each group's values."""
        return np.bincount(self.index, weights=values, minlength=self.num_groups)

    @property
    def mean_size(self) -> float:
        """Size of the group that a random image is in: the design effect if images of a group were all alike.

        References:
            Kish 1965, Survey Sampling, section 8.2: Σ size² / Σ size.
        """
        sizes = np.bincount(self.index, minlength=self.num_groups)
        return float((sizes**2).sum() / max(sizes.sum(), 1))

    def spread(self, deviation: Float[np.ndarray, " image"]) -> Spread:
        """Return the variance of a figure from each image's share in its deviation (its influence; they sum to 0).

        The degrees of freedom follow from the kurtosis of the groups' sums: if a single melanoma makes most of the
        variance, then however many images there are, the variance is known as badly as from two groups.

        References:
            Between-group variance: Cochran 1977, Sampling Techniques, chapter 9. Degrees of freedom: those of the χ²
            with the same relative variance as s², Var(s²)/s⁴ = (kurtosis - 1) / groups.
        """
        sums = self.add_up(deviation)
        squares = sums**2
        total = float(squares.sum())
        if self.num_groups < 2 or total <= 0:
            return Spread(0.0, 0.0)
        kurtosis_per_group = float((squares**2).sum()) / total**2 if total**2 > 0 else 1.0
        excess = max(kurtosis_per_group - 1 / self.num_groups, 2 / (self.num_groups - 1))
        return Spread(total * self.num_groups / (self.num_groups - 1), 2 / excess)

    def cross(self, first: Float[np.ndarray, " image"], second: Float[np.ndarray, " image"]) -> float:
        """Return the covariance of two figures from each image's share in their deviations."""
        if self.num_groups < 2:
            return 0.0
        return float((self.add_up(first) * self.add_up(second)).sum()) * self.num_groups / (self.num_groups - 1)


def _number_anew(index: Int64[np.ndarray, " image"], num_numbers: int) -> Clusters:
    """Return groups that are numbered without gaps; without sorting, for figures ask for them often."""
    is_present = np.bincount(index, minlength=num_numbers) > 0
    return Clusters((np.cumsum(is_present) - 1)[index], int(is_present.sum()))


PRIOR_GROUPS = 4
"""Weight, in groups or degrees of freedom, of what is assumed beside what is seen; chosen by benchmarks/coverage.py."""


def design_effect(clusters: Clusters, spread: Spread, independent_variance: float) -> float:
    """Return how many images count as one: 1 if they are independent, the groups' mean size if they are all alike.

    The estimate is drawn towards the worst case, which has the weight of ``PRIOR_GROUPS`` groups, because from few
    groups, or where all images are right, nothing can be learnt about how alike images of one group are.

    Args:
        clusters: The groups.
        spread: Of the figure over the groups.
        independent_variance: Variance that the figure would have if each image were a group.
    """
    worst = clusters.mean_size
    if spread.variance <= 0 or independent_variance <= 0:
        return worst
    seen = min(max(spread.variance / independent_variance, 1.0), worst)
    df = clusters.num_groups - 1
    return (df * seen + PRIOR_GROUPS * worst) / (df + PRIOR_GROUPS)
