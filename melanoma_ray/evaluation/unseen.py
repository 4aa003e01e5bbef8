"""Whether a model knows the images that it is evaluated on, image by image.

An image is known if the checkpoint's list has it: the same pixels, a near copy, the same id of an archive, or the same
lesion or patient; and then all images of its group are. What the checkpoint doesn't list can't be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool, Int64, UInt8, UInt64

from melanoma_ray.imaging.perceptual import turn_hashes
from melanoma_ray.model.known import USES, Use, hash_contents, hash_names, is_unique
from melanoma_ray.preparation.near_duplicates import find_candidates

Reason = Literal["same pixels", "near copy", "same image id", "same lesion", "same patient", "same group"]
REASONS: tuple[Reason, ...] = (
    "same pixels",
    "near copy",
    "same image id",
    "same lesion",
    "same patient",
    "same group",
)
_COPY_DISTANCE = 29
"""Bits of 256. Copies of half the size at JPEG quality 50 differ in 29 at most (``preparation/near_duplicates``)."""
_NEW = len(USES)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Acquaintance:
    """How a model knows some images."""

    rank: UInt8[np.ndarray, " image"]
    """Number of each image's use in ``USES``, the gravest of all that were found; ``len(USES)``: it is new."""
    reason: tuple[Reason | None, ...]
    """How each image was recognised; none: it is new."""

    def is_used(self, use: Use) -> Bool[np.ndarray, " image"]:
        """Return which images were used so."""
        return np.asarray(self.rank == USES.index(use))

    @property
    def is_seen(self) -> Bool[np.ndarray, " image"]:
        """Whether the model learnt from each image, or was calibrated on it."""
        return np.asarray(self.rank < USES.index("held_out"))

    def count(self) -> dict[str, int]:
        """Return the number of images by use, and of new ones."""
        return {
            **{use: int(self.is_used(use).sum()) for use in USES},
            "new": int((self.rank == _NEW).sum()),
        }

    def count_reasons(self) -> dict[str, int]:
        """Return the number of seen images by how they were recognised."""
        seen = [reason for reason, is_seen in zip(self.reason, self.is_seen, strict=True) if is_seen]
        return {reason: seen.count(reason) for reason in REASONS if reason in seen}

    def take(self, rows: Bool[np.ndarray, " image"]) -> Acquaintance:
        """Return that of some of the images."""
        kept = tuple(reason for reason, is_kept in zip(self.reason, rows, strict=True) if is_kept)
        return Acquaintance(rank=self.rank[rows], reason=kept)


def recognise(
    images: pd.DataFrame, known: pa.Table, *, scored_by: Int64[np.ndarray, " image"] | None, ids_are_shared: bool
) -> Acquaintance:
    """Return how a model knows some images.

    Args:
        images: Index rows of the images.
        known: Images of the model's training, from ``read_known``.
        scored_by: Number of the only network that scores each image; none: all of the model's networks do.
        ids_are_shared: An equal id of a lesion or patient means the same one. Ids of archives always do.
    """
    ranks = np.full(len(images), _NEW, np.uint8)
    reasons = np.full(len(images), None, object)
    for reason, image, row in _matches(images, known, ids_are_shared=ids_are_shared):
        found = ranks.copy()
        np.minimum.at(found, image, _rank(known, row, None if scored_by is None else scored_by[image]))
        reasons[found < ranks] = reason
        ranks = found
    worst = pd.Series(ranks).groupby(pd.factorize(images["group_id"])[0]).transform("min").to_numpy(np.uint8)
    reasons[worst < ranks] = "same group"
    return Acquaintance(rank=worst, reason=tuple(reasons))


def _rank(
    known: pa.Table, row: Int64[np.ndarray, " match"], scored_by: Int64[np.ndarray, " match"] | None
) -> UInt8[np.ndarray, " match"]:
    """Return the number in ``USES`` of each match."""
    use = pd.Categorical(known.column("use").to_pylist(), USES).codes.astype(np.uint8)[row]
    fold = known.column("fold").to_pandas().to_numpy(np.float64)[row]
    own = np.full(len(row), -1) if scored_by is None else scored_by  # no network is the only one
    return np.where(~np.isnan(fold) & (fold != own), USES.index("learnt"), use).astype(np.uint8)


def _matches(
    images: pd.DataFrame, known: pa.Table, *, ids_are_shared: bool
) -> Iterator[tuple[Reason, Int64[np.ndarray, " match"], Int64[np.ndarray, " match"]]]:
    """Yield the pairs of an image and a row of the known ones that each reason gives, surest reason first."""
    content = pa.array(hash_contents(images["content_sha256"]), pa.uint64())
    yield "same pixels", *_equal(content, known.column("content"))
    yield "near copy", *_near_copies(images, known)
    unique = [name if is_unique(str(name)) else None for name in images["image_id"]]
    yield "same image id", *_equal(hash_names(unique), known.column("image"))
    archived_or_shared = {
        column: [
            name if not pd.isna(name) and (ids_are_shared or is_unique(str(name))) else None for name in images[column]
        ]
        for column in ("lesion_id", "patient_id")
    }
    yield "same lesion", *_equal(hash_names(archived_or_shared["lesion_id"]), known.column("lesion"))
    yield "same patient", *_equal(hash_names(archived_or_shared["patient_id"]), known.column("patient"))


def _equal(ours: pa.Array, theirs: pa.ChunkedArray) -> tuple[Int64[np.ndarray, " match"], Int64[np.ndarray, " match"]]:
    """Return all pairs of equal hashes, as places in the two arrays."""
    left = pd.DataFrame({"hash": ours.to_pandas(types_mapper=pd.ArrowDtype), "image": np.arange(len(ours))})
    right = pd.DataFrame({"hash": theirs.to_pandas(types_mapper=pd.ArrowDtype), "row": np.arange(len(theirs))})
    pairs = left.dropna().merge(right.dropna(), on="hash")
    return pairs["image"].to_numpy(np.int64), pairs["row"].to_numpy(np.int64)


def _near_copies(
    images: pd.DataFrame, known: pa.Table
) -> tuple[Int64[np.ndarray, " match"], Int64[np.ndarray, " match"]]:
    """Return the pairs that look the same: an image and a known one with few different bits in their hashes."""
    number = len(images)
    words = np.concatenate([_words(images["perceptual_hash"]), _words(known.column("perceptual_hash").to_pylist())])
    hashes, place = np.unique(words, axis=0, return_inverse=True)
    first, second = find_candidates(hashes).T
    distances = [np.bitwise_count(turned ^ hashes[second]).sum(axis=1) for turned in turn_hashes(hashes[first])]
    is_copy = np.min(distances, axis=0) <= _COPY_DISTANCE
    first, second, itself = first[is_copy], second[is_copy], np.arange(len(hashes))
    links = pd.DataFrame(
        {"ours": np.concatenate([first, second, itself]), "theirs": np.concatenate([second, first, itself])}
    )
    left = pd.DataFrame({"ours": place.reshape(-1)[:number], "image": np.arange(number)})
    right = pd.DataFrame({"theirs": place.reshape(-1)[number:], "row": np.arange(len(words) - number)})
    pairs = left.merge(links, on="ours").merge(right, on="theirs")
    return pairs["image"].to_numpy(np.int64), pairs["row"].to_numpy(np.int64)


def _words(hashes: Iterable[bytes]) -> UInt64[np.ndarray, "image 4"]:
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, 4)
