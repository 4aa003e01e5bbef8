"""One diagnosis a picture: which images are the same, whose claims differ, and how that is resolved.

Two images are copies when their decoded pixels are equal, or when they bear the same ISIC id. A claim
is what a folder says, or a table where folders say nothing. Where claims about one picture differ, or
a table contradicts the folder, the table decides if its word leaves one diagnosis only; else nobody
can tell which is true, and all copies are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from melanoma_ray.sources.matching import archive_id

DUPLICATE = "copy of another image"
CONFLICT = "conflicting diagnoses"
BY_TABLE = "by the table"
BY_FOLDER = "by the folder's finer word"
BY_TEST = "by the given test split"


@dataclass(frozen=True, kw_only=True, slots=True)
class Labels:
    """What became of each image; every series is indexed as the images were."""

    diagnosis: pd.Series
    """Diagnosis after conflicts were resolved; the claim where there was no conflict."""
    resolution: pd.Series
    """How a conflict was resolved, or nothing."""
    dropped: pd.Series
    """Why an image is left out, or nothing."""
    conflict: pd.Series
    """The claims about one picture, ``actinic keratosis | nevus``, where they differed; or nothing."""
    copy: pd.Series
    """Number of the picture: equal for copies, by content or by ISIC id."""
    picture: pd.Series
    """The same, with those that only look the same counted as one: their claims had to agree."""


def isic_ids(index: pd.DataFrame) -> pd.Series:
    """Return the archive's id of each image, null where its name is none."""
    return pd.Series([archive_id(name) for name in index["image_id"]], index=index.index, dtype=object)


