"""How unlike its training images a network finds an image: the distance to its nearest neighbours among them.

Each network has a bank of the features of some of its training images, of unit length. The distance of an image is one
minus the cosine to the k-th nearest of them (Sun 2022, arXiv:2204.06507). ``benchmarks/unlike.py`` compares it with
other scores; a network that has learnt little is no worse at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from safetensors.torch import load, save
from torch import Tensor
from torch.nn.functional import normalize

OutOfDistributionScore = Literal["energy", "distance"]
"""energy: of the logits (Liu 2020, arXiv:2010.03759), in older checkpoints. distance: to the bank of features."""
BANK_SIZE = 1024
"""Largest number of images in the bank of a network; a larger one would take longer than a twentieth of an answer."""
NEIGHBOURS = 5
"""The distance is that to the neighbour of this rank, so that a single odd training image vouches for nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureBank:
    """The features of training images, one table for each network."""

    members: tuple[Float[Tensor, "bank feature"], ...]
    """Rows of unit length, which half precision holds exactly."""

    def to(self, device: torch.device) -> FeatureBank:
        """Return the bank on a device."""
        return FeatureBank(tuple(member.to(device) for member in self.members))

    def only(self, member: int) -> FeatureBank:
        """Return the bank of one network."""
        return FeatureBank(self.members[member : member + 1])

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


def build_bank(members: Sequence[Float[Tensor, "bank feature"]]) -> FeatureBank:
    """Return the bank of features of training images, one table for each network, not necessarily of one length."""
    return FeatureBank(tuple(normalize(features.float()).half().float() for features in members))


def to_bytes(bank: FeatureBank) -> bytes:
    """Return the content of the bank's file, in half precision."""
    return save({str(number): member.half().contiguous() for number, member in enumerate(bank.members)})


def from_bytes(content: bytes) -> FeatureBank:
    """Return the bank in a file."""
    tensors = load(content)
    return FeatureBank(tuple(tensors[str(number)].float() for number in range(len(tensors))))
