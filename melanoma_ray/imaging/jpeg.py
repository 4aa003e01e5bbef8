"""JPEG decoded by libjpeg-turbo, at the smallest DCT scale that is still larger than the crop, and its damage.

libjpeg fills what it can't read with grey and warns. Here a warning is a fault, except for two that leave all pixels
intact: the end marker is missing, or there are a few extraneous bytes before it. JPEG has no checksum, so a changed
byte that can still be decoded goes unnoticed.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
from jaxtyping import UInt8
from PIL import Image

from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.colour import to_srgb
from melanoma_ray.imaging.orientation import METADATA_ERRORS, TRANSPOSED, UPRIGHT, orientation_of, turn_upright

START = b"\xff\xd8\xff"
_END = b"\xff\xd9"
_LEFT_TO_PILLOW = (ValueError, KeyError)
"""Exceptions of simplejpeg for a damaged file, and for chroma subsampling that it doesn't support."""
_RUBBISH = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_MAX_RUBBISH_BYTES = 64
"""Largest number of extraneous bytes before the end marker that is accepted: cameras leave a few. In 1,500 trials with
one changed bit, no more than these remained where the picture was nearly the same (a difference of 0.2 levels of 255 at
most), and more where it was not (2 to 90 levels)."""
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd8\xff])", re.DOTALL)
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_LOSSLESS_OR_HIERARCHICAL = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF})
_JPEG_LS_FRAME = 0xF7
_JFIF, _ADOBE = 0xE0, 0xEE
_EXIF_CODE, _PROFILE_CODE = 0xE1, 0xE2
_ADOBE_BYTES = 12
"""Of a mark that is whole; libjpeg overlooks a shorter one."""
_SCAN = 0xDA
_METADATA = (b"Exif\x00\x00", b"tiff:Orientation", b"ICC_PROFILE\x00")
_ALL_BITS = 255


@dataclass(frozen=True, kw_only=True, slots=True)
class _Metadata:
    orientation: int = UPRIGHT
    profile: bytes | None = None
    is_adobe: bool = False
    is_grey: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegHeader:
    """What is read before anything is allocated."""

    width: int
    """Width as stored, before turning upright, pixels."""
    height: int
    """Height as stored, before turning upright, pixels."""
    is_cmyk: bool
    """Whether the colour space is CMYK or YCCK; all others can be decoded to RGB directly."""


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegFrame:
    """What the header of a frame states, of any kind of JPEG, lossless ones and JPEG-LS included."""

    width: int
    height: int
    components: bytes
    """Identifier of each component."""
    states_colours: bool
    """Whether JFIF's or Adobe's mark, or the identifiers, say how three components are colours."""


def find_frame(encoded: bytes) -> JpegFrame | None:
    """Return the header of the first frame; none: there is none before the samples."""
    is_marked = False
    for code, body in _segments(encoded):
        is_marked |= code == _JFIF and body.startswith(b"JFIF\x00")
        is_marked |= code == _ADOBE and body.startswith(b"Adobe") and len(body) >= _ADOBE_BYTES
        if (code in _FRAMES or code == _JPEG_LS_FRAME) and len(body) >= 6:
            height, width = (int.from_bytes(body[place : place + 2], "big") for place in (1, 3))
            components = body[6::3][: body[5]]
            is_marked |= components == b"RGB"
            return JpegFrame(width=width, height=height, components=components, states_colours=is_marked)
        if code == _SCAN:
            break
    return None


def read_header(encoded: bytes) -> JpegHeader | None:
    """Return the header; none: this isn't a JPEG, or one that Pillow must try."""
    if not encoded.startswith(START):
        return None
    try:
        height, width, colour_space, _ = simplejpeg.decode_jpeg_header(encoded)
    except _LEFT_TO_PILLOW:
        return None
    return JpegHeader(width=width, height=height, is_cmyk=colour_space in {"CMYK", "YCCK"})


def decode_jpeg(
    encoded: bytes, header: JpegHeader, least_side: int
) -> tuple[UInt8[np.ndarray, "height width 3"], bool] | None:
    """Return upright pixels and whether width and height are swapped against the stored ones; none: Pillow must try.

    Args:
        encoded: The JPEG.
        header: Its header.
        least_side: Smallest width and height, pixels, of the scaled image, if the stored one isn't smaller.

    Raises:
        DecodeError: The fault is ``truncated`` or ``unreadable``.
    """
    options = {"colorspace": "CMYK" if header.is_cmyk else "RGB", "min_height": least_side, "min_width": least_side}
    stored = _decompress(encoded, options)
    if stored is None:
        return None
    metadata = _read_metadata(encoded, is_needed=header.is_cmyk)
    pixels = _to_rgb(stored, metadata)
    return turn_upright(pixels, metadata.orientation), metadata.orientation in TRANSPOSED


def drop_metadata(encoded: bytes, *, keep_profile: bool) -> bytes:
    """Return a JPEG without Exif and XMP, which say how it is turned, and without its profile unless that is kept.

    Its samples are the same bytes, and so is a JPEG that has none of these, or whose header is damaged.
    """
    marks = (_EXIF_CODE,) if keep_profile else (_EXIF_CODE, _PROFILE_CODE)
    kept, place = [encoded[: len(START) - 1]], len(START) - 1
    while (found := _MARKER.match(encoded, place)) is not None and found[1][0] != _SCAN:
        end = found.end() + max(2, int.from_bytes(encoded[found.end() : found.end() + 2], "big"))
        if found[1][0] not in marks:
            kept.append(encoded[place:end])
        place = end
    return b"".join([*kept, encoded[place:]])


