"""The orientation in an image's metadata, read and undone here for all formats.

Nothing here may fail: metadata that can't be read, or an orientation other than 1 to 8, count as upright.
"""

from __future__ import annotations

import struct

import numpy as np
from jaxtyping import UInt8
from PIL import Image

UPRIGHT = 1
METADATA_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)
"""Exceptions that Pillow's readers of metadata raise on damaged metadata."""
_ORIENTATION_TAG = 0x0112
TRANSPOSED = frozenset({5, 6, 7, 8})
"""Orientations in which width and height are swapped."""


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1 to 8, from EXIF, or from XMP; Pillow includes those of TIFF, HEIF and AVIF."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, UPRIGHT)
    except METADATA_ERRORS:
        return UPRIGHT
    return int(value) if value in range(1, 9) else UPRIGHT


def turn_upright(
    pixels: UInt8[np.ndarray, "height width 3"], orientation: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Return pixels turned upright from an orientation (CIPA DC-008, section 4.6.4)."""
    if orientation in {2, 3}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4}:
        pixels = pixels[::-1]
    if orientation in TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {7, 8}:
        pixels = pixels[::-1]
    return pixels
