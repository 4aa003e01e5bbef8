"""One frame of a DICOM file as the pixels that a person would see (PS3.3 C.7.6.3, C.8.12 and C.11).

What makes a file unusable is found on its header, before anything is decoded. A frame of ordinary JPEG is given back as
it is, so that it has the same pixels as outside of DICOM; all others are decoded by pydicom, each transfer syntax by
one library. pydicom's own messages may quote a header, and a header has names: none of them is logged.
"""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import pydicom
from jaxtyping import Float64, Shaped, UInt8
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import get_frame
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.pixels.utils import pixel_array

from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging import jpeg
from melanoma_ray.imaging.colour import to_srgb
from melanoma_ray.imaging.depth import Range, to_eight_bits
from melanoma_ray.imaging.orientation import METADATA_ERRORS

DICOM_ENDINGS = frozenset({".dcm", ".dicom"})
"""File name endings; many DICOM files have none, or a number."""
FileWarning = Literal["burnt-in text"]
BURNT_IN: FileWarning = "burnt-in text"
"""Warning about an image whose header says that text is burnt into its pixels (Burned In Annotation)."""
_MARK_AT, _MARK = 128, b"DICM"
_DECODERS = {
    **dict.fromkeys((uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian), ""),
    **dict.fromkeys((uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit), "pillow"),
    **dict.fromkeys((uid.JPEGLossless, uid.JPEGLosslessSV1), "gdcm"),
    **dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), "pyjpegls"),
    **dict.fromkeys((uid.JPEG2000Lossless, uid.JPEG2000), "pylibjpeg"),
    **dict.fromkeys((uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K), "pylibjpeg"),
    uid.RLELossless: "pylibjpeg",
}
"""pydicom's name of the decoder of each transfer syntax that is read; nothing: the samples are stored as they are."""
_NUMBERS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel", "NumberOfFrames")
_ORDINARY_JPEG = frozenset({uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit})
_COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
_GREYS = frozenset({"MONOCHROME1", "MONOCHROME2"})
_PALETTE = "PALETTE COLOR"
_GREY_RULES = ("ModalityLUTSequence", "RescaleSlope", "VOILUTSequence", "WindowCenter")
"""Attributes that say how grey samples are shown."""
_DARKEST_WHITE = 16
"""Level of 256; if nothing of a deep image would be brighter, its range must be another one."""
_JPEG2000_START = b"\xff\x4f\xff\x51"
_FLOATS = "a DICOM image of floating-point samples: save it with 8 bits a sample"
_MAX_NAME = 64
_MAX_INFLATED = 64 * 1024 * 1024
"""Largest header with its pixels that is inflated, bytes."""
HEADER_ERRORS = (*METADATA_ERRORS, InvalidDicomError, NotImplementedError, RecursionError)
"""Exceptions that pydicom raises on a damaged header, or that its parsers of values do."""

pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
warnings.filterwarnings("ignore", module=r"pydicom\.")
"""The first and the last would tell a header's values, of damaged dates and names above all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomImage:
    """A file whose header says that there is one frame in it; nothing is decoded yet."""

    dataset: Dataset
    width: int
    """Columns, pixels."""
    height: int
    """Rows, pixels."""
    frame: bytes | None
    """The compressed frame; none: the samples are stored as they are."""


def is_dicom(encoded: bytes) -> bool:
    """Tell a DICOM file by the mark after its preamble."""
    return encoded[_MARK_AT : _MARK_AT + len(_MARK)] == _MARK


def file_warnings(encoded: bytes) -> tuple[FileWarning, ...]:
    """Return what a file itself says is wrong with its image, as far as its header can be read; nothing: other formats.

    Args:
        encoded: The file, or enough of its beginning.
    """
    header = read_header(encoded) if is_dicom(encoded) else None
    return (BURNT_IN,) if header is not None and is_annotated(header) else ()


def is_annotated(header: Dataset) -> bool:
    """Tell a header that says that text is burnt into the pixels."""
    return str(header.get("BurnedInAnnotation", "")).upper() == "YES"


def read_header(encoded: bytes) -> Dataset | None:
    """Return all that stands before the pixels; none: it is damaged.

    Args:
        encoded: The file, or enough of its beginning.
    """
    try:
        return read_header_from(io.BytesIO(encoded))
    except (*HEADER_ERRORS, DecodeError):
        return None


def read_header_from(source: BinaryIO) -> Dataset:
    """Return all that stands before the pixels, of which nothing is read unless the file is deflated as a whole.

    Args:
        source: The file, from its beginning.

    Raises:
        DecodeError: It is deflated, and damaged or too large; one of ``HEADER_ERRORS``: its header is damaged.
    """
    if _read_meta(source).get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        return _read_inflated(source.read(), _MAX_INFLATED)
    source.seek(0)
    return pydicom.dcmread(source, stop_before_pixels=True)


def read_image(encoded: bytes, max_bytes: int) -> DicomImage:
    """Return a file's image, not decoded.

    Args:
        encoded: The DICOM file.
        max_bytes: Largest size of a file that is deflated as a whole, when it is inflated.

    Raises:
        DecodeError: There is no image of one frame in it, or it is damaged, or of a kind that isn't read.
    """
    try:
        dataset = _read_dataset(encoded, max_bytes)
    except HEADER_ERRORS as error:
        raise DecodeError("unreadable", "a DICOM file whose header is damaged or cut off") from error
    refusal = _refuse_content(dataset) or _refuse_numbers(dataset) or _refuse_frames(dataset) or _refuse_pixels(dataset)
    if refusal is not None:
        raise refusal
    return DicomImage(
        dataset=dataset, width=int(dataset.Columns), height=int(dataset.Rows), frame=_compressed_frame(dataset)
    )


def check_samples(image: DicomImage) -> None:
    """Refuse samples that are missing, and a frame that says another size than the header.

    Raises:
        DecodeError: The fault is ``truncated`` or ``unreadable``.
    """
    dataset = image.dataset
    if image.frame is None:
        expected = count_stored_bytes(image)
        if len(dataset.PixelData) < expected:
            msg = f"a DICOM image with {len(dataset.PixelData)} bytes of pixels: {expected} are expected"
            raise DecodeError("truncated", msg)
        return
    found = _measure_frame(image.frame)
    stated = (image.width, image.height, int(dataset.SamplesPerPixel))
    if found is not None and found != stated:
        msg = "a DICOM image whose frame is {}×{} of {} samples, and whose header says {}×{} of {}"
        raise DecodeError("unreadable", msg.format(*found, *stated))


def count_stored_bytes(image: DicomImage) -> int:
    """Return how many bytes samples have that are stored as they are; what follows them is no part of the image."""
    num_samples = image.width * image.height * int(image.dataset.SamplesPerPixel)
    is_halved = image.dataset.PhotometricInterpretation == "YBR_FULL_422"
    return -(-num_samples * int(image.dataset.BitsAllocated) // 8) * 2 // (3 if is_halved else 2)


def jpeg_of(image: DicomImage) -> bytes | None:
    """Return the frame if it is a JPEG that looks the same outside of DICOM; none: the header says how it is shown.

    It has no Exif, since nothing but the header says in DICOM how an image is turned, and no profile where the header
    has one.
    """
    frame, kind = image.frame, image.dataset.PhotometricInterpretation
    if frame is None or image.dataset.file_meta.TransferSyntaxUID not in _ORDINARY_JPEG:
        return None
    frame = jpeg.drop_metadata(frame, keep_profile=not image.dataset.get("ICCProfile"))
    if kind == "MONOCHROME2":
        has_rules = any(name in image.dataset for name in _GREY_RULES) or _is_inverted(image.dataset)
        return None if has_rules else frame
    found = jpeg.find_frame(frame)
    is_marked = found is not None and found.states_colours  # else libjpeg takes three components for YCbCr
    return frame if kind.startswith("YBR") or (kind == "RGB" and is_marked) else None


def to_profiled_srgb(
    image: DicomImage, pixels: UInt8[np.ndarray, "height width *channels"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Return grey or RGB pixels in sRGB, converted by the header's ICC profile where it has one."""
    return np.asarray(to_srgb(Image.fromarray(pixels), image.dataset.get("ICCProfile")))


def decode_pixels(image: DicomImage) -> UInt8[np.ndarray, "height width 3"]:
    """Return the pixels in sRGB, of whatever photometric interpretation and depth.

    Raises:
        DecodeError: The fault is ``unknown_range``: nothing says which sample is white, or all would be almost black.
    """
    dataset = image.dataset
    samples = pixel_array(dataset, index=0, decoding_plugin=_DECODERS[dataset.file_meta.TransferSyntaxUID])
    kind = dataset.PhotometricInterpretation
    if kind == _PALETTE:
        colours = apply_color_lut(samples, dataset)[..., :3]
        is_deep = colours.dtype.itemsize > 1 and int(colours.max()) > 255  # some state 16 bits and have 8
        shown = to_eight_bits(colours, (0, 65535) if is_deep else (0, 255))
    elif kind in _GREYS:
        shown = _show_grey(samples, dataset)
    else:
        shown = to_eight_bits(samples, _stated_range(dataset))
    if int(dataset.BitsStored) > 8 and int(shown.max()) < _DARKEST_WHITE:
        msg = f"its brightest sample would be shown as {shown.max()} of 255; save it with 8 bits a sample"
        raise DecodeError("unknown_range", msg)
    return to_profiled_srgb(image, np.ascontiguousarray(shown))


