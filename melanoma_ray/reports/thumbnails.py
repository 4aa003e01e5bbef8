"""Small copies of images that live inside the page's own text."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def thumbnail_data_uri(pixels: UInt8[np.ndarray, "height width 3"], side: int = 112) -> str:
    """Return a JPEG of the image as a ``data:`` URI, in its own proportions.

    Args:
        pixels: RGB.
        side: Longest side, pixels; a smaller image is not enlarged.
    """
    thumbnail = Image.fromarray(pixels)
    thumbnail.thumbnail((side, side))
    buffer = io.BytesIO()
    thumbnail.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
