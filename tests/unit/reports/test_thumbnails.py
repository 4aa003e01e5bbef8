"""Thumbnails."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from melanoma_ray.reports.thumbnails import thumbnail_data_uri


def decode(uri: str) -> Image.Image:
    header, data = uri.split(",")
    assert header == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_thumbnail_keeps_proportions_and_colours() -> None:
    pixels = np.zeros((300, 600, 3), dtype=np.uint8)
    pixels[:] = [200, 60, 20]
    image = decode(thumbnail_data_uri(pixels, side=100))
    assert (image.format, image.size) == ("JPEG", (100, 50))
    np.testing.assert_allclose(np.asarray(image)[25, 50], [200, 60, 20], atol=4)


def test_a_small_image_is_not_enlarged() -> None:
    assert decode(thumbnail_data_uri(np.zeros((20, 30, 3), dtype=np.uint8))).size == (30, 20)
