"""known.parquet of a checkpoint: the images that its networks learnt from, were calibrated on, or were kept away from.

One row an image of the prepared dataset, without names: 64-bit hashes of its pixels and ids, and its perceptual hash,
some 70 bytes in all. Whoever has an image can tell whether it is among them; a short id can be found by trying all.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt64

from melanoma_ray.schema import Split

Use = Literal["learnt", "calibrated", "held_out"]
"""learnt: trained on. calibrated: chose the best weights, the temperature and the thresholds. held_out: neither."""
USES: tuple[Use, ...] = ("learnt", "calibrated", "held_out")
"""In the order of how much a figure on such an image is worth less than one on a new image."""

KNOWN = pa.schema(
    [
        ("content", pa.uint64()),  # of content_sha256
        ("image", pa.uint64()),  # of image_id where that is unique in the world; null: it isn't
        ("lesion", pa.uint64()),  # of lesion_id; null: unknown
        ("patient", pa.uint64()),  # of patient_id; null: unknown
        ("perceptual_hash", pa.binary(32)),  # see imaging/perceptual
        ("use", pa.string()),  # one of USES, for a checkpoint that isn't over folds
        ("fold", pa.int8()),  # over folds: the network of this number alone hasn't learnt the image; null: held out
    ]
)

_USE_OF_SPLIT: dict[Split, Use] = {"train": "learnt", "val": "calibrated", "test": "held_out"}
_UNIQUE = re.compile(r"(isic|il|ip|ham|bcn|mskcc|milk)[_-]?\d{5,}", re.IGNORECASE)
"""Ids that mean the same image, lesion or patient wherever they stand, since a public archive gave them out."""


def is_unique(name: str) -> bool:
    """Return whether an id of an image, lesion or patient is an archive's, so that two collections mean the same by it.

    >>> is_unique("ISIC_0024306"), is_unique("IMG_0001")
    (True, False)
    """
    return _UNIQUE.fullmatch(name.strip()) is not None


def hash_names(names: Iterable[object]) -> pa.Array:
    """Return a 64-bit hash of each id, case and surrounding spaces apart; null for one that is missing."""
    listed = list(names)
    is_missing = pd.isna(np.array(listed, object))
    hashes = [None if missing else _hash(str(name)) for name, missing in zip(listed, is_missing, strict=True)]
    return pa.array(hashes, pa.uint64())


def hash_contents(sha256: Iterable[str]) -> UInt64[np.ndarray, " image"]:
    """Return the first 64 bits of each SHA-256, given in hexadecimal.

    Of a million images and a million others, two different ones share them with a probability of 5e-8.
    """
    return np.array([int(digest[:16], 16) for digest in sha256], np.uint64)


def tabulate_known(index: pd.DataFrame, *, over_folds: bool) -> pa.Table:
    """Return known.parquet's rows for the kept images of a prepared dataset.

    Args:
        index: Index rows of the kept images; the splits are those of the training.
        over_folds: The checkpoint has one network for each fold, trained on all others and calibrated on all.
    """
    if over_folds:
        use = ["held_out" if pd.isna(number) else "calibrated" for number in index["fold"]]
        fold = [None if pd.isna(number) else int(number) for number in index["fold"]]
    else:
        use = [_USE_OF_SPLIT[split] for split in index["split"]]
        fold = [None] * len(index)
    unique = [name if is_unique(str(name)) else None for name in index["image_id"]]
    columns = [
        pa.array(hash_contents(index["content_sha256"]), pa.uint64()),
        hash_names(unique),
        hash_names(index["lesion_id"]),
        hash_names(index["patient_id"]),
        pa.array(list(index["perceptual_hash"]), pa.binary(32)),
        pa.array(use, pa.string()),
        pa.array(fold, pa.int8()),
    ]
    return pa.Table.from_arrays(columns, schema=KNOWN).sort_by("content")


def to_bytes(known: pa.Table) -> bytes:
    """Return the content of known.parquet."""
    sink = io.BytesIO()
    pq.write_table(known, sink, compression="zstd")
    return sink.getvalue()


def from_bytes(content: bytes) -> pa.Table:
    """Return the table in known.parquet.

    Raises:
        pyarrow.ArrowInvalid: The content isn't such a table.
    """
    return pq.read_table(io.BytesIO(content)).select(KNOWN.names).cast(KNOWN)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.strip().lower().encode()).digest()[:8], "big")
