"""MixUp and CutMix: a network that is trained on mixtures of two images can't memorise single ones.

arXiv:1710.09412, arXiv:1905.04899
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from melanoma_ray.config import AugmentationConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """How the images of a batch are mixed in pairs."""

    share: float = 1.0
    """Share of each image itself in its mixture, in [0, 1]; 1: nothing is mixed."""
    partner: Int[Tensor, " image"]
    """Index in the batch of the image that each image is mixed with."""
    window: tuple[slice, slice] | None = None
    """Rows and columns that are copied from the partner (CutMix); none: the images are blended (MixUp)."""

    def mix(self, pixels: Tensor) -> Tensor:
        """Return the mixed batch (image × side × side × 3), or the batch itself if nothing is mixed."""
        if self.share == 1:
            return pixels
        if self.window is None:
            return torch.lerp(pixels[self.partner].float(), pixels.float(), self.share)
        mixed = pixels.clone()
        mixed[:, *self.window] = pixels[self.partner][:, *self.window]
        return mixed

    def blend(self, metadata: Tensor) -> Tensor:
        """Return the metadata (image × feature) blended in the same shares as the images."""
        return metadata if self.share == 1 else torch.lerp(metadata[self.partner], metadata, self.share)


def draw_mixture(num_images: int, image_side: int, config: AugmentationConfig) -> Mixture:
    """Draw a mixture from torch's global random generator.

    Args:
        num_images: Number of images of the batch.
        image_side: Width and height of the images, pixels.
        config: Settings with the two alphas: 0 mixes nothing, 0.2 mostly a little, 1 in all shares equally often.
    """
    blend, cut = config.mixup_alpha, config.cutmix_alpha
    if not blend and not cut:
        return Mixture(partner=torch.arange(num_images))
    is_cut = bool(cut) and (not blend or bool(torch.rand(()) < 0.5))
    alpha = cut if is_cut else blend
    share = float(torch.distributions.Beta(alpha, alpha).sample())
    partner = torch.randperm(num_images)
    if not is_cut:
        return Mixture(share=max(share, 1 - share), partner=partner)
    length = round(image_side * (1 - share) ** 0.5)  # the share of the area, up to whole pixels
    top, left = (int(torch.randint(image_side - length + 1, ())) for _ in range(2))
    window = (slice(top, top + length), slice(left, left + length))
    return Mixture(share=1 - length**2 / image_side**2, partner=partner, window=window)
