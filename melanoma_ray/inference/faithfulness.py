"""Is what a map marks what the network goes by? Its probability while the marked parts are blurred, or put back.

A score says something only beside that of a random order of the same parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8

from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.calibration import calibrated_probability

_GRID = 12
"""Number of parts along each side."""
_NUM_STEPS = 8
"""Number of times that some parts more are changed, until all are."""
_BLUR = 0.1
"""Standard deviation of the blur, as a share of the side: no structure is left, and the colours stay near."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Faithfulness:
    """Areas under the curve of a probability by the share of parts that are changed, in [0, 1]."""

    deletion: float
    """The strongest parts of the map are blurred first: low if the network goes by them."""
    deletion_at_random: float
    """The same in a random order."""
    insertion: float
    """From the blurred image, the strongest parts are put back first: high if the network goes by them."""
    insertion_at_random: float


def measure_faithfulness(
    predictor: Predictor,
    pixels: UInt8[np.ndarray, "side side 3"],
    diagnosis: str,
    strength: Float32[np.ndarray, "side side"],
) -> Faithfulness:
    """Return the deletion and insertion scores of a map, for the first view and without metadata.

    Args:
        predictor: The model.
        pixels: The crop, RGB.
        diagnosis: One of the model's diagnoses, which the map is for.
        strength: The map, from ``attribute``.

    References:
        Petsiuk 2018, arXiv:1806.07421 (with a blur in both directions, so that no sharp edges are made).
    """
    cells = cv2.resize(strength, (_GRID, _GRID), interpolation=cv2.INTER_AREA).ravel()
    by_map = np.argsort(-cells, kind="stable")
    at_random = np.random.default_rng(0).permutation(cells.size)
    blurred = np.asarray(cv2.GaussianBlur(pixels, (0, 0), _BLUR * pixels.shape[0]))
    ways = ((pixels, blurred), (blurred, pixels))
    curves = [_mix(first, then, order) for first, then in ways for order in (by_map, at_random)]
    probability = _ask(predictor, np.concatenate(curves), diagnosis).reshape(len(curves), _NUM_STEPS + 1)
    deletion, deletion_at_random, insertion, insertion_at_random = (_area(curve) for curve in probability)
    return Faithfulness(
        deletion=deletion,
        deletion_at_random=deletion_at_random,
        insertion=insertion,
        insertion_at_random=insertion_at_random,
    )


def _mix(
    first: UInt8[np.ndarray, "side side 3"], then: UInt8[np.ndarray, "side side 3"], order: Int[np.ndarray, " cell"]
) -> UInt8[np.ndarray, "step side side 3"]:
    """Return one image turning into another, some cells more with each step."""
    mixed = []
    for step in range(_NUM_STEPS + 1):
        changed = np.zeros(order.size, np.uint8)
        changed[order[: round(order.size * step / _NUM_STEPS)]] = 1
        mask = cv2.resize(changed.reshape(_GRID, _GRID), first.shape[1::-1], interpolation=cv2.INTER_NEAREST)
        mixed.append(np.where(mask[:, :, None] > 0, then, first))
    return np.stack(mixed)


def _ask(
    predictor: Predictor, crops: UInt8[np.ndarray, "image side side 3"], diagnosis: str
) -> Float64[np.ndarray, " image"]:
    logits = predictor.scorer.with_one_view().score(crops)
    number = predictor.manifest.diagnoses.index(diagnosis)
    return calibrated_probability(logits, predictor.manifest.calibration)[:, number].astype(np.float64)


def _area(curve: Float64[np.ndarray, " step"]) -> float:
    """Return the area under a curve over equal steps, by the trapezoidal rule."""
    return float(np.mean((curve[:-1] + curve[1:]) / 2))
