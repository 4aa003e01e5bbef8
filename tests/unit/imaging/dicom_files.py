"""DICOM files as cameras and archives write them: samples as they are, or a frame that is compressed."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import compress

from melanoma_ray.imaging import jpeg

DERMOSCOPIC = uid.UID("1.2.840.10008.5.1.4.1.1.77.1.7")
STUDY, SERIES, INSTANCE = "1.2.276.0.7230010.3.1.2.7", "1.2.276.0.7230010.3.1.3.7", "1.2.276.0.7230010.3.1.4.7"
NAME = "Mustermann^Erika"


def build_header(**attributes: object) -> Dataset:
    """A dermoscopic image's header with what its IOD requires of patient, study and series."""
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = DERMOSCOPIC, INSTANCE
    header.StudyInstanceUID, header.SeriesInstanceUID = STUDY, SERIES
    header.PatientName, header.PatientID = NAME, "P-17"
    header.PatientBirthDate, header.PatientSex = "19610203", "F"
    header.StudyDate, header.StudyTime, header.StudyID, header.AccessionNumber = "20260401", "101500", "S1", "A1"
    header.ReferringPhysicianName, header.Modality, header.SeriesNumber, header.InstanceNumber = "", "XC", 1, 1
    for name, value in attributes.items():
        setattr(header, name, value)
    return header


def write_dicom(pixels: np.ndarray, *, syntax: str = uid.ExplicitVRLittleEndian, **attributes: object) -> bytes:
    """A file of these samples: grey, or of three channels; what ``syntax`` names is written by pydicom's encoders."""
    num_samples = 3 if pixels.ndim == 3 else 1
    bits = 8 * pixels.dtype.itemsize
    header = build_header(
        Rows=pixels.shape[0],
        Columns=pixels.shape[1],
        SamplesPerPixel=num_samples,
        PhotometricInterpretation="RGB" if num_samples == 3 else "MONOCHROME2",
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=int(pixels.dtype.kind == "i"),
    )
    if num_samples == 3:
        header.PlanarConfiguration = 0
    header.PixelData = pixels.tobytes()
    header["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in attributes.items():
        setattr(header, name, value)
    is_compressed = uid.UID(syntax).is_encapsulated
    header.file_meta = build_meta(uid.ExplicitVRLittleEndian if is_compressed else syntax, header)
    if is_compressed:
        compress(header, syntax, generate_instance_uid=False)
    return save(header)


def wrap_jpeg(encoded: bytes, *, kind: str | None = None, **attributes: object) -> bytes:
    """A JPEG file's bytes as the one frame of a DICOM file."""
    frame = jpeg.find_frame(encoded)
    assert frame is not None
    num_samples = len(frame.components)
    stated: dict[str, Any] = {
        "Rows": frame.height,
        "Columns": frame.width,
        "SamplesPerPixel": num_samples,
        "PhotometricInterpretation": kind or ("YBR_FULL_422" if num_samples == 3 else "MONOCHROME2"),
    }
    return wrap_frame(encoded, uid.JPEGBaseline8Bit, **stated | attributes)


def wrap_frame(frame: bytes, syntax: str, **attributes: object) -> bytes:
    header = build_header(
        **{"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelRepresentation": 0, "PlanarConfiguration": 0}
        | attributes
    )
    header.PixelData = encapsulate([frame])
    header["PixelData"].VR = "OB"
    header["PixelData"].is_undefined_length = True
    header.file_meta = build_meta(syntax, header)
    return save(header)


def build_meta(syntax: str, header: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
    return meta


def save(header: Dataset) -> bytes:
    buffer = io.BytesIO()
    header.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def write_header_only(**attributes: object) -> bytes:
    """A file without pixels, such as a report."""
    header = build_header(**attributes)
    header.file_meta = build_meta(uid.ExplicitVRLittleEndian, header)
    return save(header)
