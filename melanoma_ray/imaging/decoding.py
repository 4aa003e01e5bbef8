"""Encoded bytes to the stored square of pixels: the one decoder of preparation, prediction and service.

Limits are checked on the header, before anything is allocated. JPEG is decoded by libjpeg-turbo at
the smallest DCT scale that is still larger than the square; whatever it refuses goes to Pillow.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image, ImageOps

from melanoma_ray.config import Aspect, ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.border import find_field_of_view

_MIN_SIDE = 8
"""Pixels; below it there is nothing to see, and the scaled decoder's rounding would dominate."""
_BORDER_RESERVE = 1.5
"""How much larger than the square to decode where a border may be cut off."""
warnings.filterwarnings("ignore", module=r"PIL\.")
"""Python remembers each different warning for good, and a damaged TIFF can have millions of them."""
_LEFT_TO_PILLOW = (ValueError, KeyError)
"""What simplejpeg raises for a damaged file, and for chroma sampling that it has no name for."""
_JPEG_START = b"\xff\xd8\xff"
_EXIF_ORIENTATION = 0x0112
_TRANSPOSED_ORIENTATIONS = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """One image, ready to be stored."""

    pixels: UInt8[np.ndarray, "side side 3"]
    """RGB, upright."""
    whole: UInt8[np.ndarray, "whole_height whole_width 3"]
    """All of the image, upright, at the scale it was decoded at: what is measured of it is measured here."""
    width: int
    """Of the original, upright, pixels."""
    height: int
    """Of the original, upright, pixels."""
    border_fraction: float
    """Of the area, cut off as a dark border, in [0, 1)."""

    @property
    def content_sha256(self) -> str:
        """Of the decoded pixels and the original size: equal for exact copies, whatever their metadata."""
        digest = hashlib.sha256(f"{self.width}x{self.height}:".encode())
        digest.update(np.ascontiguousarray(self.whole).data)
        return digest.hexdigest()


def decode_image(encoded: bytes, config: ImageConfig) -> DecodedImage:
    """Decode, turn upright, and fit to the stored square.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; alpha is ignored.

    Raises:
        DecodeError: With one of ``schema.FAULTS``.
    """
    if not encoded:
        raise DecodeError("empty", "the file has no bytes")
    check_num_bytes(len(encoded), config)
    whole, width, height = _decode_jpeg(encoded, config) or _decode_any(encoded, config)
    view = find_field_of_view(whole) if config.crop_border else None
    inner = whole if view is None else view.cut(whole)
    return DecodedImage(
        pixels=fit_to_square(inner, config.side, config.aspect),
        whole=whole,
        width=width,
        height=height,
        border_fraction=1 - inner.size / whole.size,
    )


def check_num_bytes(num_bytes: int, config: ImageConfig) -> None:
    """Refuse an encoded image that is too large, before it is read if its size is known.

    Raises:
        DecodeError: ``too_many_bytes``.
    """
    if num_bytes > config.max_bytes:
        raise DecodeError("too_many_bytes", f"{num_bytes} bytes: at most {config.max_bytes} are allowed")


def fit_to_square(
    pixels: UInt8[np.ndarray, "height width 3"], side: int, aspect: Aspect
) -> UInt8[np.ndarray, "side side 3"]:
    """Resize to a square by the aspect rule: centred crop, black bars, or stretched."""
    height, width = pixels.shape[:2]
    if aspect == "crop":
        short = min(height, width)
        top, left = (height - short) // 2, (width - short) // 2
        return resize(pixels[top : top + short, left : left + short], side, side)
    if aspect == "squash":
        return resize(pixels, side, side)
    long = max(height, width)
    inner_height, inner_width = max(1, round(side * height / long)), max(1, round(side * width / long))
    square = np.zeros((side, side, 3), np.uint8)
    top, left = (side - inner_height) // 2, (side - inner_width) // 2
    square[top : top + inner_height, left : left + inner_width] = resize(pixels, inner_width, inner_height)
    return square


