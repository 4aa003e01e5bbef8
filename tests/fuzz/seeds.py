"""Small encoded images of every format that the decoder reads, to be mutated."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def build_seeds() -> list[bytes]:
    """Return one file each: JPEG in several flavours, PNG in several depths, WebP, TIFF and BMP."""
    rows, columns = np.mgrid[0:48, 0:64]
    pixels = np.stack([rows * 5, columns * 4, rows + columns], axis=2).astype(np.uint8)
    colour = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    images: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "JPEG", {"quality": 80}),
        (colour, "JPEG", {"quality": 80, "progressive": True}),
        (colour, "JPEG", {"exif": exif}),
        (colour.convert("L"), "JPEG", {}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {}),
        (colour.convert("RGBA"), "PNG", {}),
        (Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257), "PNG", {}),
        (colour, "WEBP", {}),
        (colour, "TIFF", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "BMP", {}),
    ]
    return [_encode(image, kind, options) for image, kind, options in images]


def _encode(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
