"""Simple measurements of an image, which depend more on the camera than on the lesion."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

_SIDE = 48
"""Side of the small copy that is measured, pixels."""
_RIM_FRACTION = 0.2
"""Width of the rim in which skin is looked for, around the lesion, as a share of the side."""
_MIN_SKIN_FRACTION = 0.1
"""Smallest share of the rim that must look like skin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Measurements of one image."""

    red: float
    """Mean of the red channel, 0 to 255."""
    green: float
    """Mean of the green channel, 0 to 255."""
    blue: float
    """Mean of the blue channel, 0 to 255."""
    corner_brightness: float
    """Mean grey level of the four corners divided by that of the middle; near 0 with a dark border."""
    ita_degrees: float | None
    """Individual typology angle of the skin around the lesion, degrees; none: no skin is in view."""


def measure(pixels: UInt8[np.ndarray, "height width 3"]) -> Statistics:
    """Return the measurements of an RGB image.

    The individual typology angle is arctan((L* - 50) / b*): above 55° for very light skin, below -30° for dark skin. It
    needs a calibrated camera, which no dermoscopic collection has: light, polarisation and white balance change it by
    tens of degrees. So it can compare collections roughly, and says nothing about a person.

    References:
        Chardon 1991, doi:10.1111/j.1467-2494.1991.tb00561.x.
    """
    height, width = pixels.shape[:2]
    how = cv2.INTER_AREA if min(height, width) >= _SIDE else cv2.INTER_LINEAR
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=how)
    red, green, blue = small.reshape(-1, 3).mean(axis=0)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = _SIDE // 8
    corners = [grey[y, x] for y in (slice(size), slice(-size, None)) for x in (slice(size), slice(-size, None))]
    middle = grey[_SIDE // 4 : -_SIDE // 4, _SIDE // 4 : -_SIDE // 4]
    return Statistics(
        red=float(red),
        green=float(green),
        blue=float(blue),
        corner_brightness=float(np.mean(corners) / max(1.0, float(middle.mean()))),
        ita_degrees=_typology_angle(small),
    )


def _typology_angle(small: UInt8[np.ndarray, "side side 3"]) -> float | None:
    """Return the angle of the median skin colour in the rim, without dark border, hair and highlights."""
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    rim = round(_RIM_FRACTION * _SIDE)
    is_rim = np.ones(lab.shape[:2], bool)
    is_rim[rim:-rim, rim:-rim] = False
    candidates = lab[is_rim]
    skin = candidates[_looks_like_skin(candidates)]
    if len(skin) < _MIN_SKIN_FRACTION * len(candidates):
        return None
    lightness, _, yellow = np.median(skin, axis=0)
    return float(np.rad2deg(np.arctan2(lightness - 50, max(float(yellow), 1e-3))))


def _looks_like_skin(lab: Float32[np.ndarray, "pixel 3"]) -> Bool[np.ndarray, " pixel"]:
    """Return which pixels are neither black nor overexposed, and both reddish and yellowish."""
    lightness, green_red, blue_yellow = lab.T
    return np.asarray((lightness > 15) & (lightness < 98) & (green_red > 0) & (blue_yellow > 0))
