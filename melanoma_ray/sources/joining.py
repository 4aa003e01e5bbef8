"""What all tables together know of a source's images; an earlier table counts before a later one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy, is_coarse
from melanoma_ray.sources.containers import split_address
from melanoma_ray.sources.files import SourceFiles
from melanoma_ray.sources.group_ids import GROUPS, group_key
from melanoma_ray.sources.matching import NO_ROW, Match, Parts, match_rows, row_key
from melanoma_ray.sources.tables import COLUMNS, Table
from melanoma_ray.wording import count

FIELDS = [name for name in COLUMNS if name not in {"image_id", "diagnosis"}]
"""What tables know of an image besides its diagnosis."""
_TOLD_APART = {
    "diagnosis": "diagnoses",
    "lesion_id": "lesions",
    "patient_id": "patients",
    "age": "ages",
    "sex": "sexes",
    "given_split": "splits",
}
"""Columns in which several rows or tables should agree."""
_STRENGTH = ("test", "val", "train")
"""Which of several given splits counts: a test image that was trained on would praise the model."""
_BY_STRENGTH = "test counts before val, and val before train"
_FEW_MATCHES = 0.1
"""Share of the images below which a table next to matches nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What all tables together know of a source's images; series are indexed as the images are."""

    fields: dict[str, pd.Series]
    word: pd.Series
    """The tables' word for the diagnosis: the first, but a fine one before a coarse one."""
    words: pd.Series
    """All tables' words, a tuple an image."""
    has_row: pd.Series
    """Whether any table has a row for the image."""
    rows_found: dict[str, tuple[frozenset[str], frozenset[str]]]
    """Ids in each table, by its name, and those of them that are about an image of the source."""
    group_tables: frozenset[str]
    """Names of the tables that bring lesions or patients to images of the source."""
    notes: tuple[str, ...]


def join_tables(files: SourceFiles, tables: Sequence[Table], taxonomy: Taxonomy) -> Known:
    """Return what the tables, then a container's own columns, and then DICOM headers know of a source's images."""
    frame, parts = files.frame, list(files.frame["parts"])
    joined = [_join_images(table, frame, parts) for table in tables if not table.is_of_lesions]
    claims = [one.claim for one in joined] + ([] if files.own is None else [files.own])
    lesion = _first([claim["lesion_id"] for claim in claims], frame.index)
    of_lesions = [_join_lesions(table, lesion, parts) for table in tables if table.is_of_lesions]
    claims += [one.claim for one in of_lesions]
    joined += of_lesions
    has_row = pd.Series(np.any([one.has_row for one in joined], axis=0) if joined else False, index=frame.index)
    known = [*claims, *_join_headers(files, claims)]
    columns = [claim["diagnosis"] for claim in claims]
    words = [tuple(dict.fromkeys(w for w in row if isinstance(w, str))) for row in zip(*columns, strict=True)]
    all_words = pd.Series(dict(zip(frame.index, words or [()] * len(frame), strict=True)), dtype=object)
    return Known(
        fields={name: _first([claim[name] for claim in known], frame.index) for name in FIELDS}
        | {"given_split": _strongest([claim["given_split"] for claim in claims], frame.index)},
        word=pd.Series([most_telling(words, taxonomy) for words in all_words], index=frame.index, dtype=object),
        words=all_words,
        has_row=has_row,
        rows_found={one.table.name: (one.ids, one.ids_found) for one in joined},
        group_tables=frozenset(one.table.name for one in joined if one.claim[list(GROUPS)].notna().any(axis=None)),
        notes=(*(note for one in joined for note in (*one.table.notes, *one.notes)), *_describe_differences(claims)),
    )


