"""Small encoded images of every format that the decoder reads, to be mutated."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pydicom
from PIL import Image, ImageCms
from pillow_heif import register_heif_opener
from pydicom import uid

from tests.unit.imaging.dicom_files import wrap_jpeg, write_dicom

_LOSSLESS_JPEG = Path(pydicom.__file__).parent / "data" / "test_files" / "SC_rgb_jpeg_gdcm.dcm"
register_heif_opener()


def build_seeds() -> list[bytes]:
    """Return one file each: JPEG in several flavours, PNG and TIFF in several depths, and every other format."""
    rows, columns = np.mgrid[0:48, 0:64]
    pixels = np.stack([rows * 5, columns * 4, rows + columns], axis=2).astype(np.uint8)
    colour = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    images: list[tuple[Image.Image, str, dict[str, object]]] = [
        (colour, "JPEG", {"quality": 80}),
        (colour, "JPEG", {"quality": 80, "progressive": True}),
        (colour, "JPEG", {"exif": exif}),
        (colour.convert("L"), "JPEG", {}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "PNG", {}),
        (colour.convert("P"), "PNG", {}),
        (colour.convert("RGBA"), "PNG", {}),
        (Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 257), "PNG", {}),
        (colour, "WEBP", {}),
        (colour, "TIFF", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour, "BMP", {}),
        (colour.convert("P"), "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "JPEG2000", {}),
        (colour, "AVIF", {"speed": 10}),
        (colour, "HEIF", {"quality": 50}),
        (colour, "PPM", {}),
        (colour, "JPEG", {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()}),
        (colour, "PNG", {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}),
        (colour.convert("F"), "TIFF", {}),
    ]
    deep = pixels.astype(np.uint16) * 16
    unusual = [cv2.imencode(ending, deep)[1] for ending in (".png", ".jp2", ".tiff")]
    unusual.append(cv2.imencode(".tiff", pixels / np.float32(255))[1])
    whole = [_encode(*image) for image in images] + [one.tobytes() for one in unusual]
    return [*whole, *_build_dicom(pixels, whole[0])]


def _build_dicom(pixels: np.ndarray, encoded: bytes) -> list[bytes]:
    """Return DICOM files of every decoder: plain samples, JPEG, run lengths, JPEG 2000, JPEG-LS, lossless JPEG."""
    syntaxes = (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless)
    grey = pixels[:, :, 0].astype(np.uint16) * 16
    return [
        wrap_jpeg(encoded),
        *(write_dicom(pixels, syntax=syntax) for syntax in syntaxes),
        write_dicom(grey, BitsStored=12, HighBit=11, WindowCenter=2000, WindowWidth=4000),
        _LOSSLESS_JPEG.read_bytes(),
    ]


def _encode(image: Image.Image, kind: str, options: dict[str, object]) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
