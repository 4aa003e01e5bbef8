"""From encoded bytes to a crop: the only decoder, used by preparation, prediction and the service.

Limits are checked on the header, before anything is allocated. JPEG is decoded by libjpeg-turbo (``jpeg``) at the
smallest DCT scale at which the image is still larger than the crop; kinds of JPEG that it doesn't support, and all
other formats, are decoded by Pillow, and DICOM as ``dicom`` says. Of a file with several frames the first one is used,
of a HEIF file the primary one; DICOM may have one. ``orientation`` decides which way is up, ``colour`` and ``depth``
how samples become 8-bit sRGB, and ``recognition`` which error bytes get that can't be opened.
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
from melanoma_ray.imaging import dicom, jpeg
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
        *dicom.DICOM_ENDINGS,
    }
)
"""File name endings of images that the decoder can read; the decoder itself uses the bytes, not the name."""
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "JPEG2000", "AVIF", "HEIF", "PPM")
"""Formats that Pillow may try. It has forty more; for one of them, PostScript, it would start an interpreter."""
_MIN_SIDE = 8
"""Smallest width and height, pixels: in less there is nothing to see, and the scaled decoder's rounding dominates."""
_BORDER_RESERVE = 1.5
"""Factor by which the decoded image is at least larger than the crop where a border may be cut off."""
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _TILE_WIDTH, _TILE_HEIGHT, _PROFILE = 256, 257, 258, 262, 322, 323, 34675
"""Numbers of TIFF tags."""
warnings.filterwarnings("ignore", module=r"PIL\.")
"""Python keeps each distinct warning in memory for ever, and a damaged TIFF can cause millions of them."""
register_heif_opener()


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """One decoded image."""

    pixels: UInt8[np.ndarray, "side side 3"]
    """The crop, RGB, upright."""
    whole: UInt8[np.ndarray, "whole_height whole_width 3"]
    """The whole image, RGB, upright, at the scale at which it was decoded; measurements are taken from it."""
    width: int
    """Width of the original, upright, pixels."""
    height: int
    """Height of the original, upright, pixels."""
    border_fraction: float
    """Share of the area that was cut off as a dark border, in [0, 1)."""

    @property
    def content_sha256(self) -> str:
        """SHA-256 of the decoded pixels and the original size, equal for copies whatever their metadata."""
        digest = hashlib.sha256(f"{self.width}x{self.height}:".encode())
        digest.update(np.ascontiguousarray(self.whole).data)
        return digest.hexdigest()


def decode_image(encoded: bytes, config: ImageConfig) -> DecodedImage:
    """Return an encoded image as upright pixels and as a crop.

    An image of any colour space and any depth becomes 8-bit sRGB; alpha is ignored.

    Args:
        encoded: The image.
        config: Limits, and how the crop is made.

    Raises:
        DecodeError: The image can't be used; the fault is one of ``schema.FAULTS``.
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
    """Refuse an encoded image that is too large; where the size is known, before it is read.

    Raises:
        DecodeError: The fault is ``too_many_bytes``.
    """
    if num_bytes > config.max_bytes:
        raise DecodeError("too_many_bytes", f"{num_bytes} bytes: at most {config.max_bytes} are allowed")


def fit_to_square(
    pixels: UInt8[np.ndarray, "height width 3"], side: int, aspect: Aspect
) -> UInt8[np.ndarray, "side side 3"]:
    """Return an image resized to a square: its centre cut out, with black bars, or stretched.

    Args:
        pixels: The image, RGB.
        side: Side of the square, pixels.
        aspect: How an oblong image is made square, as in ``ImageConfig``.
    """
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
    """Return an image resized by area averaging when it shrinks, to avoid aliasing, and linearly otherwise.

    Args:
        pixels: The image, RGB.
        width: New width, pixels.
        height: New height, pixels.
    """
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
    """Return upright pixels (scaled down if large) and the original's width and height; none: Pillow must try."""
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
    """Return pixels, width and height of what isn't ordinary JPEG, or raise the fault of a damaged file.

    It may catch every exception, because Pillow's plug-ins and the decoders of DICOM raise all kinds of them on damaged
    input, and one bad file must never end a job.
    """
    is_dicom = dicom.is_dicom(encoded)
    try:
        return _decode_dicom(encoded, config) if is_dicom else _decode_with_pillow(encoded, config)
    except DecodeError:
        raise
    except Image.DecompressionBombError as error:
        raise DecodeError("too_many_pixels", str(error)) from error
    except Exception as error:
        message = str(error) or type(error).__name__
        cut = "truncated" in message.lower() or "premature" in message.lower()
        told = "a DICOM image whose pixels are damaged or cut off" if is_dicom else message  # it may quote the header
        raise DecodeError("truncated" if cut else "unreadable", told) from error


def _decode_dicom(encoded: bytes, config: ImageConfig) -> tuple[UInt8[np.ndarray, "height width 3"], int, int]:
    image = dicom.read_image(encoded, config.max_bytes)
    _check_size(image.width, image.height, config)
    dicom.check_samples(image)
    frame = dicom.jpeg_of(image)
    if frame is None:
        return dicom.decode_pixels(image), image.width, image.height
    pixels, width, height = _decode_jpeg(frame, config) or _decode_with_pillow(frame, config)
    return dicom.to_profiled_srgb(image, pixels), width, height


def _decode_with_pillow(encoded: bytes, config: ImageConfig) -> tuple[UInt8[np.ndarray, "height width 3"], int, int]:
    try:
        image = Image.open(io.BytesIO(encoded), formats=_FORMATS)
    except Image.DecompressionBombError:
        raise
    except Exception as error:
        if encoded.startswith(_TIFF_STARTS):
            return _with_size(_decode_unusual_tiff(encoded, config))
        raise explain_unopened(encoded) from error
    with image:
        _check_size(*image.size, config)
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            _check_tiles(image.tag_v2, config)
        failure = jpeg.explain_failure(encoded) if image.format == "JPEG" else None
        if failure is not None:
            raise failure
        image.load()
        _check_size(*image.size, config)  # again, because the true size of a HEIF is known only now
        return _with_size(turn_upright(to_rgb(image, encoded), orientation_of(image)))


def _with_size(rgb: UInt8[np.ndarray, "height width 3"]) -> tuple[UInt8[np.ndarray, "height width 3"], int, int]:
    return rgb, rgb.shape[1], rgb.shape[0]


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
    """Refuse tiles of too many pixels: each is decoded as a whole and may be larger than the image itself."""
    width, height = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)
    if width * height > config.max_pixels:
        msg = f"tiles of {width}×{height} pixels: at most {config.max_pixels} are allowed"
        raise DecodeError("too_many_pixels", msg)
