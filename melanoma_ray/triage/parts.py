"""What has been answered so far: Parquet files that actors write as they go, each whole or not at all.

A file has a row for each image of a block: its key, the columns of predictions.parquet, and a small copy of the image.
A job that was killed goes on from these files, and one that is run again scores only images with a new key.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from melanoma_ray import storage
from melanoma_ray.errors import DataError
from melanoma_ray.inference.predictions import predictions_schema
from melanoma_ray.reports.thumbnails import jpeg_data_uri

_PARTS = "parts"
_OF_A_FILE = ["path", "num_bytes", "modified_ns"]
_OF_A_PATIENT = ["age", "sex", "site"]


def make_keys(images: pd.DataFrame, *, uses_metadata: bool) -> pd.Series:
    """Return the key of each image: equal where path, size in bytes and time of change are, and what else is used.

    Args:
        images: path, num_bytes, modified_ns, age, sex and site.
        uses_metadata: Whether the answer depends on age, sex and site, too.
    """
    columns = [*_OF_A_FILE, *(_OF_A_PATIENT if uses_metadata else [])]
    rows = images[columns].astype(object).itertuples(index=False, name=None)
    keys = [hashlib.sha256(repr(tuple(None if pd.isna(v) else v for v in row)).encode()).hexdigest() for row in rows]
    return pd.Series([key[:24] for key in keys], index=images.index, dtype=object)


class Parts:
    """The files of one checkpoint's answers below an output directory."""

    def __init__(self, output: str, checkpoint_id: str, diagnoses: Sequence[str]) -> None:
        """Name the directory; nothing is read or written yet.

        Args:
            output: Directory of predictions.parquet.
            checkpoint_id: Who answers; another checkpoint's answers lie beside.
            diagnoses: Diagnoses of the model, in the order of its outputs.
        """
        self.uri = storage.join(storage.absolute(output), _PARTS, checkpoint_id)
        self.schema = pa.schema([("key", pa.string()), *predictions_schema(diagnoses)])

    def write(self, keys: Sequence[str], answers: pa.Table, pictures: Sequence[bytes | None]) -> None:
        """Write the answers for a block; the same block written again replaces itself.

        Args:
            keys: Key of each image.
            answers: Columns of predictions.parquet.
            pictures: Small copy of each image as JPEG; none: it couldn't be read.
        """
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]
        table = answers.add_column(0, "key", pa.array(keys, pa.string()))
        table = table.append_column("picture", pa.array(pictures, pa.binary()))
        storage.write_table(storage.join(self.uri, f"{name}.parquet"), table)

    def read_answers(self) -> pa.Table:
        """Return a row for each key that was answered, without the pictures, those answered last at the end.

        An image that couldn't be read, and could at another try, has the answer of that try.

        Raises:
            DataError: A file is damaged.
        """
        tables = [self._read(path, self.schema.names) for path in self._list()]
        if not tables:
            return self.schema.empty_table()
        table = pa.concat_tables(tables)
        is_unread = pd.Series(table.column("decision").is_null().to_numpy())
        keys = pd.Series(table.column("key").to_pylist(), dtype=object)
        first = keys[is_unread.sort_values(kind="stable").index].drop_duplicates()
        return table.take(pa.array(sorted(first.index)))

    @contextmanager
    def open_pictures(self) -> Iterator[Pictures]:
        """Yield all pictures by key, in a file that is deleted afterwards: they may be more than memory holds."""
        with tempfile.TemporaryDirectory(prefix="melanoma-pictures-") as folder:
            database = sqlite3.connect(Path(folder) / "pictures.db")
            database.execute("PRAGMA synchronous = OFF")
            database.execute("CREATE TABLE pictures (key TEXT PRIMARY KEY, picture BLOB) WITHOUT ROWID")
            pictures = Pictures(database)
            for path in self._list():
                table = self._read(path, ["key", "picture"])
                pictures.add(table.column("key").to_pylist(), table.column("picture").to_pylist())
            try:
                yield pictures
            finally:
                database.close()

    def _list(self) -> list[str]:
        infos = sorted(storage.list_infos(self.uri, recursive=False), key=lambda info: (info.modified_ns, info.path))
        paths = [info.path for info in infos]
        return [path for path in paths if path.endswith(".parquet") and not path.rsplit("/", 1)[-1].startswith(".")]

    @staticmethod
    def _read(path: str, columns: Sequence[str]) -> pa.Table:
        try:
            filesystem, name = storage.resolve(path)
            return pq.ParquetFile(filesystem.open_input_file(name)).read(list(columns))
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            msg = f"{path}: damaged ({error}); delete it, and its images are scored again"
            raise DataError(msg) from error


class Pictures:
    """Small copies of images in a database of SQLite."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def add(self, keys: Sequence[str], pictures: Sequence[bytes | None]) -> None:
        """Keep more pictures, as JPEG; none: the image couldn't be read."""
        some = [(key, picture) for key, picture in zip(keys, pictures, strict=True) if picture is not None]
        with self._database:
            self._database.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?)", some)

    def find(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the pictures of these keys as ``data:`` URIs; those that couldn't be read are missing."""
        found = {}
        for key in keys:
            row = self._database.execute("SELECT picture FROM pictures WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[key] = jpeg_data_uri(row[0])
        return found
