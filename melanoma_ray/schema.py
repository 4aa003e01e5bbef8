"""The tables that pass between the rooms: one Arrow schema each, columns in their order on disk."""

from __future__ import annotations

from typing import Literal

import pyarrow as pa

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Decision = Literal["refer", "routine", "unassessable"]
DECISIONS: tuple[Decision, ...] = ("refer", "routine", "unassessable")
"""refer: show it to a dermatologist first; routine: in its turn; unassessable: unlike anything the
network was trained on, so a person must look."""

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
        ("path", pa.string()),
        ("diagnosis", pa.string()),  # canonical
        ("lesion_id", pa.string()),  # null: unknown, the image is its own lesion
        ("patient_id", pa.string()),
        ("given_split", pa.string()),  # train or test where the layout has such folders
        ("age", pa.float32()),  # years
        ("sex", pa.string()),
        ("site", pa.string()),  # of the body
        ("attribution", pa.string()),  # who made the image; begins with "synthetic" if nobody did
    ]
)
"""What every reader of a layout produces: one row an image file."""

PIXELS = pa.schema(
    [
        ("path", pa.string()),
        ("pixels", pa.binary()),  # side × side × 3 uint8, rows first, RGB
        ("content_sha256", pa.string()),  # of the decoded pixels and their size, before resizing
        ("width", pa.int32()),  # of the original, upright, in pixels
        ("height", pa.int32()),
        ("num_bytes", pa.int64()),  # of the file
        ("fault", pa.string()),  # null: good
        ("detail", pa.string()),
    ]
)
"""What decoding adds to a source row."""

INDEX = pa.schema(
    [
        *SOURCE,
        pa.field("content_sha256", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("num_bytes", pa.int64()),
        pa.field("group_id", pa.string()),  # images that must stay on one side of a split
        pa.field("split", pa.string()),  # null: dropped
        pa.field("dropped", pa.string()),  # why; null: kept
    ]
)
"""index.parquet of a prepared dataset: one row a readable image."""

QUARANTINE = pa.schema(
    [("image_id", pa.string()), ("path", pa.string()), ("fault", pa.string()), ("detail", pa.string())]
)
"""quarantine.parquet: one row an unreadable image."""
