"""Decoded images on disk: chunks of some hundred rows, each written whole, and never written again.

A chunk is two files: the squares of pixels, an Arrow file with one record batch a square, and after it
what was found out about each image, in Parquet, so that a reader who sees the second has both.

A row is known by (path, bytes, time of change) of its file, so a second run decodes only what is
new, an interrupted one goes on, and no row is ever taken for a file that has changed since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
from jaxtyping import UInt8

from melanoma_ray import storage
from melanoma_ray.config import ImageConfig
from melanoma_ray.data.containers import SEPARATOR, read_many
from melanoma_ray.data.pacing import PacedLoop
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import check_num_bytes, decode_image
from melanoma_ray.imaging.perceptual import build_thumbnail, perceptual_hash
from melanoma_ray.imaging.statistics import measure
from melanoma_ray.schema import CHUNK

KEY = ["path", "num_bytes", "modified_ns"]
_UNREADABLE = "unreadable"
_FORMAT = "3"
"""Of a row: raise it when the same file and settings would give another row."""
_CHUNK_BYTES = 48 * 1024 * 1024
"""Of squares in one file: a task holds three times this, and loses no more work than this when it is ended."""
_MAX_IMAGES_PER_CHUNK = 512
"""A core waits a fifth of a second for its next task, and decodes this many photographs in one."""
_SQUARES = ".arrow"
"""Ending of the squares' file, in place of ``.parquet``."""
_SQUARES_ASKED_FOR_SINGLY = 16
"""Of a remote chunk; the whole of it takes no longer to come than the answers to so many requests."""


def chunks_name(config: ImageConfig) -> str:
    """Return the name of the directory of squares made with these settings."""
    return "pixels-" + hashlib.sha256(f"{_FORMAT}:{astuple(config)}".encode()).hexdigest()[:12]


def decode_chunks(source: pa.Table, chunks_uri: str, config: ImageConfig) -> Iterator[int]:
    """Decode images in parallel, write them as new chunks, and yield how many each chunk holds as it is written.

    Args:
        source: With the columns of ``KEY``.
        chunks_uri: Directory of the chunks; those that are there stay.
        config: What decides the squares.
    """
    size = images_per_chunk(source.num_rows, config.side, num_cpus())
    wanted = source.select(KEY).combine_chunks()
    stream = ray.data.from_blocks([wanted.slice(start, size) for start in range(0, wanted.num_rows, size)])
    stream.context.custom_execution_callback_classes = [PacedLoop]
    stream.context.enable_progress_bars = False
    written = stream.map_batches(
        write_chunk,
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_kwargs={"chunks_uri": chunks_uri, "config": config},
    )
    for batch in written.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield int(pa.compute.sum(batch.column("num_images")).as_py())


