"""DICOM files are decoded as a person would see them, or refused in one line that names nobody."""

from __future__ import annotations

import io
import logging
import resource
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_windowing
from pydicom.pixels.utils import pixel_array

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging import dicom
from melanoma_ray.imaging.decoding import DecodedImage, decode_image
from melanoma_ray.schema import FAULTS
from tests.unit.imaging.dicom_files import (
    NAME,
    build_header,
    build_meta,
    save,
    wrap_frame,
    wrap_jpeg,
    write_dicom,
    write_header_only,
)
from tests.unit.imaging.files import difference, draw_grey, draw_picture, encode, exif_of, matrix_profile

CONFIG = ImageConfig(side=64)
WHOLE = ImageConfig(side=2048)
"""Nothing is decoded at a smaller scale."""
PICTURE = draw_picture()
PYDICOM_FILES = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
LOSSY = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000, uid.JPEGLSNearLossless, uid.HTJ2K}


def refusal_of(encoded: bytes, config: ImageConfig = CONFIG) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode_image(encoded, config)
    assert caught.value.fault in FAULTS
    assert NAME.split("^")[0] not in str(caught.value)
    return caught.value


def decode(encoded: bytes) -> np.ndarray:
    return decode_image(encoded, WHOLE).whole


@given(
    size=st.tuples(st.integers(8, 80), st.integers(8, 80)),
    options=st.fixed_dictionaries(
        {"quality": st.integers(5, 100), "subsampling": st.integers(0, 2), "progressive": st.booleans()}
    ),
    mode=st.sampled_from(["RGB", "L"]),
    seed=st.integers(0, 1000),
)
def test_a_jpeg_wrapped_as_dicom_has_the_jpeg_s_own_pixels(
    size: tuple[int, int], options: dict[str, object], mode: str, seed: int
) -> None:
    encoded = encode(draw_picture(*size, seed), "JPEG", mode, **options)
    assert_same(decode_image(wrap_jpeg(encoded), CONFIG), decode_image(encoded, CONFIG))


def assert_same(found: DecodedImage, expected: DecodedImage) -> None:
    assert (found.width, found.height) == (expected.width, expected.height)
    np.testing.assert_array_equal(found.whole, expected.whole)
    np.testing.assert_array_equal(found.pixels, expected.pixels)


def test_a_large_jpeg_is_decoded_at_the_same_smaller_scale() -> None:
    encoded = encode(draw_picture(960, 1280), "JPEG", quality=90)
    found = decode_image(wrap_jpeg(encoded), CONFIG)
    assert found.whole.shape[0] < found.height == 960
    assert_same(found, decode_image(encoded, CONFIG))


def test_a_jpeg_of_rgb_components_has_its_own_pixels() -> None:
    encoded = encode(PICTURE, "JPEG", quality=95, keep_rgb=True)
    assert_same(decode_image(wrap_jpeg(encoded, kind="RGB"), CONFIG), decode_image(encoded, CONFIG))
    assert difference(decode(wrap_jpeg(encoded, kind="RGB")), PICTURE) < 3


WIDE = matrix_profile([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], 2.2)


def test_the_profile_of_a_wrapped_jpeg_counts_and_its_orientation_doesn_t_as_in_dicom_viewers() -> None:
    plain = encode(PICTURE, "JPEG", quality=95, icc_profile=WIDE)
    turned = encode(PICTURE, "JPEG", quality=95, exif=exif_of(6), icc_profile=WIDE)
    assert decode(turned).shape != decode(plain).shape
    assert_same(decode_image(wrap_jpeg(turned), CONFIG), decode_image(plain, CONFIG))


def test_a_profile_that_frame_and_header_have_is_applied_once() -> None:
    profiled = encode(PICTURE, "JPEG", quality=95, icc_profile=WIDE)
    expected = decode(profiled)
    np.testing.assert_array_equal(decode(wrap_jpeg(profiled, ICCProfile=WIDE)), expected)
    header_only = wrap_jpeg(encode(PICTURE, "JPEG", quality=95), ICCProfile=WIDE)
    np.testing.assert_array_equal(decode(header_only), expected)


def test_the_header_s_profile_is_applied() -> None:
    profile = matrix_profile([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], 2.2)
    expected = decode(encode(PICTURE, "PNG", icc_profile=profile))
    assert difference(expected, PICTURE) > 1
    np.testing.assert_array_equal(decode(write_dicom(PICTURE, ICCProfile=profile)), expected)


@pytest.mark.parametrize(
    "syntax",
    [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless],
)
def test_what_is_lossless_shows_the_picture_itself(syntax: str) -> None:
    np.testing.assert_array_equal(decode(write_dicom(PICTURE, syntax=syntax)), PICTURE)


