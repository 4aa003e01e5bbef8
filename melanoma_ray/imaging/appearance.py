"""What a crop looks like as a whole, in seven numbers that owe nothing to a network."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

MEASUREMENTS = (
    "lightness",
    "redness",
    "yellowness",
    "lightness_spread",
    "redness_spread",
    "yellowness_spread",
    "edges",
)
"""Names of the numbers, in their order: the means of L*, a* and b*, their spreads, and the strength of edges."""
_SIDE = 32
"""Side of the small copy that is measured, pixels."""


def describe_appearance(pixels: UInt8[np.ndarray, "image side side 3"]) -> Float64[np.ndarray, "image 7"]:
    """Return the mean and spread of L*, a* and b*, and the strength of edges; spreads and edges as logarithms.

    Args:
        pixels: Crops, RGB.
    """
    return np.array([_describe(crop) for crop in pixels], np.float64).reshape(-1, 7)


def _describe(crop: UInt8[np.ndarray, "side side 3"]) -> np.ndarray:
    small = cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)
    mean, spread = cv2.meanStdDev(lab)
    edges = cv2.meanStdDev(cv2.Laplacian(lab[..., 0], cv2.CV_32F))[1]
    return np.concatenate([mean[:, 0], np.log1p(spread[:, 0]), np.log1p(edges[:, 0])])