def _read_meta(source: BinaryIO) -> Dataset:
    """Return the file's own elements, and leave the source where the data set begins."""
    read_preamble(source, force=False)
    return read_dataset(source, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)


def _read_dataset(encoded: bytes, max_bytes: int) -> Dataset:
    source = io.BytesIO(encoded)
    syntax = uid.UID(_read_meta(source).get("TransferSyntaxUID", uid.ImplicitVRLittleEndian))
    if syntax != uid.DeflatedExplicitVRLittleEndian:
        if syntax not in _DECODERS:
            raise _unknown_syntax(syntax)
        whole = pydicom.dcmread(io.BytesIO(encoded))
        # Of a file that ends within its pixels pydicom returns nothing at all.
        return whole if "PixelData" in whole else pydicom.dcmread(io.BytesIO(encoded), stop_before_pixels=True)
    return _read_inflated(source.read(), max_bytes)


def _read_inflated(deflated: bytes, max_bytes: int) -> Dataset:
    inflated = _inflate(deflated, max_bytes)
    dataset = read_dataset(io.BytesIO(inflated), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    return dataset


def _inflate(deflated: bytes, max_bytes: int) -> bytes:
    """Return what was deflated; pydicom would inflate any size."""
    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, max_bytes + 1)
    except zlib.error as error:
        raise DecodeError("unreadable", "a DICOM file whose deflated data are damaged") from error
    if len(inflated) > max_bytes:
        raise DecodeError("too_many_bytes", f"more than {max_bytes} bytes when inflated: no more are allowed")
    return inflated


def _unknown_syntax(syntax: uid.UID) -> DecodeError:
    name = _name_of(syntax)
    if "MPEG" in name or "HEVC" in name or "SMPTE" in name:
        return DecodeError("unsupported_format", f"a film in DICOM ({name}): export one picture of it")
    return DecodeError("unsupported_format", f"a DICOM image compressed as {name}: save it as JPEG or uncompressed")


def _name_of(one: object) -> str:
    """Return the standard's name of a UID, or the UID."""
    known = uid.UID(str(one))
    return known.name[:_MAX_NAME] if known.is_valid else "of no kind"


def _refuse_content(dataset: Dataset) -> DecodeError | None:
    """Return the error for a data set that is no image of one frame."""
    kind = _name_of(dataset.get("SOPClassUID", ""))
    if "DirectoryRecordSequence" in dataset:
        return DecodeError("not_an_image", "a DICOM directory, which only lists files: give the images themselves")
    if "EncapsulatedDocument" in dataset:
        return DecodeError("not_an_image", f"a document in DICOM ({kind}): export its picture as PNG or JPEG")
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        return DecodeError("unsupported_format", _FLOATS)
    if "PixelData" not in dataset and "Rows" in dataset and "Columns" in dataset:
        return DecodeError("truncated", "a DICOM image that ends before its pixels, or whose pixels were taken out")
    if "PixelData" not in dataset:
        return DecodeError("not_an_image", f"a DICOM file without an image ({kind}): give the image that it is about")
    return None


def _refuse_numbers(dataset: Dataset) -> DecodeError | None:
    """Return the error for texts, or several values, in the place of a number; one that is missing is no such."""
    damaged = [name for name in _NUMBERS if not _is_whole(dataset, name)]
    if not damaged:
        return None
    return DecodeError("unreadable", f"a DICOM image whose header has no whole number as {', '.join(damaged)}")


def _is_whole(dataset: Dataset, name: str) -> bool:
    try:
        int(dataset.get(name) or 0)
    except HEADER_ERRORS:
        return False
    return True


def _refuse_frames(dataset: Dataset) -> DecodeError | None:
    """Return the error for several frames."""
    frames = dataset.get("NumberOfFrames") or 1
    if int(frames) != 1:
        msg = f"a DICOM image of {frames} frames: 1 is allowed; save the frame that counts as an image of its own"
        return DecodeError("unsupported_format", msg)
    return None


