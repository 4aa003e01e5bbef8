"""Decoded images on disk, in shards of some hundred rows that are written once and never changed.

A shard is two files: the crops, an Arrow file with one record batch for each crop, and the measurements of each image,
in Parquet. The measurements are written last, so a shard that has them is complete.

A row is identified by path, size and modification time of its file. So a second run decodes only new files, an
interrupted run continues, and the row of a file that has changed since isn't used any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig
from melanoma_ray.schema import SHARD

KEY = ["path", "num_bytes", "modified_ns"]
UNREADABLE = "unreadable"
_FORMAT = "4"
"""Version of a row's content; increase it when the same file and settings give another row.

4: images of more than 8 bits, of unusual colour spaces, turned, or cut by their last bytes have other pixels than in 3.
"""
_READABLE = ("4", "3")
"""Versions whose files are laid out as today: a dataset of these can be opened, and is decoded anew when it is prepared
again."""
_CROPS = ".arrow"
"""Ending of the crops' file, in place of ``.parquet``."""
_CROPS_ASKED_FOR_SINGLY = 16
"""Largest number of crops of a remote shard to read one by one; for more, reading the whole shard is faster."""


def shards_name(config: ImageConfig) -> str:
    """Return the name of the directory of the shards that are made with these settings."""
    return _name_of(_FORMAT, config)


def readable_shards_names(config: ImageConfig) -> tuple[str, ...]:
    """Return the names that it may have in a dataset that this version can open."""
    return tuple(_name_of(version, config) for version in _READABLE)


def _name_of(version: str, config: ImageConfig) -> str:
    return "pixels-" + hashlib.sha256(f"{version}:{astuple(config)}".encode()).hexdigest()[:12]


def read_measurements(shards_uri: str) -> pd.DataFrame:
    """Return the measurements in all shards, with the shard and the row of each image.

    A file that was unreadable once and readable later has one row, the readable one.
    """
    filesystem, root = storage.resolve(shards_uri)
    columns = [name for name in SHARD.names if name != "thumbnail"]
    frames = []
    for path in list_shards(shards_uri):
        table = pq.read_table(storage.join(root, path), columns=columns, filesystem=filesystem)
        frames.append(table.to_pandas().assign(shard=path, row=np.arange(table.num_rows, dtype=np.int32)))
    empty = pd.DataFrame(columns=[*columns, "shard", "row"])
    found = pd.concat(frames, ignore_index=True) if frames else empty
    later = found["fault"] == UNREADABLE
    return found[~later | ~found.duplicated(KEY, keep=False)].drop_duplicates(KEY, ignore_index=True)


def is_final(measurements: pd.DataFrame) -> pd.Series:
    """Return for each row whether its file needn't be decoded again.

    The fault ``unreadable`` isn't final, because it may be a temporary failure of the network.
    """
    return measurements["fault"] != UNREADABLE


def files_of(shard: str) -> tuple[str, str]:
    """Return the names of a shard's two files: its measurements, whose name is the shard's, and its crops."""
    return shard, shard.removesuffix(".parquet") + _CROPS


def list_shards(shards_uri: str) -> list[str]:
    """Return the names of the shards in a directory."""
    return [path.rsplit("/", 1)[-1] for path in storage.list_files(shards_uri) if path.endswith(".parquet")]


def read_thumbnails(shards_uri: str, shard: Sequence[str], row: Sequence[int]) -> UInt8[np.ndarray, "image 32 32"]:
    """Return the thumbnails of some images, in the order of the arguments.

    Args:
        shards_uri: Directory of the shards.
        shard: Shard of each image.
        row: Row of each image in its shard.
    """
    filesystem, root = storage.resolve(shards_uri)
    thumbnails = np.empty((len(shard), 32, 32), np.uint8)
    for name, places in _places_by_shard(shard):
        table = pq.read_table(storage.join(root, name), columns=["thumbnail"], filesystem=filesystem)
        taken = table.column(0).take(pa.array(np.asarray(row)[places]))
        thumbnails[places] = np.frombuffer(b"".join(taken.to_pylist()), np.uint8).reshape(-1, 32, 32)
    return thumbnails


def write_crops(uri: str, crops: Sequence[bytes | None]) -> None:
    """Write the crops of a shard, so that each can be read alone.

    They are compressed by LZ4, which is read faster than zstd (benchmarks/formats.py).

    Args:
        uri: File to write.
        crops: Pixels of each row; none for an unreadable image.
    """
    table = pa.table({"pixels": pa.array(crops, pa.binary())})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=1)
    storage.write_bytes(uri, memoryview(sink.getvalue()))


def read_crops(
    shards_uri: str, shard: Sequence[str], row: Sequence[int], side: int
) -> UInt8[np.ndarray, "image side side 3"]:
    """Return the crops of some images, in the order of the arguments; no other crops are decompressed.

    Args:
        shards_uri: Directory of the shards.
        shard: Shard of each image.
        row: Row of each image in its shard.
        side: Width and height of the crops, pixels.

    Raises:
        OSError: A shard doesn't exist.
        ArrowInvalid: A shard is damaged.
    """
    filesystem, root = storage.resolve(shards_uri)
    crops = np.empty((len(shard), side, side, 3), np.uint8)
    for name, places in _places_by_shard(shard):
        with filesystem.open_input_file(storage.join(root, files_of(name)[1])) as file:
            is_whole = not storage.is_local(shards_uri) and len(places) > _CROPS_ASKED_FOR_SINGLY
            source = file.read_buffer() if is_whole else file
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            for place in places:
                crop = reader.get_batch(int(row[place])).column(0)[0].as_buffer()
                crops[place] = np.frombuffer(crop, np.uint8).reshape(side, side, 3)
    return crops


def _places_by_shard(shard: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each distinct shard with the positions at which it occurs in the argument."""
    if not len(shard):
        return
    names, number = np.unique(np.asarray(shard, dtype=str), return_inverse=True)
    order = np.argsort(number, kind="stable")
    for name, places in zip(names, np.split(order, np.cumsum(np.bincount(number))[:-1]), strict=True):
        yield str(name), places