def _join_headers(files: SourceFiles, claims: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return what DICOM headers claim, each lesion and patient under the id that a table gives to it.

    A table may be of some images only: without this, the others of its patients would seem to be of somebody else.
    """
    if files.headers is None:
        return []
    headers = files.headers
    for column in GROUPS:
        told = _first([claim[column] for claim in claims], headers.index)
        pairs = pd.DataFrame({"theirs": headers[column], "ours": told}).dropna().drop_duplicates("theirs")
        ours = dict(zip(pairs["theirs"], pairs["ours"], strict=True))
        named = [ours.get(one, one) for one in headers[column]]
        headers = headers.assign(**{column: pd.Series(named, index=headers.index, dtype=object)})
    return [headers]


def _describe_differences(claims: Sequence[pd.DataFrame]) -> list[str]:
    """Say of how many images two tables, or a table and a container, tell different lesions, patients or the like."""
    notes = []
    for column, what in _TOLD_APART.items():
        if column == "diagnosis" or not claims:  # a diagnosis is judged by what its word may mean, in ``contradict``
            continue
        first, *others = (claim[column].map(group_key).astype(object) for claim in claims)
        differs = pd.Series(data=False, index=first.index)
        for other in others:
            differs |= first.notna() & other.notna() & (first != other)
            first = first.where(first.notna(), other)
        number = int(differs.sum())
        if number:
            counts = _BY_STRENGTH if column == "given_split" else "the first table's count"
            notes.append(f"tables tell different {what} of {count(number, 'image')}: {counts}")
    return notes


@dataclass(frozen=True, kw_only=True, slots=True)
class _Joined:
    """What one table knows of a source's images."""

    table: Table
    claim: pd.DataFrame
    """Its row of each image, nulls where it has none."""
    has_row: np.ndarray
    ids: frozenset[str]
    ids_found: frozenset[str]
    notes: list[str]


def _join_images(table: Table, frame: pd.DataFrame, parts: list[Parts]) -> _Joined:
    ids, match = _best_match(table, frame, parts)
    rows = table.rows.assign(image_id=ids)
    is_matched = match.row != NO_ROW
    keys = ids.map(row_key, na_action="ignore")
    rows["given_split"] = _strongest_of_repeated(rows, keys)
    claim = rows.iloc[match.row[is_matched]].set_axis(frame.index[is_matched]).reindex(frame.index)
    claim["lesion_id"] = claim["lesion_id"].fillna(_tie_images_of_one_row(claim, match.row))
    return _Joined(
        table=table,
        claim=claim.astype(object).where(claim.notna(), None),
        has_row=is_matched,
        ids=frozenset(keys.dropna()),
        ids_found=frozenset(keys.iloc[match.row[is_matched]]),
        notes=[
            *_describe_repeated(table, rows),
            *_describe_match(table, ids, int(is_matched.sum()), len(frame), match.ambiguous),
        ],
    )


def _best_match(table: Table, frame: pd.DataFrame, parts: list[Parts]) -> tuple[pd.Series, Match]:
    """Return the column that most images are found in, the first among equals, and how its rows match."""
    tried = []
    for ids in (table.rows["image_id"], *table.other_ids):
        placed = [None if one is None else f"{table.folder}/{one}" for one in ids]
        match = match_rows(parts, placed, lambda places: _are_same(frame, places), list(frame["ending"]))
        tried.append((ids, match))
        if (match.row != NO_ROW).all():
            break
    return max(tried, key=lambda one: int((one[1].row != NO_ROW).sum()))


def _join_lesions(table: Table, lesion: pd.Series, parts: list[Parts]) -> _Joined:
    rows = table.rows.dropna(subset=["lesion_id"])
    rows = rows.set_axis(rows["lesion_id"].map(group_key))
    rows = rows[~rows.index.duplicated()]
    key = lesion.map(group_key, na_action="ignore").astype(object)
    of_image = key.where(key.isin(rows.index)).fillna(_lesion_folders(parts, rows.index, lesion.index))
    found = of_image.notna().to_numpy()
    return _Joined(
        table=table,
        claim=rows.reindex(of_image).set_axis(lesion.index),
        has_row=found,
        ids=frozenset(rows.index),
        ids_found=frozenset(of_image.dropna()),
        notes=_describe_match(table, table.rows["lesion_id"], int(found.sum()), len(lesion), ()),
    )


def _describe_repeated(table: Table, rows: pd.DataFrame) -> list[str]:
    """Say which ids of a table stand several times and differ in what they say."""
    known = rows.dropna(subset=["image_id"])
    repeated = known[known["image_id"].duplicated(keep=False)]
    notes = []
    name = table.name.rsplit("/", 1)[-1]
    for column, what in _TOLD_APART.items():
        words = repeated.dropna(subset=[column]).groupby("image_id")[column].unique()
        told = [f"{one} ({', '.join(map(str, found))})" for one, found in words.items() if len(found) > 1]
        if told:
            counts = _BY_STRENGTH if column == "given_split" else "the first counts"
            ids = count(len(told), "id")
            notes.append(f"{name} has several rows of different {what} for {ids}, {counts}: {told[0]}")
    return notes


def most_telling(words: Sequence[str], taxonomy: Taxonomy) -> str | None:
    """Return the first word that means one of the diagnoses, else the first that isn't coarse, else the first."""
    fine = (word for word in words if taxonomy.is_fine(word))
    return next(fine, next((word for word in words if not is_coarse(word)), words[0] if words else None))


def _strongest(columns: Sequence[pd.Series], index: pd.Index) -> pd.Series:
    """Return the strongest of the splits that were given to each image."""
    found = pd.Series([None] * len(index), index=index, dtype=object)
    for split in _STRENGTH:
        is_said = np.any([column == split for column in columns], axis=0) if columns else np.zeros(len(index), bool)
        found = found.where(found.notna() | ~is_said, split)
    return found.where(found.notna(), None)


def _strongest_of_repeated(rows: pd.DataFrame, keys: pd.Series) -> pd.Series:
    """Return the split of each row, the strongest of those that all rows of its id give."""
    rank = rows["given_split"].map({split: place for place, split in enumerate(_STRENGTH)}).astype(float)
    best = rank.groupby(keys).transform("min").where(keys.notna(), rank)
    return best.map(dict(enumerate(_STRENGTH)), na_action="ignore").astype(object)


def _tie_images_of_one_row(claim: pd.DataFrame, row: np.ndarray) -> pd.Series:
    """Return the row's id as the lesion of several images that have one row, such as ``x``, ``x (1)`` and ``x (2)``."""
    of_image = pd.Series(row, index=claim.index)
    is_shared = of_image.ne(NO_ROW) & of_image.duplicated(keep=False)
    return claim["image_id"].where(is_shared, None)


def _first(columns: Sequence[pd.Series], index: pd.Index) -> pd.Series:
    """Return the first value that isn't null of each image."""
    found = pd.Series([None] * len(index), index=index, dtype=object)
    for column in columns:
        found = found.where(found.notna(), column)
    return found.where(found.notna(), None)


def _lesion_folders(parts: Sequence[Parts], lesions: pd.Index, index: pd.Index) -> pd.Series:
    """Return the folder of each image that is called as a lesion of a table (MILK10k)."""
    known = set(lesions)
    keys = [[group_key(folder) for folder in one[:-1]] for one in parts]
    return pd.Series([next((key for key in one if key in known), None) for one in keys], index=index, dtype=object)


def _describe_match(
    table: Table, ids: pd.Series, num_matched: int, num_images: int, ambiguous: Sequence[str]
) -> list[str]:
    """Say how well a table fits, where it doesn't."""
    notes = []
    name = table.name.rsplit("/", 1)[-1]
    if num_matched < _FEW_MATCHES * num_images:
        ids = ids.dropna()
        looks = f"; its ids look like {str(ids.iloc[0])!r}" if len(ids) else ""
        notes.append(f"of {count(num_images, 'image')} {num_matched:,} were found in {name}{looks}")
    if ambiguous:
        notes.append(
            f"{name} has one row for several different files of one name, and doesn't tell them apart, so none "
            f"gets it: {', '.join(ambiguous[:5])}{' …' if len(ambiguous) > 5 else ''}"
        )
    return notes


def _are_same(frame: pd.DataFrame, places: Sequence[int]) -> bool:
    """Tell whether files of one name have the same bytes; of different sizes they aren't read."""
    rows = frame.iloc[list(places)]
    if rows["num_bytes"].nunique() > 1 or any(split_address(path)[0] for path in rows["path"]):
        return False
    return len({hashlib.sha256(storage.read_bytes(path)).digest() for path in rows["path"]}) == 1


def covers_of(words: tuple[str, ...], taxonomy: Taxonomy) -> list[str] | None:
    """Return what the tables' word may mean; none where no table has a word for one of the diagnoses."""
    word = most_telling(words, taxonomy)
    return list(taxonomy.covers(word)) or None if word is not None and taxonomy.knows(word) else None


def contradict(words: tuple[str, ...], taxonomy: Taxonomy) -> bool:
    """Tell words of several tables that can't all be true."""
    meant = [set(taxonomy.covers(word)) for word in words if taxonomy.knows(word) and not is_coarse(word)]
    meant = [one for one in meant if one]
    return len(meant) > 1 and not set.intersection(*meant)
