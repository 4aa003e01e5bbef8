"""What is wrong or doubtful in a collection, with examples to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.diagnoses import Diagnosis, sort_diagnoses
from melanoma_ray.preparation.labels import BY_FOLDER, BY_TABLE, CONFLICT, Labels
from melanoma_ray.preparation.near_duplicates import NearDuplicates
from melanoma_ray.preparation.splits import CROSSES, CROSSES_VAL, TIED
from melanoma_ray.reports.audit import AuditImage, Finding
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.wording import count

_MAX_GROUPS = 8
"""Shown of each finding; the index has them all."""
_MAX_IMAGES = 4
"""Of one group."""
_MOSTLY_LOST = 0.5
"""Share of a diagnosis's images above which its loss is said in so many words."""


def list_findings(dataset: PreparedDataset, labels: Labels, near_duplicates: NearDuplicates) -> list[Finding]:
    """Return what was found, the gravest first; what was looked for and not found is left out.

    Args:
        dataset: With all readable images in its index.
        labels: Of the same images.
        near_duplicates: Of the same images.
    """
    index = dataset.index
    is_kept = dataset.info.config.duplicates == "keep"
    pairs = _number_pairs(index, near_duplicates)
    in_conflict = labels.conflict.notna()
    is_copy = labels.copy.duplicated(keep=False) & ~in_conflict
    kinds = [
        (
            "Conflicting diagnoses",
            "The same picture stands under several diagnoses, or a table contradicts its folder.",
            "All were kept as they are, as asked." if is_kept else _how_resolved(labels),
            in_conflict,
            labels.picture,
        ),
        (
            "Copies",
            "The same picture stands there several times; on both sides of a split it flatters every figure.",
            "All were kept, as asked." if is_kept else "The one with most pixels was kept, the first among equals.",
            is_copy,
            labels.copy,
        ),
        (
            "Near-duplicates",
            "Pictures that look the same: resized, compressed again, turned, mirrored, or cropped a little.",
            "They stay on one side of the split.",
            pairs.notna(),
            pairs,
        ),
        (
            "Both sides of the given split",
            "Images of one lesion, patient or picture stand in several of the given splits.",
            "Those of the given test split stayed, or else those of the given val split; the others were dropped.",
            index["group_id"].isin(index.loc[index["dropped"].isin([CROSSES, CROSSES_VAL]), "group_id"]),
            index["group_id"],
        ),
        (
            "Ties between splits",
            "A later image belongs to groups on two sides of the recorded split.",
            "The weaker side's images were dropped: train before val, val before test.",
            index["group_id"].isin(index.loc[index["dropped"] == TIED, "group_id"]),
            index["group_id"],
        ),
    ]
    return [
        Finding(
            name=name,
            meaning=meaning,
            treatment=treatment,
            num_images=int(chosen.sum()),
            examples=_examples(dataset, index[chosen], key[chosen]),
        )
        for name, meaning, treatment, chosen, key in kinds
        if chosen.any()
    ]


def describe_losses(index: pd.DataFrame, labels: Labels, order: Sequence[Diagnosis]) -> list[str]:
    """Say plainly which diagnoses all but vanish, and why; copies of an image count once."""
    told = []
    for name in sort_diagnoses(set(index["claimed_diagnosis"]), order):
        is_claimed = index["claimed_diagnosis"] == name
        num_claimed = labels.copy[is_claimed].nunique()
        num_kept = int((index["diagnosis"].eq(name) & index["split"].notna()).sum())
        if num_kept >= (1 - _MOSTLY_LOST) * num_claimed:
            continue
        lost = labels.copy[is_claimed & (index["dropped"] == CONFLICT)].unique()
        beside = sort_diagnoses(set(index.loc[labels.copy.isin(lost) & ~is_claimed, "claimed_diagnosis"]), order)
        reason = f": {len(lost):,} of them stand under {', '.join(beside)} too, and no table knows which is true"
        told.append(f"Of {count(num_claimed, 'image')} of {name}, {num_kept:,} remain{reason if beside else ''}.")
    return told


def _how_resolved(labels: Labels) -> str:
    in_conflict = labels.conflict.notna()
    by_table, by_folder = (int((in_conflict & (labels.resolution == how)).sum()) for how in (BY_TABLE, BY_FOLDER))
    dropped = int((in_conflict & (labels.dropped == CONFLICT)).sum())
    parts = [f"{by_table:,} got the diagnosis of a metadata table"] if by_table else []
    parts += [f"{by_folder:,} got their folder's, the finer of a table's several meanings"] if by_folder else []
    return "; ".join([*parts, *([f"{dropped:,} were dropped: no table settles them"] if dropped else [])]) + "."


def _number_pairs(index: pd.DataFrame, near_duplicates: NearDuplicates) -> pd.Series:
    """Return the first image of the first pair that each image belongs to; pairs of exact copies don't count."""
    content = index["content_sha256"].to_numpy()
    pairs = near_duplicates.pairs[content[near_duplicates.pairs[:, 0]] != content[near_duplicates.pairs[:, 1]]]
    number = np.full(len(index), np.nan)
    for column in (1, 0):
        number[pairs[::-1, column]] = pairs[::-1, 0]
    return pd.Series(number)


def _examples(dataset: PreparedDataset, images: pd.DataFrame, key: pd.Series) -> list[list[AuditImage]]:
    """Return the first groups, each with its first images; those of several images come before lone ones."""
    is_lone = ~key.duplicated(keep=False)
    first = pd.concat([key[~is_lone].drop_duplicates(), key[is_lone]]).iloc[:_MAX_GROUPS]
    shown = images[key.isin(first)].assign(key=key)
    shown = shown[shown.groupby("key").cumcount() < _MAX_IMAGES]
    crops = dict(zip(shown["path"], dataset.load_pixels(list(shown["path"])), strict=True))
    return [
        [
            AuditImage(
                image_id=str(row.image_id),
                caption=str(row.claimed_diagnosis),
                thumbnail=thumbnail_data_uri(crops[row.path]),
            )
            for row in group.itertuples()
        ]
        for _, group in shown.groupby("key", sort=False)
    ]
