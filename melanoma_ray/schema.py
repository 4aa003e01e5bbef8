"""The tables that rooms pass to each other: one Arrow schema each, with the columns in their order on disk."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

Split = Literal["train", "val", "test"]
Scope = Literal["train", "val", "test", "folds"]
"""Images that a checkpoint is scored on; folds: all of cross-validation, each by the network trained without it."""
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Sex = Literal["female", "male"]
SEXES: tuple[Sex, ...] = ("female", "male")
Site = Literal["head/neck", "upper extremity", "lower extremity", "torso", "palms/soles", "oral/genital"]
SITES: tuple[Site, ...] = ("head/neck", "upper extremity", "lower extremity", "torso", "palms/soles", "oral/genital")
"""Sites of the body, as named in ISIC 2020's table."""

Fault = Literal[
    "empty",
    "not_an_image",
    "unsupported_format",
    "truncated",
    "too_many_bytes",
    "too_many_pixels",
    "too_few_pixels",
    "unknown_range",
    "unreadable",
]
FAULTS: tuple[Fault, ...] = (
    "empty",
    "not_an_image",
    "unsupported_format",
    "truncated",
    "too_many_bytes",
    "too_many_pixels",
    "too_few_pixels",
    "unknown_range",
    "unreadable",
)

SOURCE = pa.schema(
    [
        ("image_id", pa.string()),  # file name without its ending
        ("path", pa.string()),  # path of a file, or <container>::<key> (sources/containers)
        ("num_bytes", pa.int64()),  # size of that file; of the container, where there is one
        ("modified_ns", pa.int64()),  # modification time of the same, nanoseconds since 1970
        ("source", pa.string()),  # the folder or file that was given to jobs.prepare
        ("diagnosis", pa.string()),  # canonical: the folder's claim, or the table's where folders claim nothing
        ("table_diagnosis", pa.string()),  # canonical; null: no table has a row, or it is none of the diagnoses
        ("is_by_table", pa.bool_()),  # whether diagnosis is the table's claim, because folders claim nothing
        ("table_covers", pa.list_(pa.string())),  # all diagnoses that the table's word may mean
        (
            "folder_claim",
            pa.string(),
        ),  # coarse word of the folder, such as benign, that the table's contradicts; or null
        ("lesion_id", pa.string()),  # null: unknown, so the image counts as a lesion of its own
        ("patient_id", pa.string()),
        ("given_split", pa.string()),  # train, val or test where the collection brings its own split
        ("age", pa.float32()),  # age of the patient, years
        ("sex", pa.string()),  # female or male
        ("site", pa.string()),  # site of the lesion on the body
        ("attribution", pa.string()),  # who made the image; begins with "synthetic" for a drawn one
        ("image_type", pa.string()),  # such as dermoscopic, or clinical: close-up; null: no table has it
    ]
)
"""The table that every reader of a layout returns: one row for each image."""

MEASUREMENTS = pa.schema(
    [
        ("content_sha256", pa.string()),  # SHA-256 of the decoded pixels and the original size, before resizing
        ("width", pa.int32()),  # width of the original, upright, pixels
        ("height", pa.int32()),  # height of the original, upright, pixels
        ("image_bytes", pa.int64()),  # size of the encoded image
        ("perceptual_hash", pa.binary(32)),  # see imaging/perceptual
        ("red", pa.float32()),  # mean over the whole image, 0 to 255
        ("green", pa.float32()),
        ("blue", pa.float32()),
        ("corner_brightness", pa.float32()),  # mean of the corners divided by that of the middle; dark border: near 0
        ("ita_degrees", pa.float32()),  # individual typology angle of the surrounding skin; null: no skin in view
        ("border_fraction", pa.float32()),  # share of the area cut off as a dark border, in [0, 1)
    ]
)
"""What decoding measures of a readable image."""

SHARD = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("num_bytes", pa.int64()),
        pa.field("modified_ns", pa.int64()),
        *MEASUREMENTS,
        pa.field("thumbnail", pa.binary(1024)),  # see imaging/perceptual
        pa.field("fault", pa.string()),  # one of FAULTS; null: the image could be read
        pa.field("detail", pa.string()),
    ]
)
"""One of a shard's two files below pixels-…/: one row for each image, readable or not.

The other file has one column, ``pixels``, with the same rows: crops of side × side × 3 uint8, row by row, RGB.
"""

INDEX = pa.schema(
    [
        *SOURCE,
        *MEASUREMENTS,
        pa.field("shard", pa.string()),  # shard below pixels-…/
        pa.field("row", pa.int32()),  # row in the shard
        pa.field("claimed_diagnosis", pa.string()),  # what ``diagnosis`` was before conflicts were resolved
        pa.field("resolution", pa.string()),  # how a conflict of diagnoses was resolved; null: there was none
        pa.field("group_id", pa.string()),  # the same for images that must stay on one side of a split
        pa.field("fold", pa.int8()),  # fold of cross-validation; null: there are no folds, or the split is test
        pa.field("split", pa.string()),  # null: the image was dropped
        pa.field("dropped", pa.string()),  # reason why the image was dropped; null: it was kept
    ]
)
"""The index of a prepared dataset: one row for each readable image."""

QUARANTINE = pa.schema(
    [("image_id", pa.string()), ("path", pa.string()), ("fault", pa.string()), ("detail", pa.string())]
)
"""quarantine.parquet: one row for each unreadable image."""
