"""MixUp: a network that is shown blends of two images can't learn single ones by heart (arXiv:1710.09412)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mixture:
    """How the images of a batch are blended.

    Attributes:
        share: Of an image itself, in [0.5, 1]; 1 leaves the batch as it is.
        partner: Place of the image that each is blended with.
    """

    share: float
    partner: Int[Tensor, " image"]

    def mix(self, pixels: Tensor) -> Tensor:
        """Return the blended batch, as floats; the batch itself where nothing is blended."""
        if self.share == 1:
            return pixels
        return torch.lerp(pixels[self.partner].float(), pixels.float(), self.share)


def draw_mixture(num_images: int, alpha: float) -> Mixture:
    """Draw from Beta(α, α) and from all orders, by torch's own generator; an α of 0 draws nothing.

    Args:
        num_images: Of the batch.
        alpha: 0 or more; 0.2 blends little, 1 evenly.
    """
    if alpha == 0:
        return Mixture(1.0, torch.arange(num_images))
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    return Mixture(max(share, 1 - share), torch.randperm(num_images))
