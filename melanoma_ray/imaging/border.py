"""The round field of view of a dermatoscope on a dark background, and the rectangle of it that is kept."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

_SIDE = 96
"""Side of the small copy that is examined, pixels."""
_DARK = 20
"""Largest grey level, of 255, of background."""
_MIN_DARK_FRACTION = 0.03
"""Smallest dark share of the image that is worth cutting off."""
_MAX_INSIDE_DARK_FRACTION = 0.05
"""Largest dark share of the ellipse; with more, the dark part isn't a background around it."""
_KEPT_FRACTION = 0.93
"""Share of the ellipse's axes that is kept, so that the rectangle has little of the background in its corners."""
_MIN_SIDE_FRACTION = 0.4
"""Smallest side of a field of view as a share of the image's; a smaller one is rather a dark image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """A rectangle in an image; all numbers are pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "box_height box_width 3"]:
        """Return the part of an image inside the rectangle."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


def find_field_of_view(pixels: UInt8[np.ndarray, "height width 3"]) -> Box | None:
    """Return the rectangle around the bright ellipse in an image with a dark background; none: there is no ellipse.

    As by the winners of ISIC 2019: the image is binarised at a low threshold, an ellipse is fitted by the moments of
    the bright part, and it counts only if its outside is dark and its inside isn't.

    References:
        Gessert 2020, doi:10.1016/j.mex.2020.100864.
    """
    height, width = pixels.shape[:2]
    small = cv2.resize(pixels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    is_bright = cv2.medianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), 5) > _DARK
    if is_bright.mean() > 1 - _MIN_DARK_FRACTION or not is_bright.any() or not _has_dark_corners(is_bright):
        return None
    rows, columns = np.nonzero(is_bright)
    centre_x, centre_y = columns.mean(), rows.mean()
    # In a filled ellipse the standard deviation along an axis is half of the semi-axis.
    half_x, half_y = 2 * columns.std(), 2 * rows.std()
    grid_y, grid_x = np.mgrid[0:_SIDE, 0:_SIDE]
    is_inside = ((grid_x - centre_x) / max(half_x, 1)) ** 2 + ((grid_y - centre_y) / max(half_y, 1)) ** 2 < 0.9
    if (~is_bright[is_inside]).mean() > _MAX_INSIDE_DARK_FRACTION:
        return None
    keep = _KEPT_FRACTION
    left, right = np.clip([centre_x - keep * half_x, centre_x + keep * half_x], 0, _SIDE) * width / _SIDE
    top, bottom = np.clip([centre_y - keep * half_y, centre_y + keep * half_y], 0, _SIDE) * height / _SIDE
    if min((right - left) / width, (bottom - top) / height) < _MIN_SIDE_FRACTION:
        return None
    return Box(left=int(left), top=int(top), width=int(right - left), height=int(bottom - top))


def _has_dark_corners(is_bright: np.ndarray) -> bool:
    """Return whether three or four corners are dark; a dark lesion at the image's edge makes fewer of them dark."""
    size = _SIDE // 16
    corners = (
        is_bright[y, x].mean() for y in (slice(size), slice(-size, None)) for x in (slice(size), slice(-size, None))
    )
    return sum(bool(corner < 0.5) for corner in corners) >= 3
