"""Which way is up: the orientation of an image's metadata, read and undone in one place for every format.

Nothing here may fail: metadata that can't be read, or whose orientation isn't one of 1 to 8, mean upright.
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
"""What Pillow's readers of metadata raise on damaged ones."""
_ORIENTATION_TAG = 0x0112
TRANSPOSED = frozenset({5, 6, 7, 8})
"""Orientations whose undoing swaps width and height."""


def orientation_of(image: Image.Image) -> int:
    """Return the orientation in EXIF, else in XMP, 1 to 8; TIFF, HEIF and AVIF have their own, which Pillow merges."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, UPRIGHT)
    except METADATA_ERRORS:
        return UPRIGHT
    return int(value) if value in range(1, 9) else UPRIGHT


def turn_upright(
    pixels: UInt8[np.ndarray, "height width 3"], orientation: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Undo an orientation (CIPA DC-008, section 4.6.4)."""
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
