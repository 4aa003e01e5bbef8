"""Whatever bytes come, the decoder gives a crop or its own error, and takes no more memory than its limits allow."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.schema import FAULTS
from tests.fuzz.seeds import build_seeds

CONFIG = ImageConfig(side=64, max_bytes=1_000_000, max_pixels=1_000_000, crop_border=True)
SEEDS = build_seeds()


@st.composite
def damaged_images(draw: st.DrawFn) -> bytes:
    """A whole file with bytes changed, removed, doubled or cut off, or with a piece of another file in it."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 8))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 24))
        kind = draw(st.sampled_from(["change", "remove", "double", "cut", "graft"]))
        if kind == "change":
            content[place : place + length] = draw(st.binary(min_size=length, max_size=length))
        elif kind == "remove":
            del content[place : place + length]
        elif kind == "double":
            content[place:place] = content[place : place + length]
        elif kind == "cut":
            del content[place:]
        else:
            other = draw(st.sampled_from(SEEDS))
            content[place:place] = other[place : place + length]
    return bytes(content)


def check(encoded: bytes) -> None:
    refused: DecodeError | None = None
    try:
        image = decode_image(encoded, CONFIG)
    except DecodeError as error:
        refused = error
    if refused is not None:
        assert refused.fault in FAULTS
        assert refused.detail
        return
    assert image.pixels.shape == (64, 64, 3)
    assert image.pixels.dtype == np.uint8
    assert image.width * image.height <= CONFIG.max_pixels


@given(damaged_images())
@settings(max_examples=400)
def test_a_damaged_image_is_a_crop_or_a_named_fault(encoded: bytes) -> None:
    check(encoded)


@pytest.mark.slow
@given(damaged_images())
@settings(max_examples=30_000)
def test_thirty_thousand_damaged_images_take_no_more_memory_than_one(encoded: bytes) -> None:
    check(encoded)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 3 * 2**20  # KiB; torch and Ray are in it


@given(st.binary(max_size=600))
def test_any_bytes_are_a_crop_or_a_named_fault(encoded: bytes) -> None:
    check(encoded)
    check(b"\xff\xd8\xff" + encoded)


@pytest.mark.parametrize("sampling", [0x14, 0x41, 0x24, 0x31, 0x33, 0x00])
def test_unusual_chroma_sampling_ends_no_job(sampling: int) -> None:
    """simplejpeg has no name for the newest kind (4:4:1, one byte 0x14) and raises KeyError."""
    jpeg = bytearray(SEEDS[0])
    jpeg[jpeg.index(b"\xff\xc0") + 11] = sampling
    check(bytes(jpeg))


def test_a_header_that_promises_gigabytes_is_refused_before_anything_is_allocated() -> None:
    """A PNG of some hundred bytes whose header says 60,000 × 60,000 pixels."""
    png = bytearray(SEEDS[5])
    png[16:24] = (60_000).to_bytes(4, "big") * 2
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError, match=r"too_many_pixels|unreadable|not_an_image"):
        decode_image(bytes(png), CONFIG)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024
