"""How far a decision depends on which way up an image lies, or on a training's seed: do views and networks agree?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float32

from melanoma_ray.inference.scorer import Outputs
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_share
from melanoma_ray.model.calibration import calibrated_probability
from melanoma_ray.model.checkpoint import Manifest

Over = Literal["views", "networks", "views and networks"]
"""views: each view, its logits averaged over the networks. networks: each network, averaged over the views. views and
networks: each view of each network alone."""
NUM_SHOWN = 12
"""Largest number of images that are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """Whether an image's decision is the same by every view, every network, or both."""

    over: Over
    num_parts: int
    """Number of decisions that are compared for each image."""
    share: Estimate
    """Share of the images that all of them refer, or none does."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Disputed:
    """An image about which views or networks differ."""

    image_id: str
    path: str
    diagnosis: str
    """True diagnosis."""
    lowest: float
    """Smallest probability of what is referred for, by a view of a network, in [0, 1]."""
    highest: float
    num_referring: int
    """Number of parts that would refer it."""
    num_parts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Robustness:
    """How views and networks agree."""

    num_views: int
    num_networks: int
    """Number of networks that are asked about each image: 1 in cross-validation."""
    num_images: int
    """Number of images with an answer."""
    agreements: tuple[Agreement, ...]
    median_spread: float
    """Median over the images of the largest less the smallest probability."""
    most_disputed: tuple[Disputed, ...]
    """Images with the largest such difference, the largest first."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return asdict(self)


def measure_robustness(
    outputs: Outputs, images: pd.DataFrame, group: np.ndarray, manifest: Manifest
) -> Robustness | None:
    """Return how views and networks agree; none: there is one of each, no answer, or the parts weren't kept.

    A part is decided by with the temperature, biases and threshold of the whole. What is unlike the training images is
    told by the first view and all networks together, so it isn't a part's to say.

    Args:
        outputs: What the networks say, with its parts.
        images: Index rows of the same images.
        group: Group of each image.
        manifest: Diagnoses, calibration and thresholds of the model.
    """
    parts = outputs.parts
    if parts is None or parts.shape[1] * parts.shape[2] == 1:
        return None
    is_answered = np.isfinite(parts).all(axis=(1, 2, 3))
    if not is_answered.any():
        return None
    asked, rows, groups = parts[is_answered], images[is_answered], group[is_answered]
    each = _refer_probability(asked, manifest)
    every = each.reshape(len(each), -1)
    spread = every.max(axis=1) - every.min(axis=1)
    first = np.argsort(-spread, kind="stable")[:NUM_SHOWN]
    return Robustness(
        num_views=parts.shape[2],
        num_networks=parts.shape[1],
        num_images=len(each),
        agreements=_compare(asked, each, groups, manifest),
        median_spread=float(np.median(spread)),
        most_disputed=_list(rows.iloc[first], every[first], manifest.calibration.decision_threshold),
    )


def _compare(
    parts: Float32[np.ndarray, "image member view diagnosis"],
    each: Float32[np.ndarray, "image member view"],
    group: np.ndarray,
    manifest: Manifest,
) -> tuple[Agreement, ...]:
    """Return the agreements that say something: with one network those of views alone, and the other way round."""
    found: dict[Over, np.ndarray] = {}
    if parts.shape[2] > 1:
        found["views"] = _refer_probability(parts.mean(axis=1), manifest)
    if parts.shape[1] > 1:
        found["networks"] = _refer_probability(parts.mean(axis=2), manifest)
    if len(found) == 2:
        found["views and networks"] = each.reshape(len(each), -1)
    agreements = []
    for over, probability in found.items():
        is_referred = probability >= manifest.calibration.decision_threshold
        is_shared = np.asarray(is_referred.all(axis=1) | ~is_referred.any(axis=1))
        agreements.append(Agreement(over=over, num_parts=probability.shape[1], share=estimate_share(is_shared, group)))
    return tuple(agreements)


def _refer_probability(logits: Float32[np.ndarray, "... diagnosis"], manifest: Manifest) -> np.ndarray:
    """Return the probability that is compared with the threshold, in the shape of the logits but for the last axis."""
    flat = calibrated_probability(logits.reshape(-1, logits.shape[-1]), manifest.calibration)
    numbers = [manifest.diagnoses.index(name) for name in manifest.referred]
    return np.asarray(flat[:, numbers].sum(axis=1).reshape(logits.shape[:-1]))


def _list(rows: pd.DataFrame, probability: Float32[np.ndarray, "image part"], threshold: float) -> tuple[Disputed, ...]:
    columns: Sequence[pd.Series] = [rows[name] for name in ("image_id", "path", "diagnosis")]
    return tuple(
        Disputed(
            image_id=str(image_id),
            path=str(path),
            diagnosis=str(diagnosis),
            lowest=float(of_parts.min()),
            highest=float(of_parts.max()),
            num_referring=int((of_parts >= threshold).sum()),
            num_parts=len(of_parts),
        )
        for image_id, path, diagnosis, of_parts in zip(*columns, probability, strict=True)
    )
