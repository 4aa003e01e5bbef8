"""Exact duplicates, conflicting labels, and which images must stay together."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

DUPLICATE = "duplicate"
CONFLICT = "conflicting diagnoses"


def settle_duplicates(index: pd.DataFrame, policy: Literal["drop", "keep"]) -> pd.Series:
    """Say of each image why it is dropped, or nothing.

    Of copies under one diagnosis the first by path stays. Copies under several diagnoses all go: no
    one can tell which label is true.

    Args:
        index: With path, diagnosis and content_sha256.
        policy: keep changes nothing, and lets copies leak across a random split.
    """
    reasons = pd.Series([None] * len(index), index=index.index, dtype=object)
    if policy == "keep" or index.empty:
        return reasons
    by_content = index.sort_values("path").groupby("content_sha256", sort=False)
    conflicting = by_content["diagnosis"].transform("nunique") > 1
    later = by_content.cumcount() > 0
    reasons[later[later].index] = DUPLICATE
    reasons[conflicting[conflicting].index] = CONFLICT
    return reasons


def count_conflicts(index: pd.DataFrame) -> dict[str, int]:
    """Count contents that stand under several diagnoses, by which: ``melanoma | seborrheic keratosis`` → 77."""
    sets = index.groupby("content_sha256")["diagnosis"].agg(lambda names: " | ".join(sorted(set(names))))
    counts = sets[sets.str.contains("|", regex=False)].value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def assign_groups(index: pd.DataFrame) -> pd.Series:
    """Return a group_id an image: images tied by lesion, patient or content, directly or through others, share one.

    The id is the smallest content_sha256 of the group: it depends neither on the order of rows nor on
    where the folder lies.
    """
    num_images = len(index)
    rows, columns = [np.arange(num_images)], [np.arange(num_images)]
    for name in ("lesion_id", "patient_id", "content_sha256"):
        codes, _ = pd.factorize(index[name])
        known = np.flatnonzero(codes >= 0)
        if not len(known):
            continue
        first = pd.Series(known).groupby(codes[known]).transform("first").to_numpy()
        rows.append(known)
        columns.append(first)
    i, j = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(i), bool), (i, j)), shape=(num_images, num_images))
    _, component = connected_components(graph, directed=False)
    return index["content_sha256"].groupby(component).transform("min")
