"""What is no image, or none that can be read, is named, with the way out."""

from __future__ import annotations

import base64

import pytest

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.schema import FAULTS
from melanoma_ray.serving.problems import PROBLEMS
from tests.unit.imaging.files import draw_picture, encode, write_tiff

JPEG, PNG = encode(draw_picture()), encode(draw_picture(), "PNG")


def refusal_of(encoded: bytes) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_image(encoded, ImageConfig(side=64))
    assert caught.value.fault in FAULTS
    return caught.value


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"\n\n<!-- cached --><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (base64.b64encode(JPEG), "JPEG in base64"),
        (base64.b64encode(PNG), "PNG in base64"),
        (b"data:image/jpeg;base64," + base64.b64encode(JPEG), "base64"),
        (b"PK\x03\x04" + bytes(100), "zip archive: unpack it"),
        (b"\x1f\x8b\x08" + bytes(100), "unpack it"),
        (b"age,sex\n50,female\n", "no known image format"),
        (bytes(1000), "no known image format"),
    ],
)
def test_other_files_in_an_image_s_place_are_named(encoded: bytes, words: str) -> None:
    refusal = refusal_of(encoded)
    assert refusal.fault == "not_an_image"
    assert words in refusal.detail


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"8BPS\0\1" + bytes(100), "Photoshop"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n", "PostScript"),
        (b"\xff\x0a" + bytes(100), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "JPEG XL"),
        (b"\0\0\0\x18ftypcrx " + bytes(100), "raw file"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "film"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (write_tiff(draw_picture(), photometric=32803), "photometric interpretation 32803"),
    ],
)
def test_an_image_that_can_t_be_read_is_named_with_the_way_out(encoded: bytes, words: str) -> None:
    refusal = refusal_of(encoded)
    assert refusal.fault == "unsupported_format"
    assert words in refusal.detail
    assert "export" in refusal.detail or "save it" in refusal.detail


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF"])
def test_a_header_that_is_cut_off_is_unreadable_and_not_another_format(kind: str) -> None:
    refusal = refusal_of(encode(draw_picture(), kind)[:24])
    assert refusal.fault in {"unreadable", "truncated"}


def test_a_jpeg_that_begins_late_says_by_how_much() -> None:
    refusal = refusal_of(b"\r\n\r\n" + JPEG)
    assert refusal.fault == "unreadable"
    assert "4 bytes before its start" in refusal.detail


def test_every_fault_is_a_problem_of_the_service() -> None:
    assert {fault.replace("_", "-") for fault in FAULTS} <= PROBLEMS.keys()