def resize(
    pixels: UInt8[np.ndarray, "height width 3"], width: int, height: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Resize by area averaging when shrinking (no aliasing) and linearly when enlarging."""
    if pixels.shape[:2] == (height, width):
        return np.ascontiguousarray(pixels)
    shrinks = pixels.shape[0] >= height and pixels.shape[1] >= width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), np.uint8)


def _check_size(width: int, height: int, config: ImageConfig) -> None:
    if width * height > config.max_pixels:
        raise DecodeError("too_many_pixels", f"{width}×{height} pixels: at most {config.max_pixels} are allowed")
    if min(width, height) < _MIN_SIDE:
        raise DecodeError("too_few_pixels", f"{width}×{height} pixels: at least {_MIN_SIDE}×{_MIN_SIDE} are needed")


def _decode_jpeg(encoded: bytes, config: ImageConfig) -> tuple[UInt8[np.ndarray, "height width 3"], int, int] | None:
    """Return upright pixels (scaled down if large), width and height, or nothing if Pillow must try."""
    if not encoded.startswith(_JPEG_START):
        return None
    try:
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(encoded)
    except _LEFT_TO_PILLOW:
        return None
    _check_size(width, height, config)
    if colour_space in {"CMYK", "YCCK"}:
        return None
    least = round(config.side * _BORDER_RESERVE) if config.crop_border else config.side
    try:
        pixels = simplejpeg.decode_jpeg(encoded, colorspace="RGB", min_height=least, min_width=least, fastdct=True)
    except _LEFT_TO_PILLOW:
        return None
    orientation = _orientation(encoded)
    if orientation in _TRANSPOSED_ORIENTATIONS:
        width, height = height, width
    return _turn_upright(pixels, orientation), width, height


def _orientation(encoded: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) where there is none; most dermoscopes write none."""
    if b"Exif\x00\x00" not in encoded[:65536]:
        return 1
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return int(image.getexif().get(_EXIF_ORIENTATION, 1))
    except (OSError, ValueError, SyntaxError, TypeError):
        return 1


def _turn_upright(
    pixels: UInt8[np.ndarray, "height width 3"], orientation: int
) -> UInt8[np.ndarray, "new_height new_width 3"]:
    """Undo an EXIF orientation (CIPA DC-008, section 4.6.4)."""
    if orientation in {2, 3}:
        pixels = pixels[:, ::-1]
    if orientation in {3, 4}:
        pixels = pixels[::-1]
    if orientation in _TRANSPOSED_ORIENTATIONS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {6, 7}:
        pixels = pixels[:, ::-1]
    if orientation in {7, 8}:
        pixels = pixels[::-1]
    return pixels


def _decode_any(encoded: bytes, config: ImageConfig) -> tuple[UInt8[np.ndarray, "height width 3"], int, int]:
    """Decode with Pillow: PNG, WebP, TIFF, BMP, CMYK JPEG, and the verdict on damaged files.

    It may catch everything: Pillow's plug-ins raise what they like on damaged input, and one bad file must never
    end a job.
    """
    try:
        image = Image.open(io.BytesIO(encoded))
    except Image.DecompressionBombError as error:
        raise DecodeError("too_many_pixels", str(error)) from error
    except Exception as error:
        if encoded.startswith(_JPEG_START):
            raise DecodeError("truncated", "a JPEG that ends within its header") from error
        raise DecodeError("not_an_image", "the bytes are of no known image format") from error
    with image:
        _check_size(*image.size, config)
        try:
            rgb = _to_rgb(image)
        except Exception as error:
            cut = "truncated" in str(error).lower() or "premature" in str(error).lower()
            raise DecodeError("truncated" if cut else "unreadable", f"{image.format}: {error}") from error
    return rgb, rgb.shape[1], rgb.shape[0]


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        grey = np.asarray(upright).astype(np.int64)
        eight_bits = (grey >> 8 if grey.max(initial=0) > 255 else grey).clip(0, 255).astype(np.uint8)
        return np.repeat(eight_bits[:, :, None], 3, axis=2)
    return np.asarray(upright.convert("RGB"))
