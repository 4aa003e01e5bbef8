"""MixUp and CutMix: a network that is shown two images in one can't learn single ones by heart.

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
    """How the images of a batch are put together in pairs."""

    share: float = 1.0
    """Of an image itself, in [0, 1]; 1 leaves the batch as it is."""
    partner: Int[Tensor, " image"]
    """Place of the image that each is put together with."""
    window: tuple[slice, slice] | None = None
    """Rows and columns that are the partner's; none: the whole is a blend."""

    def mix(self, pixels: Tensor) -> Tensor:
        """Return the mixed batch (image × side × side × 3); the batch itself where nothing is mixed."""
        if self.share == 1:
            return pixels
        if self.window is None:
            return torch.lerp(pixels[self.partner].float(), pixels.float(), self.share)
        mixed = pixels.clone()
        mixed[:, *self.window] = pixels[self.partner][:, *self.window]
        return mixed

    def blend(self, metadata: Tensor) -> Tensor:
        """Return metadata (image × feature) in the shares in which the images are mixed."""
        return metadata if self.share == 1 else torch.lerp(metadata[self.partner], metadata, self.share)


def draw_mixture(num_images: int, image_side: int, config: AugmentationConfig) -> Mixture:
    """Draw a mixture by torch's own generator.

    Args:
        num_images: Of the batch.
        image_side: Of its images, pixels; a window's corners lie on them.
        config: Its two alphas: 0.2 mixes little, 1 evenly; 0 not at all.
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
    length = round(image_side * (1 - share) ** 0.5)
    top, left = (int(torch.randint(image_side - length + 1, ())) for _ in range(2))
    window = (slice(top, top + length), slice(left, left + length))
    return Mixture(share=1 - length**2 / image_side**2, partner=partner, window=window)
