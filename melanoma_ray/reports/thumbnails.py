"""Small copies of images that are embedded in a page."""

from __future__ import annotations

import base64
import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def thumbnail_data_uri(pixels: UInt8[np.ndarray, "height width 3"], side: int = 112) -> str:
    """Return the image as JPEG in a ``data:`` URI, with its proportions kept.

    Args:
        pixels: The image, RGB.
        side: Length of the longer side, pixels; a smaller image is not enlarged.
    """
    thumbnail = Image.fromarray(pixels)
    thumbnail.thumbnail((side, side))
    buffer = io.BytesIO()
    thumbnail.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
