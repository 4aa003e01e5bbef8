"""A compressed frame without what cameras and programs write beside the picture: comments, places, thumbnails.

What decides how the picture looks stays: the profile, Adobe's mark, and of Exif the orientation alone. What follows the
picture goes, such as a second one. The compressed samples are the same bytes.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from melanoma_ray.imaging.orientation import METADATA_ERRORS, UPRIGHT, orientation_of

_JPEG_START, _JPEG2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
_SCAN, _END, _TILE_PART = 0xDA, 0xD9, b"\xff\x90"
_MARKER = re.compile(rb"\xff+([\xc0-\xcf\xd8-\xfe])")
"""Of a segment, or of the end: samples have no such bytes, neither JPEG's nor JPEG-LS's."""
_JPEG2000_END, _SAMPLES = b"\xff\xd9", b"\xff\x93"
_JPEG_COMMENT, _JPEG2000_COMMENT, _TILE_LENGTHS = 0xFE, 0x64, 0x55
_LENGTH_AT = 6
"""Place of its length in a tile-part, which begins with its marker."""
_RUN_HEADER_BYTES = 64
_NO_RUN = 128
"""Head of a run that is none (PS3.5, G.3.2)."""
_ADOBE_BYTES = 12
"""Of Adobe's segment as it is defined, without the two bytes of its size."""
_APPLICATIONS = range(0xE0, 0xF0)
_JFIF, _PROFILE, _ADOBE = b"JFIF\x00", b"ICC_PROFILE\x00", b"Adobe"
_JFIF_BYTES = 12
"""Of a JFIF segment without its thumbnail and the two bytes of its size."""
_ORIENTATION = 0x0112
_DAMAGED = "a compressed frame whose header is damaged"


def strip_frame(frame: bytes) -> bytes:
    """Return a frame of any kind of JPEG without what isn't needed to show it; others are returned as they are.

    Raises:
        ValueError: Its header is damaged.
    """
    if frame.startswith(_JPEG_START):
        return _strip_jpeg(frame)
    start = frame.find(_JPEG2000_START)
    return frame if start < 0 else _strip_jpeg2000(frame[start:])


def _strip_jpeg(frame: bytes) -> bytes:
    kept = [_JPEG_START, _orientation_segment(frame)]
    for code, segment in _jpeg_segments(frame):
        body = segment[4:]
        if code in _APPLICATIONS and body.startswith(_ADOBE) and len(body) < _ADOBE_BYTES:
            continue  # libjpeg overlooks it, too
        if code in _APPLICATIONS and body.startswith(_JFIF):
            content = body[:_JFIF_BYTES] + b"\0\0"
            kept.insert(1, segment[:2] + (len(content) + 2).to_bytes(2, "big") + content)
        elif code in _APPLICATIONS and body.startswith(_ADOBE):
            kept.append(segment[:2] + (_ADOBE_BYTES + 2).to_bytes(2, "big") + body[:_ADOBE_BYTES])
        elif code != _JPEG_COMMENT and (code not in _APPLICATIONS or body.startswith(_PROFILE)):
            kept.append(segment)
    return b"".join(kept)