def resolve_labels(
    index: pd.DataFrame, near_duplicates: Int64[np.ndarray, "pair 2"], policy: Literal["drop", "keep"]
) -> Labels:
    """Resolve conflicting diagnoses and find the copies.

    Args:
        index: With path, image_id, diagnosis, table_diagnosis, is_by_table, table_covers, folder_claim,
            content_sha256, width, height and given_split.
        near_duplicates: Positions of pairs of pictures that look the same: their claims must agree, but both stay.
        policy: keep changes nothing, and lets copies leak across a random split.
    """
    nothing = pd.Series([None] * len(index), index=index.index, dtype=object)
    copy = join_images(index, ["content_sha256", "isic_id"])
    picture = join_images(index, ["content_sha256", "isic_id"], near_duplicates)
    verdicts = _judge(index, picture)
    conflict = picture.map({number: verdict.claims for number, verdict in verdicts.items()}).astype(object)
    conflict = conflict.where(conflict.notna(), None)
    is_overruled = index["folder_claim"].notna() & conflict.isna()  # benign says the folder, melanoma the table
    told = index["folder_claim"].fillna("").astype(str) + " | " + index["diagnosis"]
    if policy == "keep":
        return Labels(
            diagnosis=index["diagnosis"],
            resolution=nothing.mask(is_overruled, BY_TABLE),
            dropped=nothing,
            conflict=conflict.mask(is_overruled, told),
            copy=copy,
            picture=picture,
        )
    found = picture.map({number: verdict.diagnosis for number, verdict in verdicts.items()}).astype(object)
    resolution = picture.map({number: verdict.resolution for number, verdict in verdicts.items()}).astype(object)
    resolution = resolution.where(resolution.notna(), None)
    diagnosis = index["diagnosis"].astype(object).where(found.isna(), found)
    dropped = nothing.mask(_is_later_copy(index, copy), DUPLICATE)
    dropped = dropped.mask(conflict.notna() & found.isna(), CONFLICT)
    return Labels(
        diagnosis=diagnosis,
        resolution=resolution.mask(is_overruled, BY_TABLE),
        dropped=dropped,
        conflict=conflict.mask(is_overruled, told),
        copy=copy,
        picture=picture,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Verdict:
    """On one picture."""

    claims: str
    diagnosis: str | None = None
    """None: nobody knows."""
    resolution: str | None = None


def _judge(index: pd.DataFrame, picture: pd.Series) -> dict[int, _Verdict]:
    """Return the verdict on each picture that has a conflict."""
    covered = [
        covers is None or claim in covers
        for claim, covers in zip(index["diagnosis"], index["table_covers"], strict=True)
    ]
    several = index.groupby(picture)["diagnosis"].transform("nunique") > 1
    doubtful = picture[several | ~np.array(covered, bool)].unique()
    rows = index[picture.isin(doubtful)]
    return {int(str(number)): _judge_picture(group) for number, group in rows.groupby(picture[rows.index])}


def _judge_picture(images: pd.DataFrame) -> _Verdict:
    """Judge one picture; what a given test split says of it counts before all copies that lie elsewhere."""
    whole = _resolve(images)
    tests = images[images["given_split"] == "test"]
    if tests.empty or len(tests) == len(images):
        return whole
    claims = set(tests["diagnosis"])
    is_covered = all(
        covers is None or claim in covers
        for claim, covers in zip(tests["diagnosis"], tests["table_covers"], strict=True)
    )
    if len(claims) == 1 and is_covered:
        return _Verdict(claims=whole.claims, diagnosis=claims.pop(), resolution=BY_TEST)
    of_tests = _resolve(tests)
    return _Verdict(claims=whole.claims, diagnosis=of_tests.diagnosis, resolution=of_tests.resolution)


def _resolve(images: pd.DataFrame) -> _Verdict:
    """Judge one picture by its folders' claims and by what its tables' words may mean."""
    claims = set(images["diagnosis"])
    tables = [set(covers) for covers in images["table_covers"] if covers is not None]
    allowed = set.intersection(*tables) if tables else set()
    named = set(images["table_diagnosis"].dropna())
    told = " | ".join(sorted(claims | (named if not claims <= allowed else set())))
    left = claims & allowed
    if len(left) == 1:
        return _Verdict(claims=told, diagnosis=left.pop(), resolution=BY_TABLE)
    if not left and len(named) == 1 and named <= allowed:
        return _Verdict(claims=told, diagnosis=named.pop(), resolution=BY_TABLE)
    by_folder = set(images.loc[~images["is_by_table"], "diagnosis"])
    if len(by_folder) == 1 and by_folder <= left:
        return _Verdict(claims=told, diagnosis=by_folder.pop(), resolution=BY_FOLDER)
    return _Verdict(claims=told)


def _is_later_copy(index: pd.DataFrame, copy: pd.Series) -> pd.Series:
    """Tell all copies of a picture but one: the one with most pixels, and the first by path among equals.

    A given split comes first: an image of a given test split always stays, and one of a given val split stays before
    the copies in train.
    """
    side = index["given_split"].map({"test": 0, "val": 1}).fillna(2)
    ranked = index.assign(picture=copy, side=side, area=-index["width"] * index["height"])
    is_later = ranked.sort_values(["side", "area", "path"]).duplicated("picture").reindex(index.index)
    return is_later & (index["given_split"] != "test")


def join_images(
    index: pd.DataFrame, names: list[str], near_duplicates: Int64[np.ndarray, "pair 2"] | None = None
) -> pd.Series:
    """Number the sets of images tied by an equal value of any named column, or as a pair, directly or through others.

    Args:
        index: Images; ``isic_id`` needs no column of its own.
        names: Columns; a null ties nothing.
        near_duplicates: Positions of more pairs.
    """
    num_images = len(index)
    ties = [np.empty((0, 2), np.int64) if near_duplicates is None else near_duplicates]
    for name in names:
        codes, _ = pd.factorize(isic_ids(index) if name == "isic_id" else index[name])
        known = np.flatnonzero(codes >= 0)
        if len(known):
            first = pd.Series(known).groupby(codes[known]).transform("first").to_numpy()
            ties.append(np.column_stack([known, first]))
    i, j = np.concatenate(ties).T
    graph = coo_matrix((np.ones(len(i), bool), (i, j)), shape=(num_images, num_images))
    return pd.Series(connected_components(graph, directed=False)[1], index=index.index)


def assign_groups(index: pd.DataFrame, near_duplicates: Int64[np.ndarray, "pair 2"]) -> pd.Series:
    """Return a group_id an image: images tied by lesion, patient, content, ISIC id or looks share one.

    The id is the smallest content_sha256 of the group: it depends neither on the order of rows nor on
    where the folder lies.
    """
    names = ["lesion_id", "patient_id", "content_sha256", "isic_id"]
    return index["content_sha256"].groupby(join_images(index, names, near_duplicates)).transform("min")


def count_conflicts(labels: Labels) -> dict[str, dict[str, int]]:
    """Count the images of each conflict by how it ended: ``{"actinic keratosis | nevus": {"by the table": 124}}``."""
    ended = labels.resolution.fillna(labels.dropped).fillna("kept as they are")
    table = pd.DataFrame({"conflict": labels.conflict, "ended": ended}).dropna()
    return {
        str(name): {str(how): int(n) for how, n in group["ended"].value_counts().items()}
        for name, group in table.groupby("conflict")
    }
