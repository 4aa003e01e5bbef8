"""Samples of more than eight bits to eight: by the range that the file states, else by the one that they fill.

A 16-bit file often holds the 10, 12 or 14 bits of a camera, unscaled; read as 16 bits it is almost black.
What fits no range is a fault of its own, ``unknown_range``, rather than a black or a white picture.
"""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, TiffImagePlugin

from melanoma_ray.errors import DecodeError

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
"""Of each damaged tag it would tell the console; the fault says what matters."""
_DEPTHS = (1, 8, 10, 12, 14)
"""Bits that a container of more bits is believed to hold, besides its own number."""
_FLOAT_OVERSHOOT = 0.1
"""Of the range: by so much resampling may leave it on either side."""
_LEAST_USED_FRACTION = 1 / 16
"""Of the range: if the brightest sample is below it, the range is another one; 0 is black in each of them."""
_HAVE_HIDDEN_BITS = frozenset({"PNG", "TIFF", "JPEG2000"})
"""Formats whose colours may have 16 bits, of which Pillow keeps the upper eight."""
_SUSPICIOUS_LEVEL = 64
"""Of 256: a brightest colour below it may be 14 bits or fewer, unscaled."""
_WIDEST = 16
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _LEAST_SAMPLE, _GREATEST_SAMPLE = 258, 262, 339, 340, 341
"""TIFF's tags. MinSampleValue and MaxSampleValue (280, 281) aren't asked: TIFF 6.0 forbids to display by them."""
_WHITE_IS_ZERO = 0
_SIGNED = 2
_KNOWN_TYPES = frozenset({"uint16", "int16", "int32", "uint32", "float32", "float64"})

Range = tuple[float, float]
"""The samples that are black and white."""


def deep_pixels(image: Image.Image, encoded: bytes) -> UInt8[np.ndarray, "height width *channels"] | None:
    """Return a loaded image's grey or colours in eight bits, or nothing if its samples have eight and no sign.

    PNG's sBIT isn't asked: it says how many bits mean something, not which value is white.

    Raises:
        DecodeError: ``unknown_range``.
    """
    tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode.startswith("I") or image.mode == "F":
        return _show(np.asarray(image), tags, _stated_range(image, encoded))
    if image.mode == "L" and _first(tags.get(_SAMPLE_FORMAT)) == _SIGNED:
        return _show(np.asarray(image).view(np.int8), tags, None)
    return _deep_colours(image, encoded) if image.format in _HAVE_HIDDEN_BITS else None


def unusual_tiff_pixels(encoded: bytes, tags: dict[int, Any]) -> UInt8[np.ndarray, "height width *channels"] | None:
    """Return the grey or colours, upright, of a TIFF that Pillow has no name for, or nothing if OpenCV has none either.

    Floating-point colours, 64-bit floats, and 10, 12 or 14 packed bits, which OpenCV scales to 16.

    Raises:
        DecodeError: ``unknown_range``.
    """
    samples = _read_with_opencv(encoded) if _first(tags.get(_PHOTOMETRIC)) in {0, 1, 2} else None
    if samples is None or samples.dtype.name not in _KNOWN_TYPES:
        return None
    is_packed = int(_first(tags.get(_BITS, 1))) < _WIDEST
    return _show(samples, tags, (0, 2**_WIDEST - 1) if is_packed else _stated_by_tags(tags))


def read_tiff_tags(encoded: bytes) -> dict[int, Any]:
    """Return the tags of a TIFF's first image, whatever its kind."""
    stream = io.BytesIO(encoded)
    header = stream.read(8)
    if 43 in header[2:4]:  # BigTIFF
        header += stream.read(8)
    tags = TiffImagePlugin.ImageFileDirectory_v2(header)
    stream.seek(tags.next)
    tags.load(stream)
    return dict(tags)


def to_eight_bits(
    samples: Shaped[np.ndarray, "*shape"], stated: Range | None = None, widest: int = _WIDEST
) -> UInt8[np.ndarray, "*shape"]:
    """Scale samples so that black is 0 and white 255.

    Without a stated range, black is 0 and white is the greatest value of the smallest of these that holds all
    samples: 1, 8, 10, 12, 14 or ``widest`` bits (for floating point: 1.0 in place of one bit, and a tenth more on
    either side, which is cut off). Integers of eight bits or more keep their upper eight.

    Args:
        samples: All of an image's, so that its colours share one range.
        stated: By the file.
        widest: Bits of the container that hold a value, without the sign.

    Raises:
        DecodeError: ``unknown_range``: negative, not finite or too great, or in no range's upper fifteen sixteenths.
    """
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise DecodeError("unknown_range", "some samples are infinite or not a number")
    low, high = stated or _fitting_range(samples, widest)
    num_bits = int(high).bit_length()
    if samples.dtype.kind in "iu" and low == 0 and high == 2**num_bits - 1 and num_bits >= 8:
        return np.asarray(samples.clip(0, int(high)) >> num_bits - 8, np.uint8)
    levels = (samples.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.rint(levels).clip(0, 255), np.uint8)