def _jpeg_segments(frame: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield code and bytes of each segment, a scan with its samples, up to the end of the picture and no further."""
    place, has_scan = len(_JPEG_START), False
    while (found := _MARKER.match(frame, place)) is not None and found[1][0] != _END:
        code, end = found[1][0], found.end() + int.from_bytes(frame[found.end() : found.end() + 2], "big")
        if code == _SCAN:
            following = _MARKER.search(frame, end)
            end, has_scan = len(frame) if following is None else following.start(), True
        yield code, frame[found.end() - 2 : end]
        place = end
    if not has_scan:
        raise ValueError(_DAMAGED)
    yield _END, b"\xff\xd9"


def _orientation_segment(frame: bytes) -> bytes:
    """Return an Exif segment that has the orientation and nothing else; empty where the frame is upright."""
    try:
        with Image.open(io.BytesIO(frame), formats=("JPEG",)) as image:
            orientation = orientation_of(image)
    except (*METADATA_ERRORS, Image.DecompressionBombError):
        return b""
    if orientation == UPRIGHT:
        return b""
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    content = exif.tobytes()
    return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content


def _strip_jpeg2000(codestream: bytes) -> bytes:
    """Return a codestream without comments, in its main header and in its tile-parts', and without what follows it."""
    header, place = _read_segments(codestream, 2, _TILE_PART)
    parts = []
    while codestream[place : place + 2] == _TILE_PART:
        part, place = _read_tile_part(codestream, place)
        parts.append(part)
    if not parts:
        raise ValueError(_DAMAGED)
    is_shorter = any(part.is_shorter for part in parts)
    kept = [one for code, one in header if code != _JPEG2000_COMMENT and not (is_shorter and code == _TILE_LENGTHS)]
    return b"".join([_JPEG2000_START[:2], *kept, *(part.content for part in parts), _JPEG2000_END])


@dataclass(frozen=True, kw_only=True, slots=True)
class _TilePart:
    content: bytes
    is_shorter: bool
    """Whether comments were taken out, so that lengths that the main header may state are others."""


def _read_tile_part(codestream: bytes, start: int) -> tuple[_TilePart, int]:
    """Return a tile-part without comments, its length set anew, and where it ends (ISO/IEC 15444-1, A.4.2)."""
    stated = int.from_bytes(codestream[start + _LENGTH_AT : start + _LENGTH_AT + 4], "big")
    segments, place = _read_segments(codestream, start, _SAMPLES)
    end = start + stated
    if not stated:  # up to the end of the codestream, of which the samples have no bytes
        found = codestream.find(_JPEG2000_END, place)
        end = len(codestream) if found < 0 else found
    if end < place:
        raise ValueError(_DAMAGED)
    kept = b"".join(segment for code, segment in segments if code != _JPEG2000_COMMENT)
    content = bytearray(kept + codestream[place:end])
    is_shorter = len(kept) < place - start
    if stated and is_shorter:
        content[_LENGTH_AT : _LENGTH_AT + 4] = (stated - (place - start - len(kept))).to_bytes(4, "big")
    return _TilePart(content=bytes(content), is_shorter=is_shorter), end


def _read_segments(codestream: bytes, place: int, end_mark: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Return code and bytes of the segments up to a marker, and where that is."""
    segments = []
    while codestream[place : place + 2] != end_mark:
        end = place + 2 + int.from_bytes(codestream[place + 2 : place + 4], "big")
        if codestream[place : place + 1] != b"\xff" or end > len(codestream):
            raise ValueError(_DAMAGED)
        segments.append((codestream[place + 1], codestream[place:end]))
        place = end
    return segments, place


def strip_run_lengths(frame: bytes, num_pixels: int) -> bytes:
    """Return a frame of run lengths (PS3.5, Annex G) without what stands between and behind its segments.

    Args:
        frame: The frame.
        num_pixels: Of the image; a segment has a byte of each.

    Raises:
        ValueError: It is damaged.
    """
    numbers = struct.unpack("<16L", frame[:_RUN_HEADER_BYTES])
    starts = numbers[1 : 1 + numbers[0]]
    if not starts or len(starts) != numbers[0] or starts[0] < _RUN_HEADER_BYTES:
        raise ValueError(_DAMAGED)
    segments = [frame[start : _find_end(frame, start, num_pixels)] for start in starts]
    padded = [one + b"\0" * (len(one) % 2) for one in segments]
    places = [_RUN_HEADER_BYTES + sum(map(len, padded[:number])) for number in range(len(padded))]
    header = struct.pack("<16L", len(padded), *places, *[0] * (15 - len(padded)))
    return b"".join([header, *padded])


def _find_end(frame: bytes, place: int, num_left: int) -> int:
    """Return where the runs end that have as many bytes as there are left."""
    while num_left > 0:
        if place + 1 >= len(frame):
            raise ValueError(_DAMAGED)
        head = frame[place]
        if head < _NO_RUN:  # as many bytes as they are
            num_left, place = num_left - head - 1, place + head + 2
        else:
            num_left, place = num_left - (257 - head if head > _NO_RUN else 0), place + (2 if head > _NO_RUN else 1)
    if place > len(frame):
        raise ValueError(_DAMAGED)
    return place
