"""Encoded bytes to the stored square of pixels: the one decoder of preparation, prediction and service.

Limits are checked on the header, before anything is allocated. JPEG is decoded by libjpeg-turbo (``jpeg``) at
the smallest DCT scale that is still larger than the square; what it has no name for, and every other format, goes
to Pillow. Of a file with several frames the first one is taken, of a HEIF the primary one. ``orientation`` decides
which way is up, ``colour`` and ``depth`` how samples become 8-bit sRGB, and ``recognition`` what to say of bytes
that can't be opened.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, TiffImagePlugin
from pillow_heif import register_heif_opener

from melanoma_ray.config import Aspect, ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging import jpeg
from melanoma_ray.imaging.border import find_field_of_view
from melanoma_ray.imaging.colour import to_rgb, to_srgb
from melanoma_ray.imaging.depth import read_tiff_tags, unusual_tiff_pixels
from melanoma_ray.imaging.orientation import METADATA_ERRORS, orientation_of, turn_upright
from melanoma_ray.imaging.recognition import explain_unopened

READABLE_ENDINGS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        *(".png", ".tif", ".tiff", ".webp", ".bmp", ".dib", ".gif"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
        *(".avif", ".heic", ".heif", ".hif"),
        *(".pbm", ".pgm", ".pnm", ".ppm"),
    }
)
"""Endings of the files that the decoder can read. The decoder itself looks at the bytes, not at the name."""
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "JPEG2000", "AVIF", "HEIF", "PPM")
"""Formats that Pillow may try. It knows forty more; one is PostScript, for which it starts an interpreter."""
_MIN_SIDE = 8
"""Pixels; below it there is nothing to see, and the scaled decoder's rounding would dominate."""
_BORDER_RESERVE = 1.5
"""How much larger than the square to decode where a border may be cut off."""
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _TILE_WIDTH, _TILE_HEIGHT, _PROFILE = 256, 257, 258, 262, 322, 323, 34675
"""Numbers of TIFF's tags."""
warnings.filterwarnings("ignore", module=r"PIL\.")
"""Python remembers each different warning for good, and a damaged TIFF can have millions of them."""
register_heif_opener()


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

    An image of any colours and any depth becomes 8-bit sRGB; alpha is ignored.

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
    header = jpeg.read_header(encoded)
    if header is None:
        return None
    _check_size(header.width, header.height, config)
    least = round(config.side * _BORDER_RESERVE) if config.crop_border else config.side
    decoded = jpeg.decode_jpeg(encoded, header, least)
    if decoded is None:
        return None
    pixels, is_transposed = decoded
    size = (header.height, header.width) if is_transposed else (header.width, header.height)
    return pixels, *size


def _decode_any(encoded: bytes, config: ImageConfig) -> tuple[UInt8[np.ndarray, "height width 3"], int, int]:
    """Decode everything but ordinary JPEG, and give the verdict on damaged files.

    It may catch everything: Pillow's plug-ins raise what they like on damaged input, and one bad file must never
    end a job.
    """
    try:
        rgb = _decode_with_pillow(encoded, config)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError("too_many_pixels", str(error)) from error
    except Exception as error:
        message = str(error) or type(error).__name__
        cut = "truncated" in message.lower() or "premature" in message.lower()
        raise DecodeError("truncated" if cut else "unreadable", message) from error
    return rgb, rgb.shape[1], rgb.shape[0]


def _decode_with_pillow(encoded: bytes, config: ImageConfig) -> UInt8[np.ndarray, "height width 3"]:
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        if encoded.startswith(_TIFF_STARTS):
            return _decode_unusual_tiff(encoded, config)
        raise explain_unopened(encoded) from error
    with image:
        _check_size(*image.size, config)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _check_tiles(image.tag_v2, config)
        failure = jpeg.explain_failure(encoded) if image.format == "JPEG" else None
        if failure is not None:
            raise failure
        image.load()
        _check_size(*image.size, config)  # a HEIF tells its true size when it is decoded
        return turn_upright(to_rgb(image, encoded), orientation_of(image))


def _decode_unusual_tiff(encoded: bytes, config: ImageConfig) -> UInt8[np.ndarray, "height width 3"]:
    try:
        tags = read_tiff_tags(encoded)
        width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    except METADATA_ERRORS as error:
        raise explain_unopened(encoded) from error
    _check_size(width, height, config)
    _check_tiles(tags, config)
    pixels = unusual_tiff_pixels(encoded, tags)
    if pixels is None:
        msg = (
            "a TIFF that is damaged or of a kind that can't be read (photometric interpretation "
            f"{tags.get(_PHOTOMETRIC)}, bits {tags.get(_BITS)}): save it as RGB with 8 bits a sample"
        )
        raise DecodeError("unsupported_format", msg)
    return np.asarray(to_srgb(Image.fromarray(pixels), tags.get(_PROFILE)))


def _check_tiles(tags: Mapping[int, Any], config: ImageConfig) -> None:
    """Refuse tiles beyond the limit: each is decoded whole, and may be larger than the image that is cut from it."""
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    if width * height > config.max_pixels:
        msg = f"tiles of {width}×{height} pixels: at most {config.max_pixels} are allowed"
        raise DecodeError("too_many_pixels", msg)
