"""Converts samples of more than eight bits to eight, by the range that the file states or else the one that they fill.

A 16-bit file often has the 10, 12 or 14 bits of a camera, unscaled; read as 16 bits it is almost black. Samples that
fit no range are a fault, ``unknown_range``, because a black or a white picture would be worse.
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
"""OpenCV would write a line to the console for each damaged tag; the fault has what matters."""
_DEPTHS = (1, 8, 10, 12, 14)
"""Numbers of bits that samples may have in a container of more bits, besides those of the container."""
_OVERSHOOT = {"f": 0.1, "i": 0.02, "u": 0.02}
"""Share of the range by which samples may exceed it on either side, because of resampling or lossy compression."""
_LEAST_USED_FRACTION = 1 / 16
"""Smallest share of its range that the brightest sample has; below it, the range must be another one."""
_HAVE_HIDDEN_BITS = frozenset({"PNG", "TIFF"})
"""Formats whose colours may have 16 bits, of which Pillow keeps the upper eight."""
_SUSPICIOUS_LEVEL = 64
"""Level of 256; if the brightest colour is below it, the samples may be 14 bits or fewer, unscaled."""
_COMPARED_ROWS = 256
"""Number of rows in the middle of an image in which the second reading must agree with the first."""
_WIDEST = 16
_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT, _LEAST_SAMPLE, _GREATEST_SAMPLE = 258, 262, 339, 340, 341
"""Numbers of TIFF tags. MinSampleValue and MaxSampleValue (280, 281) aren't used: TIFF 6.0 forbids it for display."""
_WHITE_IS_ZERO = 0
_SIGNED = 2
_KNOWN_TYPES = frozenset({"uint16", "int16", "int32", "uint32", "float32", "float64"})

Range = tuple[float, float]
"""The values of a sample that are black and white."""


def deep_pixels(image: Image.Image, encoded: bytes) -> UInt8[np.ndarray, "height width *channels"] | None:
    """Return a loaded image's grey or colours in eight bits; none: its samples have eight bits and no sign already.

    PNG's sBIT isn't used, because it states the number of significant bits, not the value of white.

    Args:
        image: Image that Pillow has loaded.
        encoded: The bytes that it was loaded from.

    Raises:
        DecodeError: The fault is ``unknown_range``, or ``unsupported_format`` for a JPEG 2000 of more than eight bits.
    """
    tags = dict(image.tag_v2) if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    if image.mode.startswith("I") or image.mode == "F":
        return _show(np.asarray(image), tags, _stated_range(image, encoded))
    if image.mode == "L" and _first(tags.get(_SAMPLE_FORMAT)) == _SIGNED:
        return _show(np.asarray(image).view(np.int8), tags, None)
    if image.format == "JPEG2000" and _jpeg2000_depth(encoded) > 8:
        return _jpeg2000_colours(encoded)
    return _deep_colours(image, encoded) if image.format in _HAVE_HIDDEN_BITS else None


def unusual_tiff_pixels(encoded: bytes, tags: dict[int, Any]) -> UInt8[np.ndarray, "height width *channels"] | None:
    """Return the grey or colours, upright, of a TIFF that Pillow can't read; none: OpenCV can't read it either.

    These are floating-point colours, 64-bit floats, and 10, 12 or 14 packed bits, which OpenCV scales to 16.

    Args:
        encoded: The TIFF.
        tags: Tags of its first image.

    Raises:
        DecodeError: The fault is ``unknown_range``.
    """
    samples = _read_with_opencv(encoded) if _first(tags.get(_PHOTOMETRIC)) in {0, 1, 2} else None
    if samples is None or samples.dtype.name not in _KNOWN_TYPES:
        return None
    is_packed = int(_first(tags.get(_BITS, 1))) < _WIDEST
    return _show(samples, tags, (0, 2**_WIDEST - 1) if is_packed else _stated_by_tags(tags))