def images_per_chunk(num_images: int, side: int, num_cores: int) -> int:
    """Return how many images one task decodes: few enough for its memory, and for every core to have two tasks."""
    fitting = max(16, min(_MAX_IMAGES_PER_CHUNK, _CHUNK_BYTES // (3 * side**2)))
    return max(1, min(fitting, -(-num_images // (2 * num_cores))))


def num_cpus() -> int:
    """Return the logical CPUs of the cluster."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def write_chunk(batch: pa.Table, chunks_uri: str, config: ImageConfig) -> pa.Table:
    """Read and decode each file of a batch and write them as one chunk; a bad one becomes a row with its fault."""
    cv2.setNumThreads(1)  # Ray gives a task one processor
    rows = decode_rows(batch, config)
    digest = hashlib.sha256("\n".join(map(str, batch.to_pylist())).encode()).hexdigest()[:16]
    findings, squares = files_of(f"{digest}.parquet")
    write_squares(storage.join(chunks_uri, squares), [row.pop("pixels", None) for row in rows])
    storage.write_table(storage.join(chunks_uri, findings), pa.Table.from_pylist(rows, schema=CHUNK))
    return pa.table({"num_images": [len(rows)]})


def decode_rows(batch: pa.Table, config: ImageConfig) -> list[dict[str, Any]]:
    """Return a row of ``schema.CHUNK`` and its pixels for each row of ``KEY``; a file that is too large isn't read."""
    rows: list[dict[str, Any]] = batch.select(KEY).to_pylist()
    small = [row["path"] for row in rows if row["num_bytes"] <= config.max_bytes or SEPARATOR in row["path"]]
    encoded = dict(read_many(small))
    return [row | _decode(encoded.pop(row["path"], row["num_bytes"]), config) for row in rows]


def _decode(encoded: bytes | OSError | int, config: ImageConfig) -> dict[str, Any]:
    """Return findings and pictures, or the fault, of an image, or of what came instead: an error, or a size."""
    if isinstance(encoded, OSError):
        return {"fault": _UNREADABLE, "detail": str(encoded)}
    try:
        check_num_bytes(encoded if isinstance(encoded, int) else len(encoded), config)
        content = b"" if isinstance(encoded, int) else encoded
        image = decode_image(content, config)
    except DecodeError as error:
        return {"fault": error.fault, "detail": error.detail}
    found = measure(image.whole)
    return {
        "content_sha256": image.content_sha256,
        "width": image.width,
        "height": image.height,
        "image_bytes": len(content),
        "perceptual_hash": perceptual_hash(image.whole),
        "red": found.red,
        "green": found.green,
        "blue": found.blue,
        "corner_brightness": found.corner_brightness,
        "ita_degrees": found.ita_degrees,
        "border_fraction": image.border_fraction,
        "thumbnail": build_thumbnail(image.whole).tobytes(),
        "pixels": image.pixels.tobytes(),
    }


def read_findings(chunks_uri: str) -> pd.DataFrame:
    """Return every row of every chunk without its pictures, and where it lies (chunk, row)."""
    filesystem, root = storage.resolve(chunks_uri)
    columns = [name for name in CHUNK.names if name != "thumbnail"]
    frames = []
    for path in list_chunks(chunks_uri):
        table = pq.read_table(storage.join(root, path), columns=columns, filesystem=filesystem)
        frames.append(table.to_pandas().assign(chunk=path, row=np.arange(table.num_rows, dtype=np.int32)))
    empty = pd.DataFrame(columns=[*columns, "chunk", "row"])
    found = pd.concat(frames, ignore_index=True) if frames else empty
    later = found["fault"] == _UNREADABLE
    return found[~later | ~found.duplicated(KEY, keep=False)].drop_duplicates(KEY, ignore_index=True)


def is_final(findings: pd.DataFrame) -> pd.Series:
    """Tell the rows that need no second try: an unreadable file may have been a passing failure of the network."""
    return findings["fault"] != _UNREADABLE


def files_of(chunk: str) -> tuple[str, str]:
    """Return the names of a chunk's two files: its findings, by whose name it is known, and its squares."""
    return chunk, chunk.removesuffix(".parquet") + _SQUARES


def list_chunks(chunks_uri: str) -> list[str]:
    """Return the names of the chunks in a directory."""
    return [path.rsplit("/", 1)[-1] for path in storage.list_files(chunks_uri) if path.endswith(".parquet")]


def read_thumbnails(chunks_uri: str, chunk: Sequence[str], row: Sequence[int]) -> UInt8[np.ndarray, "image 32 32"]:
    """Return the thumbnails of some rows, in the order asked for."""
    filesystem, root = storage.resolve(chunks_uri)
    thumbnails = np.empty((len(chunk), 32, 32), np.uint8)
    for name, places in _places_by_chunk(chunk):
        table = pq.read_table(storage.join(root, name), columns=["thumbnail"], filesystem=filesystem)
        taken = table.column(0).take(pa.array(np.asarray(row)[places]))
        thumbnails[places] = np.frombuffer(b"".join(taken.to_pylist()), np.uint8).reshape(-1, 32, 32)
    return thumbnails


def write_squares(uri: str, squares: Sequence[bytes | None]) -> None:
    """Write a file from which any square is read alone, and decompressed by LZ4 (benchmarks/formats.py)."""
    table = pa.table({"pixels": pa.array(squares, pa.binary())})
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
    with pa.ipc.new_file(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=1)
    storage.write_bytes(uri, memoryview(sink.getvalue()))


def read_squares(
    chunks_uri: str, chunk: Sequence[str], row: Sequence[int], side: int
) -> UInt8[np.ndarray, "image side side 3"]:
    """Return the squares of some rows, in the order asked for; no others are decompressed.

    Raises:
        OSError: A chunk isn't there.
        ArrowInvalid: A chunk is damaged.
    """
    filesystem, root = storage.resolve(chunks_uri)
    squares = np.empty((len(chunk), side, side, 3), np.uint8)
    for name, places in _places_by_chunk(chunk):
        with filesystem.open_input_file(storage.join(root, files_of(name)[1])) as file:
            is_whole = not storage.is_local(chunks_uri) and len(places) > _SQUARES_ASKED_FOR_SINGLY
            source = file.read_buffer() if is_whole else file
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            for place in places:
                square = reader.get_batch(int(row[place])).column(0)[0].as_buffer()
                squares[place] = np.frombuffer(square, np.uint8).reshape(side, side, 3)
    return squares


def _places_by_chunk(chunk: Sequence[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each chunk and its places in the request."""
    if not len(chunk):
        return
    names, number = np.unique(np.asarray(chunk, dtype=str), return_inverse=True)
    order = np.argsort(number, kind="stable")
    for name, places in zip(names, np.split(order, np.cumsum(np.bincount(number))[:-1]), strict=True):
        yield str(name), places