def test_planes_one_after_the_other_are_put_together() -> None:
    planes = np.ascontiguousarray(PICTURE.transpose(2, 0, 1)).tobytes()
    np.testing.assert_array_equal(decode(write_dicom(PICTURE, PlanarConfiguration=1, PixelData=planes)), PICTURE)


def test_a_grey_image_is_inverted_where_the_header_says_that_white_is_zero() -> None:
    grey = draw_grey()
    for kind, expected in (("MONOCHROME2", grey), ("MONOCHROME1", 255 - grey)):
        found = decode(write_dicom(grey, PhotometricInterpretation=kind))
        np.testing.assert_array_equal(found, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_a_grey_image_is_inverted_once_where_its_presentation_is_inverse(kind: str) -> None:
    grey = draw_grey()
    inverse: dict[str, Any] = {"PhotometricInterpretation": kind, "PresentationLUTShape": "INVERSE"}
    np.testing.assert_array_equal(decode(write_dicom(grey, **inverse))[..., 0], 255 - grey)
    encoded = encode(PICTURE, "JPEG", "L", quality=95)
    wrapped = wrap_jpeg(encoded, kind=kind, PresentationLUTShape="INVERSE")
    assert difference(decode(wrapped), 255 - decode(encoded)) < 1


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
def test_a_data_set_without_a_file_s_header_is_told_from_other_bytes(syntax: uid.UID) -> None:
    bare, header = io.BytesIO(), build_header(SpecificCharacterSet="ISO_IR 192")
    pydicom.dcmwrite(bare, header, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    for encoded in (bare.getvalue(), write_dicom(PICTURE)[132:]):  # without any header, and without the preamble
        refusal = refusal_of(encoded)
        assert refusal.fault == "unsupported_format"
        assert "without a file's header: make a DICOM file of it" in refusal.detail


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_deep_samples_are_scaled_by_the_bits_that_the_header_states(bits: int) -> None:
    grey = draw_grey()
    deep = grey.astype(np.uint16) << (bits - 8)
    found = decode(write_dicom(deep, BitsStored=bits, HighBit=bits - 1))
    np.testing.assert_array_equal(found[..., 0], grey)


def test_sixteen_bits_of_which_twelve_are_used_aren_t_answered_as_black() -> None:
    grey = draw_grey()
    np.testing.assert_array_equal(decode(write_dicom(grey.astype(np.uint16) << 4))[..., 0], grey)
    colours = decode(write_dicom(PICTURE.astype(np.uint16) << 4))
    np.testing.assert_array_equal(colours, PICTURE)


def test_what_would_be_almost_black_is_refused() -> None:
    dark = (draw_grey() >> 5).astype(np.uint16)
    assert refusal_of(write_dicom(dark, BitsStored=12, HighBit=11)).fault == "unknown_range"
    windowed = write_dicom(draw_grey().astype(np.uint16), WindowCenter=30000, WindowWidth=60000)
    assert refusal_of(windowed).fault == "unknown_range"
    assert refusal_of(write_dicom(draw_grey().astype(np.int16) - 1000)).fault == "unknown_range"


@pytest.mark.parametrize(
    ("function", "center", "width", "expected"),
    [
        ("LINEAR", 1024, 1025, lambda x: (x - 1023.5) / 1024 + 0.5),
        ("LINEAR_EXACT", 1024, 1024, lambda x: (x - 1024) / 1024 + 0.5),
        ("SIGMOID", 1024, 1024, lambda x: 1 / (1 + np.exp(-4 * (x - 1024) / 1024))),
    ],
)
def test_a_window_says_which_samples_are_black_and_white(
    function: str, center: int, width: int, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    ramp = np.tile(np.arange(0, 2048, 16, dtype=np.uint16), (32, 1))
    found = decode(write_dicom(ramp, WindowCenter=center, WindowWidth=width, VOILUTFunction=function))
    levels = np.rint(255 * np.clip(expected(ramp.astype(float)), 0, 1))
    assert np.abs(found[..., 0] - levels).max() <= 1
    assert np.ptp(found) > 200


def test_a_window_is_of_rescaled_values() -> None:
    ramp = np.tile(np.arange(0, 2048, 16, dtype=np.uint16), (32, 1))
    plain = decode(write_dicom(ramp, WindowCenter=1024, WindowWidth=2048))
    rescaled = write_dicom(ramp, WindowCenter=1024 * 2 - 100, WindowWidth=4095, RescaleSlope=2, RescaleIntercept=-100)
    assert difference(decode(rescaled), plain) < 0.6


def test_a_negative_slope_without_a_window_turns_the_scale_round() -> None:
    grey = draw_grey()
    found = decode(write_dicom(grey, RescaleSlope=-1, RescaleIntercept=255))
    np.testing.assert_array_equal(found[..., 0], 255 - grey)


def test_a_palette_s_colours_are_shown(subtests: pytest.Subtests) -> None:
    numbers = np.arange(96 * 128, dtype=np.uint16).reshape(96, 128) % 256
    tables = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    for bits, scale in ((8, 1), (16, 257)):
        stored = (tables * scale).astype(np.uint8 if bits == 8 else np.uint16)
        palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
        for name, table in zip(("Red", "Green", "Blue"), stored, strict=True):
            palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
            palette[f"{name}PaletteColorLookupTableData"] = table.tobytes()
        with subtests.test(bits=bits):
            found = decode(write_dicom(numbers.astype(np.uint8), **palette))
            np.testing.assert_array_equal(found, tables.astype(np.uint8)[:, numbers].transpose(1, 2, 0))


def expected_of(dataset: Dataset) -> np.ndarray:
    """What pydicom itself makes of a file, scaled to eight bits by nothing but the header's own figures."""
    samples = pixel_array(dataset, index=0)
    kind, bits = dataset.PhotometricInterpretation, int(dataset.BitsStored)
    if kind == "PALETTE COLOR":
        colours = apply_color_lut(samples, dataset)[..., :3]
        return colours if colours.max() < 256 else colours >> 8
    if samples.ndim == 3:
        return samples if bits <= 8 else samples >> (bits - 8)
    values = apply_modality_lut(samples, dataset).astype(float)
    if "WindowWidth" in dataset:
        low, high = apply_windowing(np.array([-1e9, 1e9]), dataset)
        values = (apply_windowing(values, dataset) - low) / (high - low) * 255
    else:
        top = 2.0**bits - 1
        values = samples * 255.0 / (top if int(samples.max()) * 16 > top else 4095)
    shown = np.repeat(values[..., None], 3, axis=2)
    return 255 - shown if kind == "MONOCHROME1" else shown


def try_to_decode(encoded: bytes) -> tuple[np.ndarray | None, DecodeError | None]:
    try:
        return decode(encoded), None
    except DecodeError as error:
        return None, error


@pytest.mark.parametrize("file", PYDICOM_FILES, ids=lambda file: file.stem)
def test_each_of_pydicom_s_own_files_is_decoded_as_pydicom_does_or_refused_by_name(file: Path) -> None:
    encoded = file.read_bytes()
    found, refusal = try_to_decode(encoded)
    if refusal is not None:
        assert refusal.fault in FAULTS
        assert len(refusal.detail) < 200
        assert "\n" not in refusal.detail
        return
    assert found is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(file)
        expected = expected_of(dataset)
    is_lossy = dataset.file_meta.TransferSyntaxUID in LOSSY or dataset.PhotometricInterpretation.startswith("YBR")
    assert np.abs(found.astype(float) - expected).mean() < (2 if is_lossy else 0.6)
    assert np.abs(found.astype(float) - expected).max() <= (24 if is_lossy else 1)


def test_most_of_pydicom_s_images_of_one_frame_are_read() -> None:
    read: dict[str, int] = {}
    for file in PYDICOM_FILES:
        try:
            decode_image(file.read_bytes(), WHOLE)
        except DecodeError:
            continue
        syntax = pydicom.dcmread(file, stop_before_pixels=True).file_meta.TransferSyntaxUID
        read[syntax] = read.get(syntax, 0) + 1
    expected = {
        *(uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless),
        *(uid.DeflatedExplicitVRLittleEndian, uid.JPEGBaseline8Bit, uid.JPEGLosslessSV1, uid.JPEG2000Lossless),
        *(uid.JPEG2000, uid.JPEGLSNearLossless, uid.JPEGLSLossless),
    }
    assert expected <= read.keys()
    assert sum(read.values()) >= 40


@pytest.mark.parametrize(
    ("encoded", "fault", "words"),
    [
        (write_header_only(), "not_an_image", "without an image (Dermoscopic"),
        (
            write_header_only(SOPClassUID=uid.EncapsulatedPDFStorage, EncapsulatedDocument=b"%PDF-1.7", Modality="DOC"),
            "not_an_image",
            "a document in DICOM (Encapsulated PDF Storage): export its picture",
        ),
        (
            write_header_only(SOPClassUID=uid.Comprehensive3DSRStorage, Modality="SR", ContentSequence=[]),
            "not_an_image",
            "without an image (Comprehensive 3D SR Storage): give the image",
        ),
        (
            write_dicom(np.stack([PICTURE] * 3)[:, :, :, 0].reshape(-1, 128), NumberOfFrames=3),
            "unsupported_format",
            "3 frames: 1 is allowed",
        ),
        (write_header_only(Rows=96, Columns=128), "truncated", "ends before its pixels"),
        (write_dicom(PICTURE, PixelData=b"\0" * 100), "truncated", "100 bytes of pixels: 36864 are expected"),
        (write_dicom(PICTURE)[:-2000], "truncated", "are expected"),
        (wrap_jpeg(encode(PICTURE))[:-200], "truncated", "ends before its pixels"),
        (write_dicom(PICTURE, PhotometricInterpretation="CMYK"), "unsupported_format", "interpretation CMYK"),
        (write_dicom(PICTURE, BitsStored=None), "unreadable", "lacks BitsStored"),
        (write_dicom(PICTURE, Rows=[96, 96]), "unreadable", "no whole number as Rows"),
        (wrap_frame(b"\0" * 64, uid.MPEG2MPML, Rows=96, Columns=128), "unsupported_format", "a film in DICOM"),
        (wrap_frame(b"\0" * 64, "1.2.840.10008.1.2.4.94"), "unsupported_format", "save it as JPEG"),
        (bytes(128) + b"DICM" + bytes(100), "not_an_image", "without an image"),
        (bytes(128) + b"DICM\x02\x00", "not_an_image", "without an image"),
        (wrap_jpeg(encode(PICTURE), Rows=50), "unreadable", "128×96 of 3 samples, and whose header says 128×50 of 3"),
    ],
    ids=range(16),
)
def test_what_can_t_be_read_is_refused_in_one_line(encoded: bytes, fault: str, words: str) -> None:
    refusal = refusal_of(encoded)
    assert (refusal.fault, words in refusal.detail) == (fault, True), refusal
    assert "\n" not in refusal.detail


@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGBaseline8Bit])
def test_a_frame_that_is_cut_off_within_its_item_is_never_an_answer(syntax: str) -> None:
    whole = wrap_jpeg(encode(PICTURE)) if syntax == uid.JPEGBaseline8Bit else write_dicom(PICTURE, syntax=syntax)
    dataset = pydicom.dcmread(io.BytesIO(whole))
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = pydicom.encaps.encapsulate([frame[: len(frame) // 2]])
    assert refusal_of(save(dataset)).fault in {"truncated", "unreadable"}


def test_the_limit_of_pixels_is_checked_before_anything_is_decoded() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    huge = write_dicom(PICTURE, Rows=60000, Columns=60000)
    assert refusal_of(huge).fault == "too_many_pixels"
    frame = wrap_frame(
        encode(PICTURE),
        uid.JPEGBaseline8Bit,
        Rows=60000,
        Columns=60000,
        SamplesPerPixel=3,
        PhotometricInterpretation="YBR_FULL_422",
    )
    assert refusal_of(frame).fault == "too_many_pixels"
    large = write_dicom(np.zeros((200, 200, 3), np.uint8))
    refusal = refusal_of(large, ImageConfig(side=64, max_pixels=10_000))
    assert (refusal.fault, refusal.detail) == ("too_many_pixels", "200×200 pixels: at most 10000 are allowed")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_frame_of_more_pixels_than_the_header_says_isn_t_decoded() -> None:
    encoded = bytearray(encode(draw_picture(), "JPEG2000"))
    start = encoded.find(b"\xff\x4f\xff\x51")
    encoded[start + 8 : start + 16] = (2**20).to_bytes(4, "big") * 2
    size = {"Rows": 96, "Columns": 128, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    assert "1048576×1048576" in refusal_of(wrap_frame(bytes(encoded), uid.JPEG2000, **size)).detail


def test_a_small_file_that_inflates_to_a_huge_one_is_refused_before() -> None:
    header = build_header()
    header.file_meta = build_meta(uid.DeflatedExplicitVRLittleEndian, header)
    start = save(header)
    body = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = body.compress(bytes(10**8)) + body.flush()
    place = int.from_bytes(start[140:144], "little") + 144
    tracemalloc.start()
    refusal = refusal_of(start[:place] + bomb, ImageConfig(side=64, max_bytes=10**6))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal.fault == "too_many_bytes"
    assert peak_bytes < 10**7


def test_no_value_of_a_header_is_logged(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    caplog.set_level(logging.DEBUG)
    broken = write_dicom(PICTURE, syntax=uid.JPEG2000Lossless, PatientBirthDate="Mustermann", PatientID="x" * 80)
    dataset = pydicom.dcmread(io.BytesIO(broken))
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(100)])
    refusal_of(save(dataset))
    dicom.file_warnings(broken)
    assert "Mustermann" not in caplog.text
    assert not [one for one in recwarn if "Mustermann" in str(one.message)]


def test_burnt_in_text_is_a_warning_where_the_header_says_so() -> None:
    assert dicom.file_warnings(write_dicom(PICTURE, BurnedInAnnotation="YES")) == ("burnt-in text",)
    assert dicom.file_warnings(write_dicom(PICTURE, BurnedInAnnotation="NO")) == ()
    assert dicom.file_warnings(write_dicom(PICTURE)) == ()
    assert dicom.file_warnings(encode(PICTURE)) == ()
