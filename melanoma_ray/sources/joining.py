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
from melanoma_ray.sources.matching import NO_ROW, Parts, match_rows
from melanoma_ray.sources.tables import COLUMNS, Table

FIELDS = [name for name in COLUMNS if name not in {"image_id", "diagnosis"}]
"""What tables know of an image besides its diagnosis."""
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
    rows_found: dict[str, tuple[int, frozenset[int]]]
    """Number of rows of each table, by its name, and which of them are about an image of the source."""
    notes: tuple[str, ...]


def join_tables(files: SourceFiles, tables: Sequence[Table], taxonomy: Taxonomy) -> Known:
    """Return what the tables, and then a container's own columns, know of a source's images."""
    frame, parts = files.frame, list(files.frame["parts"])
    claims: list[pd.DataFrame] = []
    has_row = pd.Series(data=False, index=frame.index)
    notes: list[str] = []
    rows_found: dict[str, tuple[int, frozenset[int]]] = {}
    for table in (one for one in tables if not one.is_of_lesions):
        match = match_rows(parts, table.rows["image_id"].tolist(), lambda places: _are_same(frame, places))
        is_matched = match.row != NO_ROW
        has_row |= is_matched
        claims.append(table.rows.iloc[match.row[is_matched]].set_axis(frame.index[is_matched]).reindex(frame.index))
        rows_found[table.name] = len(table.rows), frozenset(match.row[is_matched].tolist())
        notes += _describe_repeated(table)
        notes += _describe_match(table, int(is_matched.sum()), len(frame), match.ambiguous)
    if files.own is not None:
        claims.append(files.own)
    lesion = _first([claim["lesion_id"] for claim in claims], frame.index)
    for table in (one for one in tables if one.is_of_lesions):
        rows = table.rows.dropna(subset=["lesion_id"]).drop_duplicates("lesion_id").set_index("lesion_id", drop=False)
        of_image = lesion.where(lesion.isin(rows.index)).fillna(_lesion_folders(parts, rows.index, frame.index))
        has_row |= of_image.notna()
        claims.append(rows.reindex(of_image).set_axis(frame.index))
        rows_found[table.name] = len(rows), frozenset(np.flatnonzero(rows.index.isin(of_image)).tolist())
        notes += _describe_match(table, int(of_image.notna().sum()), len(frame), ())
    columns = [claim["diagnosis"] for claim in claims]
    words = [tuple(dict.fromkeys(w for w in row if isinstance(w, str))) for row in zip(*columns, strict=True)]
    all_words = pd.Series(dict(zip(frame.index, words or [()] * len(frame), strict=True)), dtype=object)
    return Known(
        fields={name: _first([claim[name] for claim in claims], frame.index) for name in FIELDS},
        word=pd.Series([most_telling(words, taxonomy) for words in all_words], index=frame.index, dtype=object),
        words=all_words,
        has_row=has_row,
        rows_found=rows_found,
        notes=tuple(notes),
    )


def _describe_repeated(table: Table) -> list[str]:
    """Say which ids of a table stand several times with different diagnoses."""
    words = table.rows.dropna(subset=["diagnosis"]).groupby("image_id")["diagnosis"].unique()
    told = [f"{name} ({', '.join(map(str, found))})" for name, found in words.items() if len(found) > 1]
    if not told:
        return []
    name = table.name.rsplit("/", 1)[-1]
    return [f"{name} has several rows of different diagnoses for {len(told):,} ids, the first counts: {told[0]}"]


def most_telling(words: Sequence[str], taxonomy: Taxonomy) -> str | None:
    """Return the first word that means one of the diagnoses, else the first that isn't coarse, else the first."""
    fine = (word for word in words if taxonomy.is_fine(word))
    return next(fine, next((word for word in words if not is_coarse(word)), words[0] if words else None))


def _first(columns: Sequence[pd.Series], index: pd.Index) -> pd.Series:
    """Return the first value that isn't null of each image."""
    found = pd.Series([None] * len(index), index=index, dtype=object)
    for column in columns:
        found = found.where(found.notna(), column)
    return found.where(found.notna(), None)


def _lesion_folders(parts: Sequence[Parts], lesions: pd.Index, index: pd.Index) -> pd.Series:
    """Return the folder of each image that is called as a lesion of a table (MILK10k)."""
    known = set(lesions)
    return pd.Series([next((f for f in one[:-1] if f in known), None) for one in parts], index=index, dtype=object)


def _describe_match(table: Table, num_matched: int, num_images: int, ambiguous: Sequence[str]) -> list[str]:
    """Say how well a table fits, where it doesn't."""
    notes = []
    name = table.name.rsplit("/", 1)[-1]
    if num_matched < _FEW_MATCHES * num_images:
        ids = table.rows["image_id"].dropna() if not table.is_of_lesions else table.rows["lesion_id"].dropna()
        looks = f"; its ids look like {str(ids.iloc[0])!r}" if len(ids) else ""
        notes.append(f"of {num_images:,} images {num_matched:,} were found in {name}{looks}")
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
