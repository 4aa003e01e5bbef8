"""How unlike the training images an image is: to the networks, and by its mere appearance.

Each network has a bank of the features of some of its training images, of unit length. The distance of an image is one
minus the cosine to the k-th nearest of them (Sun 2022, arXiv:2204.06507). A cosine doesn't see how strong features
are, so that a white page may be like pale skin; and nobody knows what a network that has learnt little makes of a page.
So the Mahalanobis distance of a few measurements of the pixels counts too (``imaging/appearance.py``): an image is
unlike if either distance is beyond its threshold. ``benchmarks/unlike.py`` compares both with other scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

OutOfDistributionScore = Literal["energy", "distance"]
"""energy: of the logits (Liu 2020, arXiv:2010.03759), in older checkpoints. distance: to the bank of features."""
BANK_SIZE = 1024
"""Largest number of images in the bank of a network; a larger one would take longer than a twentieth of an answer."""
_APPEARANCE = ("mean", "precision")
"""Tensors of the file that aren't a network's."""
NEIGHBOURS = 5
"""The distance is that to the neighbour of this rank, so that a single odd training image vouches for nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """How training images look as a whole."""

    mean: Float64[np.ndarray, " measurement"]
    precision: Float64[np.ndarray, "measurement measurement"]
    """Inverse of the covariance."""

    def measure_distance(self, found: Float64[np.ndarray, "image measurement"]) -> Float64[np.ndarray, " image"]:
        """Return the squared Mahalanobis distance of images' measurements."""
        steps = found - self.mean
        return np.asarray(((steps @ self.precision) * steps).sum(axis=1))


def fit_appearance(found: Float64[np.ndarray, "image measurement"]) -> Appearance:
    """Return how images look; a little is added to each variance, so that a few images are enough."""
    covariance = np.atleast_2d(np.cov(found.T, bias=True))
    covariance = covariance + np.diag(0.05 * np.diag(covariance) + 1e-4)
    return Appearance(found.mean(axis=0), np.linalg.inv(covariance))


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBank:
    """The features of training images, one table for each network, and how the images of each table look."""

    members: tuple[Float[Tensor, "bank feature"], ...]
    """Rows of unit length, which half precision holds exactly."""
    appearances: tuple[Appearance, ...]
    """How the images of each network's table look; a single one in ensembles from before December 2026."""

    def to(self, device: torch.device) -> FeatureBank:
        """Return the bank on a device."""
        return FeatureBank(tuple(member.to(device) for member in self.members), self.appearances)

    def only(self, member: int) -> FeatureBank:
        """Return the bank of one network."""
        own = self.appearances if len(self.appearances) == 1 else self.appearances[member : member + 1]
        return FeatureBank(self.members[member : member + 1], own)

    def measure_appearance(self, found: Float64[np.ndarray, "image measurement"]) -> Float64[np.ndarray, " image"]:
        """Return the squared Mahalanobis distance of images' measurements, the mean over the networks' images."""
        return np.asarray(np.mean([own.measure_distance(found) for own in self.appearances], axis=0))

    def measure_distance(self, features: Sequence[Float[Tensor, "image feature"]]) -> Float[Tensor, " image"]:
        """Return the distance of images, in [0, 2], the mean over the networks; NaN where a feature isn't finite.

        Args:
            features: Features of the images, one table for each network.
        """
        distances = [
            1 - (normalize(own.float()) @ bank.T).topk(min(NEIGHBOURS, len(bank))).values[:, -1]
            for own, bank in zip(features, self.members, strict=True)
        ]
        return torch.stack(distances).mean(dim=0)


def build_bank(members: Sequence[Float[Tensor, "bank feature"]], appearance: Appearance) -> FeatureBank:
    """Return the bank of features of training images, the same images for each network.

    Args:
        members: Features, one table for each network.
        appearance: How the images look, from ``fit_appearance``.
    """
    tables = tuple(normalize(features.float()).half().float() for features in members)
    return FeatureBank(tables, (appearance,) * len(tables))


def join_banks(banks: Sequence[FeatureBank]) -> FeatureBank:
    """Return one bank for the networks of several, which were trained on other images each."""
    return FeatureBank(
        tuple(member for bank in banks for member in bank.members),
        tuple(appearance for bank in banks for appearance in bank.appearances),
    )


def to_bytes(bank: FeatureBank) -> bytes:
    """Return the content of the bank's file, in half precision."""
    tensors = {f"members.{number}": member.half().contiguous() for number, member in enumerate(bank.members)}
    for name in _APPEARANCE:
        tables = np.stack([getattr(appearance, name) for appearance in bank.appearances])
        tensors[f"appearance.{name}"] = torch.from_numpy(tables[0] if len(tables) == 1 else tables)
    return save(tensors)


def from_bytes(content: bytes) -> FeatureBank:
    """Return the bank in a file."""
    tensors = load(content)
    means, precisions = (tensors[f"appearance.{name}"].numpy() for name in _APPEARANCE)
    if means.ndim == 1:  # of the only network, or of all
        means, precisions = means[None], precisions[None]
    number = len(tensors) - len(_APPEARANCE)
    return FeatureBank(
        tuple(tensors[f"members.{place}"].float() for place in range(number)),
        tuple(Appearance(*pair) for pair in zip(means, precisions, strict=True)),
    )
