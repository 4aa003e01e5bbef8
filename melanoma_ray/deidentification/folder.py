"""Copies the DICOM images of a folder without what tells whose they are; each copy is called by its new UID.

The rule: where it isn't certain that a copy names nobody, there is none, and that is counted under its reason. A path
may hold a name, so none is told but in the table that was asked for.
"""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import struct
from collections import Counter
from dataclasses import dataclass, field

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, RLELossless, SecondaryCaptureImageStorage

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig
from melanoma_ray.deidentification.frames import strip_frame, strip_run_lengths
from melanoma_ray.deidentification.profile import Profile, deidentify
from melanoma_ray.deidentification.way_back import WayBack, open_way_back
from melanoma_ray.errors import ConfigError, DataError, DecodeError
from melanoma_ray.imaging import dicom
from melanoma_ray.imaging.dicom import DicomImage
from melanoma_ray.sources.dicom_tables import find_age
from melanoma_ray.sources.listing import list_source

NO_DICOM = "images of other formats, of which nothing is known"
BURNT_IN = "images whose header says that text is burnt in"
TWICE = "images with the UID of one before them"
_DAMAGED = "images whose header is damaged, so that it can't be written again"
_DAMAGED_FRAME = "images whose compressed frame is damaged"
_NUMBER = re.compile(r"\d+")
"""In a reason, so that there are few; the reasons of other faults may quote a header."""
_LEAST_SECRET_BYTES = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Copied:
    """What became of the images."""

    num_copied: int
    num_unsure: int
    """Copies whose header doesn't say that there is no text in the pixels: a person must look at each."""
    num_recognizable: int
    """Copies whose header says that they show features by which the patient may be recognized."""
    left_out: dict[str, int]
    """Number of files without a copy, by reason."""


@dataclass(slots=True)
class _Copies:
    """What is being copied."""

    output: str
    profile: Profile
    way_back: WayBack
    names: set[str] = field(default_factory=set)
    """Address of each copy."""
    num_unsure: int = 0
    num_recognizable: int = 0


def read_secret(name: str | None) -> bytes:
    """Return the key of all replacements: a file's content, or a new one that nobody keeps.

    Raises:
        ConfigError: The file is too short to be a secret, or isn't there.
    """
    if name is None:
        return secrets.token_bytes(32)
    try:
        secret = storage.read_bytes(name).strip()
    except OSError as error:
        msg = f"secret={name}: can't be read; make one with: head -c 32 /dev/urandom | base64 > {name}"
        raise ConfigError(msg) from error
    if len(secret) < _LEAST_SECRET_BYTES:
        msg = f"secret={name}: {len(secret)} bytes: expected {_LEAST_SECRET_BYTES} or more, at random"
        raise ConfigError(msg)
    return secret


def copy_folder(images: str, output: str, profile: Profile, table: str | None = None) -> Copied:
    """Write a de-identified copy of each DICOM image below a folder.

    Args:
        images: Folder, or one file; local or s3://.
        output: New directory.
        profile: How.
        table: New CSV file for the path of each image and the name of its copy, readable for its owner only; it leads
            back to the patients. A row is there before its copy is.

    Raises:
        DataError: There is no such folder, the output has files already, or there is such a table.
        StorageError: The table or a copy can't be written.
    """
    if storage.exists(output) and storage.list_files(output):
        msg = f"output {output}: has files already; give a new directory"
        raise DataError(msg)
    left_out: Counter[str] = Counter()
    listing = list_source(storage.absolute(images), most_readings=1)
    left_out.update(listing.passed_over)
    with open_way_back(table) as way_back:
        copies = _Copies(output=output, profile=profile, way_back=way_back)
        for info in listing.images:
            reason = _copy(info.path, copies)
            if reason is not None:
                left_out[reason] += 1
    return Copied(
        num_copied=len(copies.names),
        num_unsure=copies.num_unsure,
        num_recognizable=copies.num_recognizable,
        left_out=dict(left_out),
    )


def _copy(path: str, copies: _Copies) -> str | None:
    """Write the copy of one image, or return why there is none."""
    image = _read_image(path)
    if isinstance(image, str):
        return image
    if dicom.is_annotated(image.dataset):
        return BURNT_IN
    is_unsure = str(image.dataset.get("BurnedInAnnotation", "")).upper() != "NO"
    is_recognizable = str(image.dataset.get("RecognizableVisualFeatures", "")).upper() == "YES"
    try:
        content = copy_image(image, copies.profile)
    except DecodeError as error:
        return error.detail
    except dicom.HEADER_ERRORS:
        return _DAMAGED
    target = storage.join(copies.output, f"{image.dataset.SOPInstanceUID}.dcm")
    if target in copies.names:
        return TWICE
    copies.way_back.add(path, target.rsplit("/", 1)[-1])
    storage.write_bytes(target, content)
    copies.names.add(target)
    copies.num_unsure += is_unsure
    copies.num_recognizable += is_recognizable
    return None


def _read_image(path: str) -> DicomImage | str:
    """Return the image in a file, or why it isn't copied."""
    try:
        encoded = storage.read_bytes(path)
        if not dicom.is_dicom(encoded):
            return NO_DICOM
        image = dicom.read_image(encoded, ImageConfig().max_bytes)
        dicom.check_samples(image)
    except DecodeError as error:
        why = _NUMBER.sub("…", error.detail) if error.fault == "unreadable" else error.fault
        return f"DICOM files that can't be read as an image ({why})"
    except OSError:
        return "files that can't be read"
    except dicom.HEADER_ERRORS:
        return _DAMAGED
    return image


def copy_image(image: DicomImage, profile: Profile) -> bytes:
    """Return a file of an image, de-identified; the image's data set is changed.

    Raises:
        DecodeError: Its compressed frame is damaged.
        ValueError: Its header can't be written again; so do other errors of pydicom's.
    """
    dataset, meta = image.dataset, FileMetaDataset()
    if profile.keeps_characteristics and not dataset.get("PatientAge") and (age := find_age(dataset)) is not None:
        dataset.PatientAge = f"{int(age):03d}Y"
    _name_image(dataset)
    _strip_pixels(image)
    deidentify(dataset, profile)
    meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    dataset.file_meta, dataset.preamble = meta, bytes(128)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _name_image(dataset: Dataset) -> None:
    """Give an image a UID and a class if it has none: a UID of its pixels, the same one in each run."""
    if not dataset.get("SOPInstanceUID"):
        digest = hashlib.sha256(dataset.PixelData).digest()
        dataset.SOPInstanceUID = UID(f"2.25.{int.from_bytes(digest[:16], 'big')}")
    if not dataset.get("SOPClassUID"):
        dataset.SOPClassUID = dataset.file_meta.get("MediaStorageSOPClassUID") or SecondaryCaptureImageStorage


def _strip_pixels(image: DicomImage) -> None:
    """Take out what stands beside the samples, and the places of compressed frames, which are others then.

    Raises:
        DecodeError: The frame is damaged.
    """
    dataset = image.dataset
    if image.frame is None:
        content = dataset.PixelData[: dicom.count_stored_bytes(image)]
        dataset.PixelData = content + b"\0" * (len(content) % 2)
        return
    try:
        if dataset.file_meta.TransferSyntaxUID == RLELossless:
            frame = strip_run_lengths(image.frame, image.width * image.height)
        else:
            frame = strip_frame(image.frame)
    except (ValueError, struct.error) as error:
        raise DecodeError("unreadable", _DAMAGED_FRAME) from error
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if name in dataset:
            del dataset[name]
