"""Every file below a source, and what it is: an image, a container of images, a table, or something passed over.

The rule: no file is silent. What isn't read is counted under its reason, and each reason says what a person can do.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

from melanoma_ray import storage
from melanoma_ray.errors import DataError, StorageError
from melanoma_ray.imaging.decoding import READABLE_ENDINGS
from melanoma_ray.imaging.dicom import is_dicom
from melanoma_ray.sources.containers import CONTAINER_ENDINGS
from melanoma_ray.sources.masks import find_masks

IMAGE_ENDINGS = READABLE_ENDINGS
"""File name endings of images: all that the decoder can read."""
_MAYBE_DICOM = re.compile(r"(\.\d+)?")
"""Endings of files that are DICOM if their bytes say so: none, or the last number of a UID."""
_DICOM_DIRECTORY = "DICOMDIR"
_HEAD_BYTES = 132
TABLE_ENDINGS = frozenset({".csv", ".tsv", ".tab", ".jsonl"})
_TABLES_BY_NAME = ("ham10000_metadata", "ph2_dataset.txt")
"""Tables that are published under names without one of these endings."""
_SYSTEM_NAMES = frozenset(
    {
        *("__macosx", "@eadir", "thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "__pycache__"),
        *("$recycle.bin", "recycler", "lost+found", "system volume information", "found.000"),
    }
)
"""What operating systems and network disks leave in folders; besides these, all that begins with a dot."""
SYSTEM = "hidden files and files of the operating system"
MASKS = "masks of images (segmentations, superpixels, attribute maps)"
UNREADABLE_FOLDERS = "folders that can't be read: check their permissions"
LOOPS = "links back to a folder above, or to one that is read already, as often as it may be"
MOST_READINGS = 5
"""Of one folder, under its own name and those of links, which may say more, such as ``Test``."""
DICOM_DIRECTORIES = "DICOM directories, which list the files beside them"
BAD_NAMES = "files whose name isn't UTF-8: rename them"


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """The files of one source, sorted by path."""

    images: list[storage.FileInfo] = field(default_factory=list)
    containers: list[storage.FileInfo] = field(default_factory=list)
    """HDF5 and Parquet files, which may hold images."""
    tables: list[storage.FileInfo] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    """Number of files that aren't read, by reason."""


def list_source(root: str, most_readings: int = MOST_READINGS) -> Listing:
    """Return what lies below a folder, or the one file that the source is.

    Args:
        root: Absolute; local or such as s3://bucket/folder.
        most_readings: How often one folder is read, under its own name and those of links, which come last.

    Raises:
        DataError: There is nothing of this name.
        StorageError: It can't be read.
    """
    if not storage.exists(root):
        msg = f"images folder {root}: not found; give the folder that holds the images"
        raise DataError(msg)
    listing = Listing()
    if storage.is_file(root):
        infos = [info for info in storage.list_infos(root.rsplit("/", 1)[0], recursive=False) if info.path == root]
    elif storage.is_local(root):
        _check_readable(root)
        infos = list(_walk(root, listing.passed_over, most_readings))
    else:
        infos = storage.list_infos(root)
    prefix = len(root.rstrip("/")) + 1
    for info in sorted(infos, key=lambda one: one.path):
        inside = info.path[prefix:] or info.path.rsplit("/", 1)[-1]  # the source may be this one file
        _classify(info, PurePosixPath(inside), listing)
    is_mask = find_masks([info.path for info in listing.images], [info.path[prefix:] for info in listing.images])
    if any(is_mask):
        listing.passed_over[MASKS] += sum(is_mask)
        listing.images[:] = [info for info, one in zip(listing.images, is_mask, strict=True) if not one]
    return listing


def _check_readable(root: str) -> None:
    """Refuse a local folder that can't be read, as on a network disk that is away: it isn't an empty one."""
    try:
        os.scandir(root).close()
    except OSError as error:
        raise StorageError(storage.explain(error, root)) from error


def _walk(root: str, passed_over: Counter[str], most_readings: int) -> Iterator[storage.FileInfo]:
    """Yield the files below a local folder, links followed; what a name or a loop hides is counted."""
    readings: Counter[_Identity] = Counter()
    waiting: deque[tuple[str, frozenset[_Identity]]] = deque([(root, frozenset())])
    while waiting:
        folder, above = waiting.popleft()
        try:
            status = os.stat(folder)  # noqa: PTH116 - names that aren't UTF-8 stay as they are
            identity = status.st_dev, status.st_ino
            if identity in above or readings[identity] >= most_readings:
                passed_over[LOOPS] += 1
                continue
            readings[identity] += 1
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            passed_over[UNREADABLE_FOLDERS] += 1
            continue
        for entry in entries:
            mode = _mode(entry)
            if not _is_utf8(entry.name):
                passed_over[BAD_NAMES] += 1
            elif stat.S_ISDIR(mode):
                further = (entry.path, above | {identity})
                waiting.append(further) if entry.is_symlink() else waiting.appendleft(further)
            elif stat.S_ISREG(mode):
                status = entry.stat()
                yield storage.FileInfo(path=entry.path, num_bytes=status.st_size, modified_ns=status.st_mtime_ns)
            else:
                passed_over["broken links and special files"] += 1


_Identity = tuple[int, int]
"""Device and inode of a folder."""


def _mode(entry: os.DirEntry[str]) -> int:
    """Return what kind of file it is, links followed; 0 for a link that leads nowhere, or to itself."""
    try:
        return entry.stat().st_mode
    except OSError:
        return 0


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _classify(info: storage.FileInfo, inside: PurePosixPath, listing: Listing) -> None:
    """Put a file where it belongs, by its path below the source."""
    ending = inside.suffix.lower()
    if any(part.startswith(".") or part.lower() in _SYSTEM_NAMES for part in inside.parts):
        listing.passed_over[SYSTEM] += 1
    elif ending in IMAGE_ENDINGS:
        listing.images.append(info)
    elif ending in CONTAINER_ENDINGS:
        listing.containers.append(info)
    elif is_table(inside.name):
        listing.tables.append(info)
    elif inside.name.upper() == _DICOM_DIRECTORY:
        listing.passed_over[DICOM_DIRECTORIES] += 1
    elif _MAYBE_DICOM.fullmatch(ending) and _has_dicom(info):
        listing.images.append(info)
    else:
        listing.passed_over[_describe_other(ending)] += 1


def _has_dicom(info: storage.FileInfo) -> bool:
    """Tell a DICOM file by its first bytes."""
    try:
        return _begins_as_dicom(info)
    except OSError:
        return False


@lru_cache(maxsize=100_000)  # a watched folder is listed every second; an error isn't remembered
def _begins_as_dicom(info: storage.FileInfo) -> bool:
    return is_dicom(storage.read_head(info.path, _HEAD_BYTES))


def is_table(name: str) -> bool:
    """Tell a table by its file's name."""
    return PurePosixPath(name).suffix.lower() in TABLE_ENDINGS or name.lower() in _TABLES_BY_NAME


def _describe_other(ending: str) -> str:
    if ending in {".zip", ".gz", ".tar", ".tgz", ".7z", ".rar", ".xz", ".bz2"}:
        return f"archives ({ending}): unpack them first"
    if ending in {".xlsx", ".xls", ".ods"}:
        return f"spreadsheets ({ending}): save them as CSV"
    return f"files ending in {ending}, which are no images" if ending else "files without an ending"
