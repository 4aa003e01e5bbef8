"""JPEG: two decoders that agree, and files that lack something."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import DecodedImage, _decode_any, _decode_jpeg, decode_image, resize
from tests.unit.imaging.files import difference, draw_picture, encode, encode_image, exif_of, turn

END = b"\xff\xd9"
UPRIGHT_VALUES = (0, 1, 9, 255, 65535)
KINDS: list[dict[str, Any]] = [
    {"quality": 80},
    {"quality": 95, "progressive": True},
    {"quality": 30, "subsampling": 0},
    {"quality": 80, "restart_marker_rows": 1},
    {"quality": 80, "mode": "L"},
    {"quality": 80, "mode": "L", "progressive": True},
    {"quality": 80, "mode": "CMYK"},
]
FILES = [encode(draw_picture(72, 60, seed=5), **kind) for kind in KINDS]


@dataclass(frozen=True, kw_only=True)
class Photograph:
    upright: np.ndarray
    encoded: bytes
    side: int


@st.composite
def photographs(draw: st.DrawFn) -> Photograph:
    upright = draw_picture(draw(st.integers(8, 260)), draw(st.integers(8, 260)), seed=draw(st.integers(0, 99)))
    orientation = draw(st.integers(0, 9))
    mode = draw(st.sampled_from(["RGB", "RGB", "L", "CMYK"]))
    encoded = encode(
        turn(upright, orientation),
        mode=mode,
        quality=draw(st.integers(20, 100)),
        subsampling=0 if mode == "CMYK" else draw(st.integers(0, 2)),
        progressive=draw(st.booleans()),
        optimize=draw(st.booleans()),
        restart_marker_rows=draw(st.integers(0, 2)),
        exif=exif_of(orientation),
    )
    return Photograph(upright=upright, encoded=encoded, side=draw(st.sampled_from([32, 64, 256])))


@given(photographs())
@settings(max_examples=150)
def test_both_decoders_show_the_same_picture_the_same_way_up(photograph: Photograph) -> None:
    config = ImageConfig(side=photograph.side)
    quick, other = _decode_jpeg(photograph.encoded, config), _decode_any(photograph.encoded, config)
    assert quick is not None
    assert quick[1:] == other[1:] == photograph.upright.shape[1::-1]
    pixels, full = quick[0], other[0]
    is_scaled = pixels.shape != full.shape
    assert difference(pixels, resize(full, pixels.shape[1], pixels.shape[0])) < (9 if is_scaled else 4)
    grey = photograph.upright.astype(float).mean(axis=2)
    assert difference(full.astype(float).mean(axis=2), grey) < 25  # turned otherwise, it differs by twice as much


def decode(encoded: bytes) -> DecodedImage:
    return decode_image(encoded, ImageConfig(side=64))


def fault_of(encoded: bytes) -> str | None:
    try:
        decode(encoded)
    except DecodeError as error:
        return error.fault
    return None


@given(st.sampled_from(FILES), st.integers(0, 2**16))
def test_a_jpeg_that_was_cut_anywhere_is_whole_or_refused(encoded: bytes, place: int) -> None:
    cut = encoded[: 4 + place % (len(encoded) - 4)]
    fault = fault_of(cut)
    assert fault in {"truncated", "unreadable"} or (decode(cut).whole == decode(encoded).whole).all()


@pytest.mark.parametrize("encoded", FILES)
def test_a_jpeg_needs_neither_its_end_nor_an_end_at_its_end(encoded: bytes) -> None:
    whole = decode(encoded)
    assert encoded.endswith(END)
    for changed in (encoded[:-2], encoded[:-1], encoded + bytes(1000), encoded + b"\r\n", encoded + encoded):
        np.testing.assert_array_equal(decode(changed).whole, whole.whole)
        assert decode(changed).content_sha256 == whole.content_sha256


@pytest.mark.parametrize("encoded", FILES)
def test_a_jpeg_that_lacks_pixels_is_refused_however_it_was_ended(encoded: bytes) -> None:
    cut = encoded[: len(encoded) * 3 // 4]
    assert fault_of(cut) == "truncated"
    assert fault_of(cut + bytes(3000)) == "truncated"
    assert fault_of(cut + END) in {"truncated", "unreadable"}  # the latter where a Huffman table was cut


def test_a_progressive_jpeg_cut_between_two_scans_is_refused_although_it_decodes() -> None:
    encoded = FILES[1]
    scans = [place for place in range(len(encoded)) if encoded[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for place in range(scans[1], len(encoded) - 2):
        assert fault_of(encoded[:place]) in {"truncated", "unreadable"}


def test_a_few_bytes_of_rubbish_before_the_end_are_passed_over_and_many_are_not() -> None:
    encoded = FILES[0]
    np.testing.assert_array_equal(decode(encoded[:-2] + b"\x00\x11" * 20 + END).whole, decode(encoded).whole)
    assert fault_of(encoded[:-2] + b"\x00\x11" * 200 + END) == "unreadable"


def test_corrupt_data_are_refused_though_pillow_reads_them() -> None:
    encoded = bytearray(FILES[0])
    encoded[-300:-290] = b"\xff\xd3" * 5  # restart markers that nothing announced
    Image.open(io.BytesIO(encoded)).load()
    assert fault_of(bytes(encoded)) in {"unreadable", "truncated"}


def with_frame(precision: int = 8, code: int = 0xC0) -> bytes:
    encoded = bytearray(FILES[0])
    frame = encoded.index(b"\xff\xc0")
    encoded[frame + 1], encoded[frame + 4] = code, precision
    return bytes(encoded)


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (with_frame(precision=12), "12 bits"),
        (with_frame(precision=12, code=0xC1), "12 bits"),
        (with_frame(code=0xC5), "hierarchical"),
        (with_frame(precision=16, code=0xC3), "lossless"),
    ],
)
def test_a_jpeg_of_a_rare_kind_is_named_with_the_way_out(encoded: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words) as caught:
        decode(encoded)
    assert caught.value.fault == "unsupported_format"
    assert "save it as" in caught.value.detail


def test_cmyk_is_inverted_only_where_adobe_says_so() -> None:
    picture = draw_picture(72, 60, seed=5)
    inks = Image.fromarray(picture).convert("CMYK")
    adobe, inverted = (encode_image(image, quality=95) for image in (inks, ImageChops.invert(inks)))
    place = inverted.index(b"\xff\xee")
    end = place + 2 + int.from_bytes(inverted[place + 2 : place + 4], "big")
    for encoded in (adobe, inverted[:place] + inverted[end:]):
        assert difference(decode(encoded).whole, picture) < 4
        assert difference(_decode_any(encoded, ImageConfig(side=64))[0], picture) < 4
