"""Sets of diagnoses that hold the true one with a stated coverage, for each diagnosis alone."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float, Int

from melanoma_ray.metrics.inputs import require_paired, require_probability, require_share


def least_images(coverage: float) -> int:
    """Return the smallest number of images of a diagnosis from which a set can leave it out.

    >>> least_images(0.9), least_images(0.95)
    (9, 19)
    """
    return math.ceil(1 / (1 - coverage) - 1e-9) - 1


def fit_set_thresholds(
    probability: Float[np.ndarray, "image diagnosis"], target: Int[np.ndarray, " image"], *, coverage: float
) -> tuple[float, ...]:
    """Return the probability of each diagnosis from which it is in the prediction set of an image.

    Of new images of a diagnosis at least ``coverage`` have it in their set, on average over sets of images like these,
    whatever the model and however frequent the diagnosis is among the new images: split conformal prediction within
    each class (Mondrian). It supposes that an image of a diagnosis is as good as any other of the same diagnosis, the
    ones given here included; several images of one lesion, or images that helped to train the model, break that.

    Args:
        probability: Probability of each diagnosis, for images that the model wasn't trained on.
        target: Class number of each image.
        coverage: Share of the images of each diagnosis whose set shall hold it, in (0, 1).

    Returns:
        Thresholds in the order of the diagnoses. 0: fewer than ``least_images`` images, so it is in every set.

    Raises:
        MetricError: The shapes differ, there are no images, a value is no probability, or the coverage isn't in (0, 1).

    References:
        Vovk 2012, arXiv:1209.2673, section 4 (label-conditional inductive conformal predictors).
    """
    require_paired(probability[:, 0], target)
    require_probability(probability)
    require_share("coverage", coverage)
    thresholds = []
    for number, column in enumerate(probability.T):
        own = np.sort(column[target == number])
        # The largest rank, from the smallest probability, that leaves out at most 1 - coverage of n + 1 images.
        rank = math.floor((len(own) + 1) * (1 - coverage) + 1e-9)
        thresholds.append(float(own[rank - 1]) if rank else 0.0)
    return tuple(thresholds)


def predict_sets(
    probability: Float[np.ndarray, "image diagnosis"], thresholds: tuple[float, ...]
) -> Bool[np.ndarray, "image diagnosis"]:
    """Return which diagnoses are in the set of each image; none at all is possible, and means that none fits.

    Args:
        probability: Probability of each diagnosis; NaN: there is no answer, so every diagnosis stays possible.
        thresholds: Threshold of each diagnosis, from ``fit_set_thresholds``.
    """
    return np.asarray((probability >= np.array(thresholds, probability.dtype)) | np.isnan(probability))
