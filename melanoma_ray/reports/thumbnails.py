"""Small copies of images that are embedded in a page."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
from jaxtyping import UInt8
from PIL import Image

_PIXELS_OF_A_PAGE = 60_000_000
"""Pixels that a page's pictures may have together: some 12 MB of JPEG, which a mail still carries as base64."""
_LEAST_SIDE, _LARGEST_SIDE = 112, 384


def picture_side(num_images: int) -> int:
    """Return how long the sides of a page's pictures may be, pixels: the fewer there are, the larger.

    >>> picture_side(10), picture_side(2000)
    (384, 173)
    """
    return max(_LEAST_SIDE, min(_LARGEST_SIDE, math.isqrt(_PIXELS_OF_A_PAGE // max(1, num_images))))


def thumbnail_data_uri(pixels: UInt8[np.ndarray, "height width 3"], side: int = 112) -> str:
    """Return the image as JPEG in a ``data:`` URI, with its proportions kept.

    Args:
        pixels: The image, RGB.
        side: Length of the longer side, pixels; a smaller image is not enlarged.
    """
    return jpeg_data_uri(encode_thumbnail(pixels, side))


def jpeg_data_uri(encoded: bytes) -> str:
    """Return a JPEG file as a ``data:`` URI."""
    return "data:image/jpeg;base64," + base64.b64encode(encoded).decode("ascii")


def encode_thumbnail(pixels: UInt8[np.ndarray, "height width 3"], side: int) -> bytes:
    """Return the image as JPEG, with its proportions kept.

    Args:
        pixels: The image, RGB.
        side: Length of the longer side, pixels; a smaller image is not enlarged.
    """
    thumbnail = Image.fromarray(pixels)
    thumbnail.thumbnail((side, side))
    buffer = io.BytesIO()
    thumbnail.save(buffer, format="JPEG", quality=80)
    return buffer.getvalue()
