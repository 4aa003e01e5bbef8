"""Writes a collection of synthetic images in the layout of the nine-class ISIC set, on all nodes of the cluster.

The rule: metadata.csv, whose attribution calls the images synthetic, is written before the first image, so that no
reader, even of an incomplete collection, can mistake them for real ones.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import cv2
import pandas as pd
import ray.data

from melanoma_ray import storage
from melanoma_ray.errors import DataError
from melanoma_ray.synthetic.plan import SyntheticImage, encode_image, plan_collection

ATTRIBUTION = "synthetic (melanoma_ray)"
_METADATA = "metadata.csv"
_COLUMNS = ["image_id", "diagnosis", "lesion_id", "age", "sex", "site", "attribution"]
_IMAGES_PER_BLOCK = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class SyntheticSummary:
    """Counts of a collection that was written."""

    num_images: int
    """Number of files, including faulty ones."""
    num_lesions: int
    faults: dict[str, int]
    """Number of files by the fault that was planted in them."""


def write_synthetic_collection(root: str, *, num_images: int, seed: int) -> SyntheticSummary:
    """Write ``<root>/<diagnosis>/<image_id>.jpg`` and ``<root>/metadata.csv``; the same arguments give the same bytes.

    Args:
        root: Directory, local or such as s3://bucket/folder; it is new, or written by an earlier call and replaced.
        num_images: Number of files, 60 or more.
        seed: Seed of the whole collection, 0 or more.

    Raises:
        ConfigError: A number is out of its range.
        DataError: The directory has other files.
    """
    plan = plan_collection(num_images=num_images, seed=seed)
    root = storage.absolute(root)
    _refuse_foreign_files(root)
    storage.delete_directory(root)
    storage.write_bytes(storage.join(root, _METADATA), _to_csv(plan))
    rows = ray.data.from_items(
        [asdict(image) for image in plan], override_num_blocks=-(-num_images // _IMAGES_PER_BLOCK)
    )
    rows.map(partial(_write_image, root=root)).materialize()
    return SyntheticSummary(
        num_images=len(plan),
        num_lesions=len({image.lesion_id for image in plan}),
        faults=dict(Counter(image.fault for image in plan if image.fault is not None)),
    )


def _to_csv(plan: tuple[SyntheticImage, ...]) -> bytes:
    table = pd.DataFrame([asdict(image) for image in plan]).assign(attribution=ATTRIBUTION)
    return table[_COLUMNS].to_csv(index=False, lineterminator="\n").encode()


def _write_image(row: dict[str, Any], *, root: str) -> dict[str, int]:
    """Draw and write one image of the plan, in one thread, because a Ray task has one CPU."""
    cv2.setNumThreads(1)
    image = SyntheticImage(**row)
    encoded = encode_image(image)
    storage.write_bytes(storage.join(root, image.relative_path), encoded)
    return {"num_bytes": len(encoded)}


def _refuse_foreign_files(root: str) -> None:
    """Refuse a directory with files that this module didn't write, because its files will be deleted."""
    ours = _list_own_files(root)
    foreign = [path for path in storage.list_files(root) if path not in ours]
    if foreign:
        msg = f"output {root}: holds files that are no synthetic collection, such as {foreign[0]}; give a new directory"
        raise DataError(msg)


def _list_own_files(root: str) -> frozenset[str]:
    """Return the files of the synthetic collection in a directory; empty if it has no synthetic collection."""
    name = storage.join(root, _METADATA)
    if not storage.exists(name):
        return frozenset()
    try:
        table = pd.read_csv(io.BytesIO(storage.read_bytes(name)), dtype=str)
    except ValueError:
        return frozenset()
    if not set(_COLUMNS) <= set(table.columns) or not (table["attribution"] == ATTRIBUTION).all():
        return frozenset()
    images = table["diagnosis"] + "/" + table["image_id"] + ".jpg"
    return frozenset({name, *(storage.join(root, image) for image in images)})
