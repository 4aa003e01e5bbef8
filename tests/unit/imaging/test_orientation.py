"""Which way is up, in every format that can say it."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma_ray.config import ImageConfig
from melanoma_ray.imaging.decoding import _decode_any, _decode_jpeg, decode_image, resize
from tests.unit.imaging.files import difference, draw_picture, encode, exif_of, turn, write_tiff

CONFIG = ImageConfig(side=64)
PICTURE = draw_picture(96, 128, seed=2)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def check_is_upright(encoded: bytes) -> None:
    found = decode_image(encoded, CONFIG)
    assert (found.width, found.height) == (128, 96)
    assert difference(resize(found.whole, 128, 96), PICTURE) < 6


def segment(code: int, body: bytes) -> bytes:
    return bytes([0xFF, code]) + struct.pack(">H", len(body) + 2) + body


def exif_bytes(orientation: int, order: str = "<", kind: int = 3) -> bytes:
    magic = b"II*\0" if order == "<" else b"MM\0*"
    value = struct.pack(order + ("I" if kind == 4 else "Hxx"), orientation)
    return b"Exif\0\0" + magic + struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value + bytes(4)


def with_segments(encoded: bytes, *segments: bytes) -> bytes:
    return encoded[:2] + b"".join(segments) + encoded[2:]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_every_format_is_turned_upright(kind: str, orientation: int) -> None:
    options: dict[str, Any] = {"quality": 95}
    if kind in {"PNG", "TIFF"}:
        options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    check_is_upright(encode(turn(PICTURE, orientation), kind, exif=exif_of(orientation), **options))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("num_before", [0, 2])
def test_exif_of_either_byte_order_is_found_wherever_it_stands(
    orientation: int, order: str, kind: int, num_before: int
) -> None:
    stored = encode(turn(PICTURE, orientation), quality=95)
    before = [segment(0xED, bytes(65000))] * num_before
    check_is_upright(with_segments(stored, *before, segment(0xE1, exif_bytes(orientation, order, kind))))


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_orientation_that_doesn_t_exist_is_upright(kind: str, orientation: int) -> None:
    check_is_upright(encode(PICTURE, kind, exif=exif_of(orientation)))


def test_a_tiff_of_unusual_samples_with_an_impossible_orientation_is_upright() -> None:
    for orientation in (0, 9):
        check_is_upright(write_tiff(PICTURE.astype("f4"), tags={274: (3, [orientation])}))


@given(garbage=st.binary(max_size=60), has_head=st.booleans())
@settings(max_examples=300)
def test_garbage_in_place_of_exif_is_upright_to_both_decoders(garbage: bytes, *, has_head: bool) -> None:
    body = b"Exif\0\0" + (exif_bytes(6)[6:14] if has_head else b"") + garbage
    encoded = with_segments(encode(PICTURE, quality=95), segment(0xE1, body))
    quick, other = _decode_jpeg(encoded, CONFIG), _decode_any(encoded, CONFIG)
    assert quick is not None
    assert quick[1:] == other[1:]


def test_xmp_is_asked_where_exif_says_nothing_and_exif_comes_first() -> None:
    stored = encode(turn(PICTURE, 6), quality=95)
    xmp = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    check_is_upright(with_segments(stored, xmp))
    check_is_upright(with_segments(encode(PICTURE, quality=95), xmp, segment(0xE1, exif_bytes(1))))
