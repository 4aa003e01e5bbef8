"""The table of images and copies: a row is kept before its copy is written, so that no copy is without its way back.

On a local disk each row is on the disk at once. In s3://, where nothing can be added to an object, rows are written
some at a time and at the end, whatever ends the copying.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from melanoma_ray import storage
from melanoma_ray.errors import DataError, StorageError

_HEADER = ("path", "copy")
_ROWS_AT_ONCE = 256


class WayBack:
    """A table that is being written."""

    def __init__(self, uri: str | None, file: TextIO | None) -> None:
        """Begin without rows; none of both: nothing is kept."""
        self._uri, self._file = uri, file
        self._rows: list[tuple[str, str]] = []

    def add(self, path: str, copy: str) -> None:
        """Keep which image a copy is of.

        Raises:
            StorageError: It can't be written.
        """
        if self._file is not None:
            try:
                csv.writer(self._file, lineterminator="\n").writerow((path, copy))
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise StorageError(storage.explain(error, self._uri)) from error
        elif self._uri is not None:
            self._rows.append((path, copy))
            if len(self._rows) % _ROWS_AT_ONCE == 1:
                self.write()

    def write(self) -> None:
        """Write all rows to where a file can't be added to.

        Raises:
            StorageError: It can't be written.
        """
        if self._file is None and self._uri is not None:
            buffer = io.StringIO()
            csv.writer(buffer, lineterminator="\n").writerows([_HEADER, *self._rows])
            storage.write_bytes(self._uri, buffer.getvalue().encode())


@contextmanager
def open_way_back(uri: str | None) -> Iterator[WayBack]:
    """Begin a table, which on a local disk only its owner may read; before anything is copied.

    Args:
        uri: The CSV file; none: nothing is kept.

    Raises:
        DataError: There is something of this name, which may be the way back of other copies.
        StorageError: It can't be written.
    """
    if uri is not None and storage.exists(uri):
        msg = f"table {uri}: is there already, and may lead back from other copies; give another name"
        raise DataError(msg)
    if uri is None or not storage.is_local(uri):
        table = WayBack(uri, None)
        table.write()
        try:
            yield table
        finally:
            table.write()
        return
    storage.write_bytes(uri, (",".join(_HEADER) + "\n").encode(), is_private=True)
    with Path(storage.absolute(uri)).open("a", encoding="utf-8", newline="") as file:
        yield WayBack(uri, file)
