"""Recognises bytes that no decoder could open, and says what they are and what to do, in one sentence."""

from __future__ import annotations

import re

from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging import jpeg

_Kind = tuple[int, bytes, str, str]
_KINDS: tuple[_Kind, ...] = (
    (0, b"\x89PNG", "unreadable", "a PNG whose header is damaged or cut off"),
    (0, b"GIF8", "unreadable", "a GIF whose header is damaged or cut off"),
    (0, b"BM", "unreadable", "a BMP whose header is damaged or cut off"),
    (8, b"WEBP", "unreadable", "a WebP whose header is damaged or cut off"),
    (0, b"II*\x00", "unreadable", "a TIFF whose tags are damaged or cut off"),
    (0, b"MM\x00*", "unreadable", "a TIFF whose tags are damaged or cut off"),
    (4, b"jP  ", "unreadable", "a JPEG 2000 whose header is damaged or cut off"),
    (4, b"ftypcrx", "unsupported_format", "a camera's raw file: export it as PNG or JPEG"),
    (4, b"ftypavi", "unreadable", "an AVIF whose header is damaged or cut off"),
    (4, b"ftyphe", "unreadable", "a HEIC whose header is damaged or cut off"),
    (4, b"ftypm", "unsupported_format", "a film, or a HEIF of a kind that can't be read: export a JPEG of it"),
    (4, b"ftyp", "unsupported_format", "a film: export one picture of it as JPEG"),
    (4, b"JXL ", "unsupported_format", "a JPEG XL: save it as PNG or JPEG"),
    (0, b"\xff\x0a", "unsupported_format", "a JPEG XL: save it as PNG or JPEG"),
    (0, b"FUJIFILM", "unsupported_format", "a camera's raw file: export it as PNG or JPEG"),
    (0, b"8BPS", "unsupported_format", "a Photoshop document: export it as PNG or JPEG"),
    (0, b"%PDF", "unsupported_format", "a PDF: export its picture as PNG or JPEG"),
    (0, b"%!PS", "unsupported_format", "a PostScript file: export it as PNG or JPEG"),
    (0, b"PK\x03\x04", "not_an_image", "a zip archive: unpack it"),
    (0, b"\x1f\x8b", "not_an_image", "gzipped: unpack it"),
    (0, b"version https://git-lfs", "not_an_image", "a Git LFS pointer: fetch the file itself with `git lfs pull`"),
    (0, b"data:image/", "not_an_image", "text that holds an image in base64: decode that first"),
    (0, b"/9j/", "not_an_image", "text that holds a JPEG in base64: decode that first"),
    (0, b"iVBORw0KGgo", "not_an_image", "text that holds a PNG in base64: decode that first"),
)
"""Offset and bytes of a signature, the fault, and a description. The first one that fits is used."""
_WEB_PAGE = re.compile(rb"\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body)\b", re.IGNORECASE | re.DOTALL)
_DRAWING = re.compile(
    rb"\s*(<\?xml.*?\?>\s*)?(<!--.*?-->\s*)?(<!doctype svg[^>]*>\s*)?<svg\b", re.IGNORECASE | re.DOTALL
)
_DICOM_DATA_SET = re.compile(
    rb"[\x02\x08]\x00.\x00(AE|CS|DA|LO|SH|TM|UI|UL)|[\x02\x08]\x00.\x00.\x00\x00\x00|\x00\x08\x00.(CS|DA|TM|UI|UL)",
    re.DOTALL,
)
"""The first element of a DICOM data set that has no file header: explicit, implicit and big-endian."""
_PATTERNS = (
    (_WEB_PAGE, "not_an_image", "a web page, perhaps of an error or a login, in the image's place"),
    (_DRAWING, "unsupported_format", "an SVG drawing: export it as PNG"),
    (
        _DICOM_DATA_SET,
        "unsupported_format",
        "a DICOM data set without a file's header: make a DICOM file of it, such as with dcmtk's dcmconv",
    ),
)
"""Beginnings that vary, the fault, and a description."""
_LOOKED_AT_BYTES = 1024
_LATEST_START = 64
"""Largest offset of a JPEG in the bytes at which they count as a damaged JPEG, not as another format."""


def explain_unopened(encoded: bytes) -> DecodeError:
    """Return the error for bytes that can't be opened, with what they are instead of an image."""
    if encoded.startswith(jpeg.START):
        return jpeg.explain_failure(encoded) or DecodeError("unreadable", "a JPEG with a damaged header")
    for place, signature, fault, sentence in _KINDS:
        if encoded.startswith(signature, place):
            return DecodeError(fault, sentence)
    head = encoded[:_LOOKED_AT_BYTES]
    for pattern, fault, sentence in _PATTERNS:
        if pattern.match(head):
            return DecodeError(fault, sentence)
    late = encoded.find(jpeg.START, 0, _LATEST_START)
    if late > 0:
        return DecodeError("unreadable", f"a JPEG with {late} bytes before its start: send it as it was made")
    return DecodeError("not_an_image", "the bytes are of no known image format")
