"""The header of a DICOM file where it lies: all that stands before the pixels, and hardly anything of these.

A header is read in blocks, as far as it goes, so that one of megabytes (a profile, a maker's own data) costs what it
has, and a usual one a single read.
"""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
from pydicom.dataset import Dataset

from melanoma_ray import storage
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging import dicom

MOST_HEADER_BYTES = 64 * 1024 * 1024
"""Most that is read for a header, bytes."""
_BLOCK_BYTES = 256 * 1024
_HEAD_BYTES = 132


class HeaderTooLongError(DecodeError):
    """A header doesn't end within the bytes that are read for it."""

    def __init__(self, most_bytes: int = MOST_HEADER_BYTES) -> None:
        """Tell the limit."""
        super().__init__("too_many_bytes", f"a DICOM header of more than {most_bytes} bytes before the pixels")
        self.most_bytes = most_bytes

    def __reduce__(self) -> tuple[type[HeaderTooLongError], tuple[int]]:  # type: ignore[override]
        """Rebuild from the limit."""
        return type(self), (self.most_bytes,)


class _Limited(io.RawIOBase):
    """A file of which no more than some bytes are read."""

    name = ""  # pydicom asks for it

    def __init__(self, file: pa.NativeFile, most_bytes: int) -> None:
        self._file, self._num_left, self._most_bytes = file, most_bytes, most_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._num_left <= 0:
            raise HeaderTooLongError(self._most_bytes)
        content = self._file.read(min(len(buffer), self._num_left))
        buffer[: len(content)] = content
        self._num_left -= len(content)
        return len(content)


def find_header(path: str, most_bytes: int = MOST_HEADER_BYTES) -> Dataset | None:
    """Return what stands before the pixels of a file; none: it is no DICOM, or its header is damaged.

    Args:
        path: The file, local or in s3://.
        most_bytes: Most that is read.

    Raises:
        HeaderTooLongError: The header is longer.
        OSError: The file can't be read.
    """
    filesystem, name = storage.resolve(path)
    with filesystem.open_input_file(name) as file:
        source = io.BufferedReader(_Limited(file, most_bytes), _BLOCK_BYTES)
        if not dicom.is_dicom(source.peek(_HEAD_BYTES)):
            return None
        try:
            return dicom.read_header_from(source)
        except (HeaderTooLongError, OSError):
            raise
        except (*dicom.HEADER_ERRORS, DecodeError):
            return None


def begins_as_dicom(path: str) -> bool:
    """Tell a DICOM file on a local disk by its first bytes, whatever it is called.

    Raises:
        OSError: The file can't be read.
    """
    with Path(path).open("rb", buffering=0) as file:
        return dicom.is_dicom(file.read(_HEAD_BYTES))