def explain_failure(encoded: bytes) -> DecodeError | None:
    """Return the error for a JPEG that Pillow can't read either; none: its header has nothing wrong."""
    for code, body in _segments(encoded):
        if code in _LOSSLESS_OR_HIERARCHICAL:
            return DecodeError("unsupported_format", "a lossless or hierarchical JPEG: save it as PNG")
        if code in _FRAMES and body[:1] not in {b"", b"\x08"}:
            return DecodeError("unsupported_format", f"a JPEG of {body[0]} bits a sample: save it as 8-bit JPEG or PNG")
        if code == _SCAN:
            return None
    return DecodeError("truncated", "a JPEG that ends within its header")


def _decompress(encoded: bytes, options: dict[str, Any]) -> UInt8[np.ndarray, "height width bands"] | None:
    try:
        return _ask_libjpeg(encoded, options)
    except KeyError:
        return None
    except ValueError as error:
        message = str(error)
    if message.startswith("Premature end of JPEG file"):
        return _decompress_without_end(encoded, options)
    rubbish = _RUBBISH.search(message)
    if rubbish and int(rubbish[1]) <= _MAX_RUBBISH_BYTES:
        return _ask_libjpeg(encoded, options | {"strict": False})  # this warning isn't a fault
    if "premature end of data" in message:
        raise DecodeError("truncated", f"JPEG: {message}")
    if message.startswith("Corrupt JPEG data"):
        raise DecodeError("unreadable", f"JPEG: {message}")
    return None


def _decompress_without_end(encoded: bytes, options: dict[str, Any]) -> UInt8[np.ndarray, "height width bands"]:
    """Decode a JPEG without an end marker by adding one: libjpeg then doesn't warn if the data are complete."""
    if _has_all_scans(encoded):
        try:
            return _ask_libjpeg(encoded + _END, options)
        except _LEFT_TO_PILLOW:
            pass
    raise DecodeError("truncated", "a JPEG that ends before its last pixels")


def _ask_libjpeg(encoded: bytes, options: dict[str, Any]) -> UInt8[np.ndarray, "height width bands"]:
    return np.asarray(simplejpeg.decode_jpeg(encoded, fastdct=True, **options))


def _has_all_scans(encoded: bytes) -> bool:
    """Return whether the scans' headers cover all bits of each coefficient of each component.

    A progressive file that was cut between two scans decodes without a warning, to a coarser picture. With arithmetic
    coding libjpeg doesn't report whether the data are complete, so such a file counts as incomplete.
    """
    missing_bits: dict[int, np.ndarray] = {}  # for each component, the number of low bits still missing by coefficient
    for code, body in _segments(encoded):
        if code in _FRAMES:
            if code not in _HUFFMAN_FRAMES:
                return False
            missing_bits = {component: np.full(64, _ALL_BITS, np.uint8) for component in body[6::3]}
        elif code == _SCAN and len(body) >= 6:
            first, last, approximation = body[-3:]
            for component in missing_bits.keys() & body[1:-3:2]:
                missing_bits[component][first : last + 1] = approximation & 15
    return bool(missing_bits) and not any(bits.any() for bits in missing_bits.values())


def _segments(encoded: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and body of each segment to the end; the entropy-coded data between them are skipped."""
    place = len(START) - 1
    while found := _MARKER.search(encoded, place):
        length = max(2, int.from_bytes(encoded[found.end() : found.end() + 2], "big"))
        yield found[1][0], encoded[found.end() + 2 : found.end() + length]
        place = found.end() + length


def _read_metadata(encoded: bytes, *, is_needed: bool) -> _Metadata:
    """Return orientation, profile and Adobe's mark, as Pillow reads them.

    Most dermoscopes write none of them, so Pillow is used only if a mark of one is in the bytes, or if they are needed.
    """
    if not is_needed and not any(mark in encoded for mark in _METADATA):
        return _Metadata()
    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
            return _Metadata(
                orientation=orientation_of(image),
                profile=image.info.get("icc_profile"),
                is_adobe="adobe" in image.info,
                is_grey=image.mode == "L",
            )
    except METADATA_ERRORS:
        return _Metadata()
    except Image.DecompressionBombError as error:
        raise DecodeError("too_many_pixels", str(error)) from error


def _to_rgb(
    stored: UInt8[np.ndarray, "height width bands"], metadata: _Metadata
) -> UInt8[np.ndarray, "height width 3"]:
    """Return pixels in sRGB, converted by the profile if there is one, and from CMYK in any case."""
    if stored.shape[2] == 4:
        inks = ~stored if metadata.is_adobe else stored  # Adobe's CMYK is stored inverted
        return np.asarray(to_srgb(Image.fromarray(inks, "CMYK"), metadata.profile))
    if metadata.profile is None:
        return stored
    flat = np.ascontiguousarray(stored[:, :, 0]) if metadata.is_grey else stored
    return np.asarray(to_srgb(Image.fromarray(flat), metadata.profile))
