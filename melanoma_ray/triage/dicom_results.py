"""Writes the answers about DICOM images as DICOM files, each named by its UID; what is there already stays as it is."""

from __future__ import annotations

import base64
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import UInt8
from PIL import Image
from pydicom.dataset import Dataset

from melanoma_ray import storage
from melanoma_ray.imaging.decoding import READABLE_ENDINGS
from melanoma_ray.imaging.dicom import DICOM_ENDINGS, HEADER_ERRORS, is_dicom, read_header
from melanoma_ray.model.checkpoint import find_checkpoint, identify, read_manifest
from melanoma_ray.sources.containers import read_encoded, split_address
from melanoma_ray.sources.dicom_headers import HeaderTooLongError, begins_as_dicom, find_header
from melanoma_ray.triage.dicom_objects import Asked, Finding, build_overlay, build_report
from melanoma_ray.triage.dicom_sources import complete, find_fault

Row = Mapping[str, Any]
"""Of predictions.parquet."""
_COLUMNS = ["path", "melanoma_probability", "decision", "warnings", "copy_of"]
_OTHER_ENDINGS = READABLE_ENDINGS - DICOM_ENDINGS
_NO_ANSWER = "no answer"
_WORD = re.compile(r"[\w.]+")
_LONGEST_REASON = 160
"""Letters of an unforeseen error's message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomResults:
    """What was written, by this call or by an earlier one."""

    directory: str
    num_reports: int = 0
    num_overlays: int = 0
    without: dict[str, int] = field(default_factory=dict)
    """Number of DICOM images without a report by what they have instead, such as "no answer" or "no Study Instance
    UID"; it names neither a file nor anything of a header."""

    @property
    def num_without(self) -> int:
        """Return the number of DICOM images without a report."""
        return sum(self.without.values())


def write_results(directory: str, answers: pa.Table, overlays: Mapping[str, str], checkpoint: str) -> DicomResults:
    """Write a report for each DICOM image that has an answer, and the image under its map where there is one.

    Copies are left out, since they are the same DICOM object.

    Args:
        directory: Where the files go.
        answers: Columns of predictions.parquet.
        overlays: JPEG in a ``data:`` URI by the path of its image.
        checkpoint: Checkpoint directory, run directory or a sweep's best.json: who answered.
    """
    uri = find_checkpoint(checkpoint)
    asked = Asked(manifest=read_manifest(uri), checkpoint_id=identify(uri))
    rows = answers.select(_COLUMNS).to_pylist()  # nulls are None there, and NaN in pandas
    without: Counter[str] = Counter()
    num_reports = num_overlays = 0
    for row, header in _read_headers(row for row in rows if row["copy_of"] is None):
        overlay = overlays.get(str(row["path"]))
        if isinstance(header, HeaderTooLongError):
            reason: str | None = header.detail
        elif row["decision"] is None:
            reason = _NO_ANSWER
        else:
            reason = find_fault(header) or _write_row(directory, row, header, overlay, asked)
        if reason is not None:
            without[reason] += 1
            continue
        num_reports += 1
        num_overlays += overlay is not None
    return DicomResults(
        directory=directory, num_reports=num_reports, num_overlays=num_overlays, without=dict(without.most_common())
    )


def _read_headers(rows: Iterable[Row]) -> Iterator[tuple[Row, Dataset | HeaderTooLongError]]:
    """Yield the rows whose image is a DICOM file that can be read, with its header, or that this is too long."""
    for row in rows:
        try:
            header = _read_header(str(row["path"]))
        except HeaderTooLongError as error:
            yield row, error
            continue
        except OSError:
            continue
        if header is not None:
            yield row, header


def _read_header(path: str) -> Dataset | None:
    """Return the header of a DICOM image; none: it is none, or can't be read.

    What has another format's ending is opened only on a local disk: in s3:// each costs a request.

    Raises:
        HeaderTooLongError: The header doesn't end within what is read of it.
        OSError: The file can't be read.
    """
    if split_address(path)[0]:
        encoded = read_encoded(path)
        return read_header(encoded) if is_dicom(encoded) else None
    is_other = PurePosixPath(path).suffix.lower() in _OTHER_ENDINGS
    if is_other and not (storage.is_local(path) and begins_as_dicom(path)):
        return None
    return find_header(path)


def _finding_of(row: Row) -> Finding:
    """Return what a row of predictions.parquet says of an image that has an answer."""
    probability = row["melanoma_probability"]
    is_known = probability is not None and math.isfinite(probability)
    return Finding(
        melanoma_probability=float(probability) if is_known else None,
        decision=row["decision"],
        warnings=() if row["warnings"] is None else tuple(row["warnings"]),
    )


def _write_row(directory: str, row: Row, header: Dataset, overlay: str | None, asked: Asked) -> str | None:
    """Write the objects about one image, or return why that can't be done: then none is written."""
    try:
        source = complete(header)
        written: list[Dataset] = [build_report(source, _finding_of(row), asked)]
        if overlay is not None:
            written.append(build_overlay(source, _decode(overlay), asked))
        contents = [(one.SOPInstanceUID, _encode(one)) for one in written]
    except HEADER_ERRORS as error:
        return _explain(error, header)
    for instance, content in contents:
        _write(directory, instance, content)
    return None


def _explain(error: Exception, header: Dataset) -> str:
    """Return what is wrong with a header that can't be taken over, with dots for whatever its elements have."""
    if isinstance(error, KeyError) and error.args == (header.get("SOPClassUID"),):
        return "an SOP Class UID that is of no image of today's standard"
    told = set(_WORD.findall(" ".join(_list_values(header))))
    said = _WORD.sub(lambda found: "…" if found[0] in told else found[0], str(error))
    said = " ".join(said.split())[:_LONGEST_REASON]
    return f"a header that can't be taken over ({type(error).__name__}: {said})"


def _list_values(header: Dataset) -> Iterator[str]:
    """Yield the values of all elements that can be read, as text, those within sequences included."""
    for tag in sorted(header.keys()):
        with suppress(*HEADER_ERRORS):
            yield str(header[tag].value)


def _decode(uri: str) -> UInt8[np.ndarray, "height width 3"]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def _encode(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _write(directory: str, instance: str, content: bytes) -> None:
    """Write an object, unless it is there: the same UID may not have two contents, such as two times."""
    target = storage.join(directory, f"{instance}.dcm")
    if not storage.exists(target):
        storage.write_bytes(target, content)
