"""The tables that pass between the rooms: one Arrow schema each, columns in their order on disk."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

Split = Literal["train", "val", "test"]
Scope = Literal["train", "val", "test", "folds"]
"""What a checkpoint is scored on; folds: all of cross-validation, each image by the network trained without it."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Sex = Literal["female", "male"]
SEXES: tuple[Sex, ...] = ("female", "male")
Site = Literal["head/neck", "upper extremity", "lower extremity", "torso", "palms/soles", "oral/genital"]
SITES: tuple[Site, ...] = ("head/neck", "upper extremity", "lower extremity", "torso", "palms/soles", "oral/genital")
"""Of the body, as ISIC 2020's table names them."""

Fault = Literal[
    "empty", "not_an_image", "truncated", "too_many_bytes", "too_many_pixels", "too_few_pixels", "unreadable"
]
FAULTS: tuple[Fault, ...] = (
    "empty",
    "not_an_image",
    "truncated",
    "too_many_bytes",
    "too_many_pixels",
    "too_few_pixels",
    "unreadable",
)

SOURCE = pa.schema(
    [
        ("image_id", pa.string()),  # file name without its ending
        ("path", pa.string()),  # of a file, or <container>::<key> (data/containers)
        ("num_bytes", pa.int64()),  # of that file; of the container, where there is one
        ("modified_ns", pa.int64()),  # of the same, nanoseconds since 1970
        ("source", pa.string()),  # the folder or file that was given
        ("diagnosis", pa.string()),  # canonical: the folder's claim, or the table's where folders say nothing
        ("table_diagnosis", pa.string()),  # canonical; null: no table has a row, or none of the nine
        ("is_by_table", pa.bool_()),  # diagnosis is the table's word, for want of a folder's
        ("table_covers", pa.list_(pa.string())),  # all diagnoses that the table's word may mean
        ("lesion_id", pa.string()),  # null: unknown, the image is its own lesion
        ("patient_id", pa.string()),
        ("given_split", pa.string()),  # train or test where the layout has such folders
        ("age", pa.float32()),  # years
        ("sex", pa.string()),  # female or male
        ("site", pa.string()),  # of the body
        ("attribution", pa.string()),  # who made the image; begins with "synthetic" if nobody did
    ]
)
"""What every reader of a layout produces: one row an image."""

MEASUREMENTS = pa.schema(
    [
        ("content_sha256", pa.string()),  # of the decoded pixels and their size, before resizing
        ("width", pa.int32()),  # of the original, upright, pixels
        ("height", pa.int32()),
        ("image_bytes", pa.int64()),  # of the encoded image
        ("perceptual_hash", pa.binary(32)),  # imaging/perceptual
        ("red", pa.float32()),  # mean over the whole image, 0 to 255
        ("green", pa.float32()),
        ("blue", pa.float32()),
        ("corner_brightness", pa.float32()),  # mean of the corners over that of the middle; dark border: near 0
        ("ita_degrees", pa.float32()),  # individual typology angle of the skin around; null: no skin in view
        ("border_fraction", pa.float32()),  # of the area cut off as a dark border, in [0, 1)
    ]
)
"""What decoding finds out about a readable image."""

SHARD = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("modified_ns", pa.int64()),
        *MEASUREMENTS,
        pa.field("thumbnail", pa.binary(1024)),  # imaging/perceptual
        pa.field("fault", pa.string()),  # null: good
        pa.field("detail", pa.string()),
    ]
)
"""One row an image, readable or not, in the files below pixels-…/.

The file beside each of them has one column ``pixels`` with the same rows: side × side × 3 uint8, rows first, RGB.
"""

INDEX = pa.schema(
    [
        *SOURCE,
        *MEASUREMENTS,
        pa.field("shard", pa.string()),  # file below pixels-…/, and the row in it
        pa.field("row", pa.int32()),
        pa.field("claimed_diagnosis", pa.string()),  # what ``diagnosis`` was before conflicts were resolved
        pa.field("resolution", pa.string()),  # how a conflict of diagnoses was resolved; null: there was none
        pa.field("group_id", pa.string()),  # images that must stay on one side of a split
        pa.field("fold", pa.int8()),  # of cross-validation; null: none, or test
        pa.field("split", pa.string()),  # null: dropped
        pa.field("dropped", pa.string()),  # why; null: kept
    ]
)
"""The index of a prepared dataset: one row a readable image."""

QUARANTINE = pa.schema(
    [("image_id", pa.string()), ("path", pa.string()), ("fault", pa.string()), ("detail", pa.string())]
)
"""quarantine.parquet: one row an unreadable image."""
