"""A frame without its metadata shows the same picture."""

from __future__ import annotations

import io
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import RLELossless

from melanoma_ray.config import ImageConfig
from melanoma_ray.deidentification.frames import strip_frame, strip_run_lengths
from melanoma_ray.imaging.decoding import decode_image
from tests.unit.imaging.dicom_files import write_dicom
from tests.unit.imaging.files import draw_picture, encode, matrix_profile

PICTURE = draw_picture()
CONFIG = ImageConfig(side=2048)
MARK = b"MUSTERMANN"


def show(frame: bytes) -> np.ndarray:
    return decode_image(frame, CONFIG).whole


def telling_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = orientation, MARK.decode()
    return exif.tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("is_progressive", [False, True])
def test_a_jpeg_has_lost_names_and_comments_and_shows_the_same_upright_picture(
    orientation: int, *, is_progressive: bool
) -> None:
    frame = encode(
        PICTURE, "JPEG", quality=90, progressive=is_progressive, exif=telling_exif(orientation), comment=MARK
    )
    assert frame.count(MARK) == 2
    stripped = strip_frame(frame)
    assert MARK not in stripped
    np.testing.assert_array_equal(show(stripped), show(frame))


def test_the_profile_and_the_colour_space_of_a_jpeg_stay() -> None:
    profile = matrix_profile([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], 2.2)
    for options in ({"icc_profile": profile}, {"keep_rgb": True}, {"mode": "CMYK"}):
        frame = encode(PICTURE, "JPEG", quality=90, **options)
        np.testing.assert_array_equal(show(strip_frame(frame)), show(frame))


def test_the_small_picture_in_a_jfif_header_goes() -> None:
    frame = encode(PICTURE, "JPEG", quality=90)
    thumbnail = b"\xff\xe0" + (16 + 3).to_bytes(2, "big") + frame[6:18] + b"\x01\x01" + b"abc"
    assert frame[6:11] == b"JFIF\0"
    changed = frame[:2] + thumbnail + frame[20:]
    assert strip_frame(changed) == strip_frame(frame)
    assert b"abc" not in strip_frame(changed)[:40]


@pytest.mark.parametrize("is_progressive", [False, True])
def test_what_follows_the_picture_or_stands_between_its_scans_goes(*, is_progressive: bool) -> None:
    frame = encode(PICTURE, "JPEG", quality=90, progressive=is_progressive)
    second = encode(PICTURE, "JPEG", quality=20)
    assert strip_frame(frame + second + MARK) == strip_frame(frame)
    if is_progressive:
        scan = frame.rindex(b"\xff\xda")
        comment = b"\xff\xfe" + (len(MARK) + 2).to_bytes(2, "big") + MARK
        assert strip_frame(frame[:scan] + comment + frame[scan:]) == strip_frame(frame)


def test_comments_of_a_jpeg_2000_go() -> None:
    frame = encode(PICTURE, "JPEG2000", no_jp2=True, comment=MARK.decode())
    boxed = encode(PICTURE, "JPEG2000", comment=MARK.decode())
    for one in (frame, boxed):
        assert MARK in one
        assert MARK not in strip_frame(one)
        np.testing.assert_array_equal(show(strip_frame(one)), show(one))


def test_what_follows_a_jpeg_2000_or_stands_in_its_boxes_and_tile_parts_goes() -> None:
    frame = encode(PICTURE, "JPEG2000", no_jp2=True, comment="x")
    boxed = encode(PICTURE, "JPEG2000")
    box = (8 + len(MARK)).to_bytes(4, "big") + b"xml " + MARK
    tile = frame.index(b"\xff\x90")
    comment = b"\xff\x64" + (4 + len(MARK)).to_bytes(2, "big") + b"\0\1" + MARK
    length = int.from_bytes(frame[tile + 6 : tile + 10], "big")
    lengthened = (length + len(comment)).to_bytes(4, "big") if length else bytes(4)
    commented = frame[: tile + 6] + lengthened + frame[tile + 10 : tile + 12] + comment + frame[tile + 12 :]
    unstated = frame[: tile + 6] + bytes(4) + frame[tile + 10 :]
    for one in (boxed + box, frame + MARK, commented, unstated + MARK):
        assert MARK in one
        stripped = strip_frame(one)
        assert MARK not in stripped
        np.testing.assert_array_equal(show(stripped), PICTURE if one is boxed else show(frame))


def test_adobe_s_mark_has_its_twelve_bytes_and_no_more() -> None:
    frame = encode(PICTURE, "JPEG", "CMYK", quality=90)
    place = frame.index(b"\xff\xee")
    body = frame[place + 4 : place + 16]
    longer = frame[:place] + b"\xff\xee" + (14 + len(MARK)).to_bytes(2, "big") + body + MARK + frame[place + 16 :]
    assert MARK not in strip_frame(longer)
    np.testing.assert_array_equal(show(strip_frame(longer)), show(frame))


def test_bytes_between_and_behind_run_lengths_go() -> None:
    dataset = pydicom.dcmread(io.BytesIO(write_dicom(PICTURE, syntax=RLELossless)))
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    num_pixels = PICTURE.shape[0] * PICTURE.shape[1]
    starts = struct.unpack("<4L", frame[:16])
    second = starts[2]
    between = frame[:second] + MARK + frame[second:]
    shifted = struct.pack("<4L", 3, starts[1], second + len(MARK), starts[3] + len(MARK)) + between[16:]
    for one in (frame + MARK, shifted):
        stripped = strip_run_lengths(one, num_pixels)
        assert MARK not in stripped
        dataset.PixelData = encapsulate([stripped])
        np.testing.assert_array_equal(dataset.pixel_array, PICTURE)
        dataset = pydicom.dcmread(io.BytesIO(write_dicom(PICTURE, syntax=RLELossless)))
    with pytest.raises(ValueError, match="damaged"):
        strip_run_lengths(frame[: len(frame) // 2], num_pixels)


def test_a_damaged_frame_is_refused_and_other_kinds_stay() -> None:
    with pytest.raises(ValueError, match="damaged"):
        strip_frame(encode(PICTURE, "JPEG")[:30])
    buffer, text = io.BytesIO(), PngImagePlugin.PngInfo()
    Image.fromarray(PICTURE).save(buffer, "PNG", pnginfo=text)
    assert strip_frame(buffer.getvalue()) == buffer.getvalue()
