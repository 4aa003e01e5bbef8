"""Encoded images wherever they lie: a file each, or many in one HDF5 or Parquet file.

An address is a file's, or ``<container>::<key>``: the name of a data set in HDF5 (ISIC 2024), groups included, or
the number of a row in Parquet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from melanoma_ray import storage

SEPARATOR = "::"
HDF5_ENDINGS = frozenset({".hdf5", ".h5"})
PARQUET_ENDINGS = frozenset({".parquet"})
CONTAINER_ENDINGS = HDF5_ENDINGS | PARQUET_ENDINGS
_ADDRESS = re.compile(r"^(.*\.(?:hdf5|h5|parquet))::(.+)$", re.IGNORECASE | re.DOTALL)
BYTES_COLUMNS = ("image", "bytes", "encoded", "image_bytes", "jpeg")
"""Names that a Parquet file's column of encoded images goes by; a struct with a field ``bytes`` counts too."""


def split_address(path: str) -> tuple[str, str]:
    """Return the container and the key of an address; a file of its own has no container, whatever it is called.

    >>> split_address("a/images.h5::ISIC_1"), split_address("a/scan::1.jpg")
    (('a/images.h5', 'ISIC_1'), ('', 'a/scan::1.jpg'))
    """
    found = _ADDRESS.match(path)
    return (found[1], found[2]) if found else ("", path)


def read_encoded(path: str) -> bytes:
    """Return one encoded image.

    Raises:
        OSError: It isn't there, or can't be read.
    """
    _, encoded = next(read_many([path]))
    if isinstance(encoded, OSError):
        raise encoded
    return encoded


def read_many(paths: Sequence[str]) -> Iterator[tuple[str, bytes | OSError]]:
    """Yield encoded images in the order asked for; each run of one container's images opens it once.

    What can't be read is yielded as its error, and ends nothing.
    """
    for container, same in groupby(paths, lambda path: split_address(path)[0]):
        addresses = list(same)
        if not container:
            yield from ((path, _read_file(path)) for path in addresses)
            continue
        keys = [split_address(path)[1] for path in addresses]
        read = _read_hdf5 if is_hdf5(container) else _read_parquet
        yield from zip(addresses, read(container, keys), strict=True)


def is_hdf5(path: str) -> bool:
    """Tell an HDF5 file by its ending."""
    return any(path.lower().endswith(ending) for ending in HDF5_ENDINGS)


def list_hdf5(path: str) -> list[str]:
    """Return the names of all data sets in an HDF5 file that may be encoded images (``group/name``).

    Arrays of numbers, such as a network's weights, are none.

    Raises:
        OSError: It isn't one.
    """
    keys: list[str] = []

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and _may_be_bytes(item):
            keys.append(name)

    with _open(path) as file, h5py.File(file, "r") as content:
        content.visititems(note)
    return keys


def _may_be_bytes(item: h5py.Dataset) -> bool:
    """Tell a data set of one text, one opaque value, or one row of bytes."""
    kind = item.dtype
    if item.ndim == 0:
        return kind.kind in "VSO" or h5py.check_vlen_dtype(kind) is not None
    return item.ndim == 1 and (kind in (np.uint8, np.int8) or (item.size == 1 and kind.kind in "VSO"))


def bytes_column(schema: pa.Schema) -> str | None:
    """Return the name of the column with encoded images, if there is one: by its name, or the only one of bytes."""
    encoded = list_bytes_columns(schema)
    named = [name for name in BYTES_COLUMNS if name in encoded]
    return named[0] if named else encoded[0] if len(encoded) == 1 else None


def list_bytes_columns(schema: pa.Schema) -> list[str]:
    """Return the names of all columns of bytes, which are images or something else, but no texts."""
    return [field.name for field in schema if _is_encoded(field.type)]


def _is_encoded(kind: pa.DataType) -> bool:
    """Tell a column of bytes, or of structs with a field of bytes."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" and _is_encoded(field.type) for field in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _open(path: str) -> pa.NativeFile:
    filesystem, name = storage.resolve(path)
    return filesystem.open_input_file(name)


def _read_file(path: str) -> bytes | OSError:
    try:
        return storage.read_bytes(path)
    except OSError as error:
        return error


def _read_hdf5(container: str, keys: Sequence[str]) -> list[bytes | OSError]:
    try:
        with _open(container) as file, h5py.File(file, "r") as content:
            return [_read_key(content, key) for key in keys]
    except OSError as error:
        return [error] * len(keys)


def _read_key(content: h5py.File, key: str) -> bytes | OSError:
    try:
        return np.asarray(content[key][()]).tobytes()
    except (KeyError, OSError) as error:
        return OSError(f"{key}: can't be read from the HDF5 file ({error})")


def _read_parquet(container: str, keys: Sequence[str]) -> list[bytes | OSError]:
    """Read each group of rows once; a group stays in memory no longer than its images are taken."""
    try:
        with _open(container) as file:
            return _read_rows(pq.ParquetFile(file), np.array([int(key) for key in keys]))
    except OSError as error:
        return [error] * len(keys)
    except pa.ArrowInvalid as error:
        return [OSError(f"{container}: {error}")] * len(keys)


def _read_rows(file: pq.ParquetFile, rows: np.ndarray) -> list[bytes | OSError]:
    name = bytes_column(file.schema_arrow)
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    found: list[bytes | OSError] = [OSError("no such row in the Parquet file")] * len(rows)
    groups = np.searchsorted(starts, rows, side="right") - 1
    for group in np.unique(groups[(groups >= 0) & (groups < len(sizes))]):
        column = file.read_row_group(int(group), columns=[name]).column(0).combine_chunks()
        values = column.field("bytes") if pa.types.is_struct(column.type) else column
        for place in np.flatnonzero(groups == group):
            value = values[int(rows[place] - starts[group])].as_py()
            found[place] = OSError("no image in this row of the Parquet file") if value is None else value
    return found
