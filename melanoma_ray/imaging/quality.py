"""Warnings about an image: what a person who took it could do better. They change no decision.

Each measure is taken from a small copy of the crop, so it hardly depends on the camera's resolution. The thresholds
were set on images of the ISIC archive and of HAM10000, of which few get a warning (``benchmarks/quality.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

QualityWarning = Literal["blurred", "too dark", "too bright", "no lesion in view", "lesion cut off"]
_SIDE = 128
"""Side of the small copy that is measured, pixels."""
_WHITE = 250
"""Level from which a channel holds nothing to see."""
_LEAST_SHARPNESS = 8.0
_LEAST_LIGHTNESS = 25.0
_MOST_WHITE = 0.2
_LEAST_CONTRAST = 5.0
_MOST_CUT = 0.7


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """Measurements of one crop."""

    sharpness: float
    """Variance of the Laplacian of the grey levels (Pech-Pacheco 2000, doi:10.1109/ICPR.2000.903548)."""
    lightness: float
    """Median CIE lightness L*, 0 to 100."""
    white_share: float
    """Share of pixels of which all channels are 250 or more, in [0, 1]."""
    contrast: float
    """Difference of the mean lightness of the two classes that Otsu's threshold (1979, doi:10.1109/TSMC.1979.4310076)
    makes: skin and lesion, where there is one."""
    cut_share: float
    """Share of the dark class among the pixels at the middle of the four sides, in [0, 1]; dark corners don't count.

    It finds a lesion that fills the picture; one that is cut by a side or two isn't told from uneven light.
    """

    @property
    def warnings(self) -> tuple[QualityWarning, ...]:
        """What is wrong with the image; empty: nothing was found."""
        is_lesion = self.contrast >= _LEAST_CONTRAST
        found: dict[QualityWarning, bool] = {
            "blurred": self.sharpness < _LEAST_SHARPNESS,
            "too dark": self.lightness < _LEAST_LIGHTNESS,
            "too bright": self.white_share > _MOST_WHITE,
            "no lesion in view": not is_lesion,
            "lesion cut off": is_lesion and self.cut_share > _MOST_CUT,
        }
        return tuple(name for name, is_so in found.items() if is_so)


def measure_quality(pixels: UInt8[np.ndarray, "side side 3"]) -> Quality:
    """Return the measurements of a crop, RGB."""
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    lightness = cv2.cvtColor(small, cv2.COLOR_RGB2LAB)[..., 0]  # times 255 / 100
    is_dark, contrast = _divide(grey, lightness)
    return Quality(
        sharpness=float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        lightness=float(np.median(lightness)) * 100 / 255,
        white_share=float(cv2.inRange(small, (_WHITE,) * 3, (255,) * 3).mean() / 255),
        contrast=contrast,
        cut_share=float(_sides(is_dark).mean()),
    )


def _divide(
    grey: UInt8[np.ndarray, "side side"], lightness: UInt8[np.ndarray, "side side"]
) -> tuple[Bool[np.ndarray, "side side"], float]:
    """Return which pixels are darker than Otsu's threshold, and how much darker on average."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 2)
    threshold, _ = cv2.threshold(smooth, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    is_dark = smooth <= threshold
    if is_dark.all() or not is_dark.any():
        return np.zeros_like(is_dark), 0.0
    return is_dark, float(lightness[~is_dark].mean() - lightness[is_dark].mean()) * 100 / 255


def _sides(mask: Bool[np.ndarray, "side side"]) -> Bool[np.ndarray, " pixel"]:
    """Return the outermost pixels of the middle half of each side."""
    middle = slice(_SIDE // 4, -_SIDE // 4)
    sides = (mask[:3, middle], mask[-3:, middle], mask[middle, :3], mask[middle, -3:])
    return np.concatenate([side.ravel() for side in sides])
