"""What is kept of the validation images in a checkpoint, so that what is served later can be compared with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from melanoma_ray.imaging.appearance import MEASUREMENTS
from melanoma_ray.inference.scorer import Outputs
from melanoma_ray.model.calibration import Calibration, calibrated_probability, energy

SCORE, UNLIKENESS = "score", "out_of_distribution_score"
MEASURES = (SCORE, UNLIKENESS, *MEASUREMENTS)
"""The probability that is held against the threshold, how unlike the training images an image is, how it looks."""
DECIMALS = 4
"""Decimals of each measurement of how an image looks, where it is written down or compared."""


def tabulate_measures(outputs: Outputs, calibration: Calibration, referred: Sequence[int]) -> pa.Table:
    """Return a row for each image, without anything that names it.

    Args:
        outputs: What the networks say about the images, with how they look.
        calibration: Calibration of the model.
        referred: Class numbers of the diagnoses that are referred.
    """
    assert outputs.appearance is not None
    by_distance = calibration.out_of_distribution_score == "distance" and outputs.distance is not None
    unlikeness = outputs.distance[:, 0] if by_distance and outputs.distance is not None else energy(outputs.logits)
    score = calibrated_probability(outputs.logits, calibration)[:, list(referred)].sum(axis=1)
    rows = np.column_stack([score, unlikeness, outputs.appearance]).astype(np.float32)
    return pa.table(dict(zip(MEASURES, rows.T, strict=True)))
