"""Decode a collection's images on all of the cluster and write them as shards (``dataset/shards.py``)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import cv2
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.cluster.resources import total_cpus
from melanoma_ray.cluster.workarounds import dataset_of_blocks
from melanoma_ray.config import ImageConfig
from melanoma_ray.dataset.shards import KEY, UNREADABLE, files_of, write_crops
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import check_num_bytes, decode_image
from melanoma_ray.imaging.perceptual import build_thumbnail, perceptual_hash
from melanoma_ray.imaging.statistics import measure
from melanoma_ray.schema import SHARD
from melanoma_ray.sources.containers import read_many, split_address

_SHARD_BYTES = 48 * 1024 * 1024
"""Of crops in one file: a task holds three times this, and loses no more work than this when it is ended."""
_MAX_IMAGES_PER_SHARD = 512
"""A core waits a fifth of a second for its next task, and decodes this many photographs in one."""


def decode_shards(source: pa.Table, shards_uri: str, config: ImageConfig) -> Iterator[int]:
    """Decode images in parallel, write them as new shards, and yield how many each shard holds as it is written.

    Args:
        source: With the columns of ``KEY``.
        shards_uri: Directory of the shards; those that are there stay.
        config: What decides the crops.
    """
    size = images_per_shard(source.num_rows, config.side, int(total_cpus()))
    wanted = source.select(KEY).combine_chunks()
    stream = dataset_of_blocks([wanted.slice(start, size) for start in range(0, wanted.num_rows, size)])
    written = stream.map_batches(
        write_shard,
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        fn_kwargs={"shards_uri": shards_uri, "config": config},
    )
    for batch in written.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield int(pa.compute.sum(batch.column("num_images")).as_py())


def images_per_shard(num_images: int, side: int, num_cores: int) -> int:
    """Return how many images one task decodes: few enough for its memory, and for every core to have two tasks."""
    fitting = max(16, min(_MAX_IMAGES_PER_SHARD, _SHARD_BYTES // (3 * side**2)))
    return max(1, min(fitting, -(-num_images // (2 * num_cores))))


def write_shard(batch: pa.Table, shards_uri: str, config: ImageConfig) -> pa.Table:
    """Read and decode each file of a batch and write them as one shard; a bad one becomes a row with its fault."""
    cv2.setNumThreads(1)  # Ray gives a task one processor
    rows = decode_rows(batch, config)
    digest = hashlib.sha256("\n".join(map(str, batch.to_pylist())).encode()).hexdigest()[:16]
    measurements, crops = files_of(f"{digest}.parquet")
    write_crops(storage.join(shards_uri, crops), [row.pop("pixels", None) for row in rows])
    storage.write_table(storage.join(shards_uri, measurements), pa.Table.from_pylist(rows, schema=SHARD))
    return pa.table({"num_images": [len(rows)]})


def decode_rows(batch: pa.Table, config: ImageConfig) -> list[dict[str, Any]]:
    """Return a row of ``schema.SHARD`` and its pixels for each row of ``KEY``; a file that is too large isn't read."""
    rows: list[dict[str, Any]] = batch.select(KEY).to_pylist()
    small = [row["path"] for row in rows if row["num_bytes"] <= config.max_bytes or split_address(row["path"])[0]]
    encoded = dict(read_many(small))
    return [row | _decode(encoded.pop(row["path"], row["num_bytes"]), config) for row in rows]


def _decode(encoded: bytes | OSError | int, config: ImageConfig) -> dict[str, Any]:
    """Return measurements and pictures, or the fault, of an image, or of what came instead: an error, or a size."""
    if isinstance(encoded, OSError):
        return {"fault": UNREADABLE, "detail": str(encoded)}
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