def _refuse_pixels(dataset: Dataset) -> DecodeError | None:
    """Return the error for pixels of a kind that isn't read."""
    names = ("Rows", "Columns", "BitsAllocated", "BitsStored", "SamplesPerPixel", "PhotometricInterpretation")
    missing = [name for name in names if not dataset.get(name)]
    if missing:
        return DecodeError("unreadable", f"a DICOM image whose header lacks {', '.join(missing)}")
    kind = str(dataset.PhotometricInterpretation)
    num_samples = 3 if kind in _COLOURS else 1 if kind in _GREYS or kind == _PALETTE else 0
    if int(dataset.SamplesPerPixel) != num_samples:
        msg = (
            f"a DICOM image of photometric interpretation {kind[:_MAX_NAME]} and {dataset.SamplesPerPixel} samples a "
            "pixel: save it as RGB with 8 bits a sample"
        )
        return DecodeError("unsupported_format", msg)
    return None


def _compressed_frame(dataset: Dataset) -> bytes | None:
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return None
    try:
        return get_frame(dataset.PixelData, 0, number_of_frames=1)
    except HEADER_ERRORS as error:
        raise DecodeError("unreadable", "a DICOM image whose compressed frame can't be found") from error


def _measure_frame(frame: bytes) -> tuple[int, int, int] | None:
    """Return width, height and number of components that a compressed frame states; none: it states none (RLE)."""
    start = frame.find(_JPEG2000_START)
    if start >= 0:
        right, bottom, left, top = (int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12, 16, 20))
        return right - left, bottom - top, int.from_bytes(frame[start + 40 : start + 42], "big")
    found = jpeg.find_frame(frame) if frame.startswith(jpeg.START) else None
    return None if found is None else (found.width, found.height, len(found.components))


def _stated_range(dataset: Dataset) -> Range | None:
    """Return the samples that are black and white; none: they have a sign, or 16 bits, of which some may be unused."""
    bits = int(dataset.BitsStored)
    return None if bits >= 16 or _is_signed(dataset) else (0, 2**bits - 1)


def _is_signed(dataset: Dataset) -> bool:
    return int(dataset.get("PixelRepresentation") or 0) == 1


def _show_grey(samples: Shaped[np.ndarray, "height width"], dataset: Dataset) -> UInt8[np.ndarray, "height width"]:
    """Return grey samples as the header says they are shown: rescaled, windowed, or else over their whole range."""
    values = apply_modality_lut(samples, dataset)
    if dataset.get("VOILUTSequence"):
        shown = to_eight_bits(apply_voi(_whole(values), dataset), _range_of_lut(dataset.VOILUTSequence))
    elif dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        shown = np.asarray(np.rint(255 * _window(values.astype(np.float64), dataset)), np.uint8)
    elif dataset.get("ModalityLUTSequence"):
        shown = to_eight_bits(values, _range_of_lut(dataset.ModalityLUTSequence))
    else:  # rescaling alone changes the unit, and turns the scale round where the slope is negative
        shown = to_eight_bits(samples, _stated_range(dataset), int(dataset.BitsStored) - _is_signed(dataset))
        shown = np.invert(shown) if float(dataset.get("RescaleSlope") or 1) < 0 else shown
    return np.invert(shown) if _is_inverted(dataset) else shown


def _is_inverted(dataset: Dataset) -> bool:
    """Tell grey samples of which the smallest is white; of MONOCHROME1 both attributes say so (PS3.3, C.8.11.3)."""
    shape = str(dataset.get("PresentationLUTShape", "")).upper()
    return bool(dataset.PhotometricInterpretation == "MONOCHROME1" or shape == "INVERSE")


def _whole(values: Shaped[np.ndarray, "height width"]) -> Shaped[np.ndarray, "height width"]:
    """Return values as integers, which a lookup table is asked for."""
    return values if values.dtype.kind in "iu" else np.rint(values).astype(np.int64)


def _range_of_lut(sequence: Any) -> Range:  # noqa: ANN401 - pydicom's Sequence
    return 0, 2 ** int(sequence[0].LUTDescriptor[2]) - 1


def _window(values: Float64[np.ndarray, "height width"], dataset: Dataset) -> Float64[np.ndarray, "height width"]:
    """Return values in [0, 1] by the first window, as PS3.3 C.11.2.1.2 and C.11.2.1.3 define it.

    Raises:
        DecodeError: The fault is ``unknown_range``: the window has no width.
    """
    center, width = (_first_number(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    function = str(dataset.get("VOILUTFunction") or "LINEAR").upper()
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise DecodeError("unknown_range", f"a DICOM image with a window of width {width:g}: expected 1 or more")
    if function == "SIGMOID":
        return cast("np.ndarray", 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(np.float64)
    return ((values - center) / width + 0.5).clip(0, 1)


def _first_number(dataset: Dataset, name: str) -> float:
    value = dataset.get(name)
    return float(value if isinstance(value, float | int | str) else value[0])