def _fitting_range(samples: Shaped[np.ndarray, "*shape"], widest: int) -> Range:
    low, high = float(samples.min()), float(samples.max())
    slack = _FLOAT_OVERSHOOT if samples.dtype.kind == "f" else 0
    bits = [bits for bits in _DEPTHS if bits < widest]
    tops = (float(2**bits - 1) for bits in [*bits, widest])
    top = next((top for top in tops if -slack * top <= low and high <= (1 + slack) * top), None)
    is_one_bit = top == 1 and samples.dtype.kind != "f"
    if top is None or (not is_one_bit and 0 < high < top * _LEAST_USED_FRACTION):
        msg = (
            f"samples from {low:g} to {high:g}, and the file doesn't say which of them is white; "
            "save it with 8 bits a sample"
        )
        raise DecodeError("unknown_range", msg)
    return 0, top


def _show(
    samples: Shaped[np.ndarray, "*shape"], tags: dict[int, Any], stated: Range | None
) -> UInt8[np.ndarray, "*shape"]:
    is_signed = _first(tags.get(_SAMPLE_FORMAT)) == _SIGNED
    widest = min(int(_first(tags.get(_BITS, _WIDEST))), _WIDEST + is_signed) - is_signed
    eight_bits = to_eight_bits(samples, stated, min(widest, _WIDEST))
    return np.invert(eight_bits) if _first(tags.get(_PHOTOMETRIC)) == _WHITE_IS_ZERO else eight_bits


def _stated_range(image: Image.Image, encoded: bytes) -> Range | None:
    """A PPM states its white and Pillow scales to 16 bits by it; so it does with JPEG 2000 of fewer bits."""
    if image.format == "JPEG2000":
        start = encoded.find(b"\xff\x4f\xff\x51")  # the codestream; its 43rd byte is the first component's depth
        depth = (encoded[start + 42] & 0x7F) + 1
        return (0, 2**_WIDEST - 1) if depth < _WIDEST else None
    if image.format == "PPM" and image.mode == "I":
        return 0, 2**_WIDEST - 1
    return _stated_by_tags(dict(image.tag_v2)) if isinstance(image, TiffImagePlugin.TiffImageFile) else None


def _stated_by_tags(tags: dict[int, Any]) -> Range | None:
    if _LEAST_SAMPLE in tags and _GREATEST_SAMPLE in tags:
        low, high = float(_first(tags[_LEAST_SAMPLE])), float(_first(tags[_GREATEST_SAMPLE]))
        return (low, high) if -np.inf < low < high < np.inf else None
    bits = int(_first(tags.get(_BITS, _WIDEST)))
    return (0, 2**bits - 1) if bits < _WIDEST else None


def _deep_colours(image: Image.Image, encoded: bytes) -> UInt8[np.ndarray, "height width *channels"] | None:
    """Read again, with all bits, where the upper eight of them are suspiciously dark."""
    num_colours = {"RGB": 3, "RGBA": 3, "LA": 1}.get(image.mode, 0)
    bands = image.getextrema()[:num_colours]
    is_suspicious = bool(bands) and np.max(bands) < _SUSPICIOUS_LEVEL
    samples = _read_with_opencv(encoded) if is_suspicious else None
    if samples is None or samples.dtype != np.uint16 or samples.shape[1::-1] != image.size:
        return None
    upper = np.asarray(image.convert("RGB"), np.int16)
    difference = (samples.reshape(*samples.shape[:2], -1) >> 8).astype(np.int16) - upper
    return to_eight_bits(samples) if np.abs(difference).max() <= 1 else None  # JPEG 2000's upper bits are rounded


def _read_with_opencv(encoded: bytes) -> Shaped[np.ndarray, "height width *channels"] | None:
    """Return grey or RGB as they are stored, without alpha, or nothing if they can't be read."""
    try:
        samples = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if samples is None or samples.ndim == 2:
        return samples
    return samples[:, :, 2::-1] if samples.shape[2] >= 3 else None


def _first(value: Any) -> Any:  # noqa: ANN401
    """Return the first of a tag's values; the samples of one image are all of one kind."""
    return value[0] if isinstance(value, tuple) and value else value