def read_tiff_tags(encoded: bytes) -> dict[int, Any]:
    """Return the tags of the first image of any kind of TIFF."""
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
    """Return samples scaled so that black is 0 and white 255.

    Without a stated range, black is 0 and white is the largest value of the smallest of these numbers of bits that
    holds all samples: 1, 8, 10, 12, 14 or ``widest`` (for floating point, 1.0 instead of one bit). Samples may exceed
    the range by a little (``_OVERSHOOT``), which is cut off. Integers of eight bits or more keep their upper eight.

    Args:
        samples: All samples of an image, so that its colours share one range.
        stated: Range that the file states; none: it states none.
        widest: Number of bits of the container, without the sign.

    Raises:
        DecodeError: The fault is ``unknown_range``: samples are negative, not finite or too large, or use less than a
            sixteenth of each range that holds them.
    """
    if samples.dtype.kind == "f" and not np.isfinite(samples).all():
        raise DecodeError("unknown_range", "some samples are infinite or not a number")
    low, high = stated or _fitting_range(samples, widest)
    num_bits = int(high).bit_length()
    if samples.dtype.kind in "iu" and low == 0 and high == 2**num_bits - 1 and num_bits >= 8:
        is_within = samples.min() >= 0 and samples.max() <= high
        within = samples if is_within else samples.clip(0, int(high))
        eight_bits = np.empty(samples.shape, np.uint8)
        np.right_shift(within, num_bits - 8, out=eight_bits, casting="unsafe")
        return eight_bits
    levels = samples.astype(np.float32)
    levels -= np.float32(low)
    levels *= np.float32(255 / (high - low))
    return np.asarray(np.rint(levels, out=levels).clip(0, 255, out=levels), np.uint8)


def _fitting_range(samples: Shaped[np.ndarray, "*shape"], widest: int) -> Range:
    low, high = float(samples.min()), float(samples.max())
    slack = _OVERSHOOT[samples.dtype.kind]
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
    """Return the range that the file states; none: it states none.

    A PPM states its white, and Pillow scales it to 16 bits; it also does so with JPEG 2000 of fewer bits.
    """
    if image.format == "JPEG2000":
        return (0, 2**_WIDEST - 1) if _jpeg2000_depth(encoded) < _WIDEST else None
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
    """Return the colours read again with all bits, if the upper eight are so dark that there may be fewer than 16."""
    num_colours = {"RGB": 3, "RGBA": 3, "LA": 1}.get(image.mode, 0)
    bands = image.getextrema()[:num_colours]
    is_suspicious = bool(bands) and np.max(bands) < _SUSPICIOUS_LEVEL
    samples = _read_with_opencv(encoded) if is_suspicious else None
    if samples is None or samples.dtype != np.uint16 or samples.shape[1::-1] != image.size:
        return None
    top = max(0, (image.height - _COMPARED_ROWS) // 2)
    bottom = min(image.height, top + _COMPARED_ROWS)
    upper = np.asarray(image.crop((0, top, image.width, bottom)).convert("RGB"))
    again = samples.reshape(*samples.shape[:2], -1)[top:bottom] >> 8
    return to_eight_bits(samples) if (again == upper).all() else None


def _jpeg2000_colours(encoded: bytes) -> UInt8[np.ndarray, "height width *channels"]:
    """Return colours as OpenCV reads them, because Pillow 13 rounds the brightest of deep ones up to black."""
    samples, depth = _read_with_opencv(encoded), _jpeg2000_depth(encoded)
    if samples is None or samples.dtype != np.uint16:
        msg = f"a JPEG 2000 of {depth} bits in a colour space that can't be read: save it with 8 bits a sample"
        raise DecodeError("unsupported_format", msg)
    return to_eight_bits(samples, (0, 2**depth - 1) if depth < _WIDEST else None)


def _jpeg2000_depth(encoded: bytes) -> int:
    """Return the bits of the first component, as the codestream's header has them."""
    start = encoded.find(b"\xff\x4f\xff\x51")
    return (encoded[start + 42] & 0x7F) + 1


def _read_with_opencv(encoded: bytes) -> Shaped[np.ndarray, "height width *channels"] | None:
    """Return grey or RGB samples as they are stored, without alpha; none: they can't be read."""
    try:
        samples = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if samples is None or samples.ndim == 2:
        return samples
    return samples[:, :, 2::-1] if samples.shape[2] >= 3 else None


def _first(value: Any) -> Any:  # noqa: ANN401
    """Return the first of a tag's values, since all samples of an image are of one kind."""
    return value[0] if isinstance(value, tuple) and value else value
