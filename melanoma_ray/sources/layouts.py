"""From sources (folders, containers, tables) to one table of images, decided image by image.

An image gets its diagnosis from the folder it lies in (``Train/melanoma/ISIC_0000139.jpg``), from the columns that its
container brings, or from a table; a table beside folders makes a claim of its own. A folder's coarse word (benign,
malignant, other) gives way to a table's finer one. docs/layouts.md has each layout with an example.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.diagnoses import (
    BENIGN_OR_MALIGNANT,
    MELANOMA,
    MELANOMA_OR_OTHER,
    Diagnosis,
    Taxonomy,
    is_coarse,
    load_taxonomy,
    two_way,
)
from melanoma_ray.errors import DataError
from melanoma_ray.schema import SOURCE
from melanoma_ray.sources.containers import split_address
from melanoma_ray.sources.files import SourceFiles, find_tables, open_source
from melanoma_ray.sources.folder_words import folder_words
from melanoma_ray.sources.given_splits import (
    NO_SPLIT,
    describe_given_split,
    give_splits,
    split_of_container,
    split_of_folders,
)
from melanoma_ray.sources.group_ids import find_scopes, unify_groups
from melanoma_ray.sources.joining import FIELDS, Known, contradict, covers_of, join_tables
from melanoma_ray.sources.listing import IMAGE_ENDINGS
from melanoma_ray.sources.matching import Parts
from melanoma_ray.sources.readings import Reading, read_readings
from melanoma_ray.sources.reviewed import settle_readings
from melanoma_ray.sources.tables import Table, check_named, parse_columns, read_table_file, with_splits_of_names
from melanoma_ray.sources.untold import check_diagnoses, describe_untold
from melanoma_ray.wording import count

_PATIENT_FOLDER = re.compile(r"^((patient|pat|subject)[ _-]?(id[ _-]?)?\d+|pt?[ _-]?\d{3,})$", re.IGNORECASE)
"""``patient 7``, ``PAT_12`` and ``P001``; a ``P1`` may be many a thing."""
_LESION_FOLDER = re.compile(r"^(lesion|case|il)[ _-]?(id[ _-]?)?\d+$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """The images found, and what became of everything else."""

    table: pa.Table
    """Of ``schema.SOURCE``, sorted by path."""
    diagnoses: tuple[Diagnosis, ...]
    """What an image may be, in the order of a network's outputs."""
    num_rows_without_file: int
    """Rows of the metadata tables whose image isn't there."""
    num_files_without_row: int
    """Images left out because neither a folder nor a table tells their diagnosis."""
    num_left_out: dict[str, int]
    """Images whose word for the lesion is known, but none of the diagnoses; by that word."""
    passed_over: dict[str, int]
    """Files that aren't read as images, by the reason."""
    num_given: dict[str, int]
    """Images found in each split that the sources themselves give, with those that are left out."""
    notes: tuple[str, ...]
    """What a person should know of how the sources were understood, a sentence each."""


def image_id_of(path: str) -> str:
    """Return the file name without its ending, or the key in a container.

    >>> image_id_of("a/ISIC_1.jpg"), image_id_of("a/b.h5::group/ISIC_2"), image_id_of("scan::1.jpg")
    ('ISIC_1', 'ISIC_2', 'scan::1')
    """
    container, key = split_address(path)
    name = PurePosixPath(key)
    return name.name if container or name.suffix.lower() not in IMAGE_ENDINGS else name.stem


def read_collection(
    images: str | Sequence[str],
    metadata: str | Sequence[str] = (),
    taxonomy: Taxonomy | None = None,
    columns: Sequence[str] = (),
    reviewed: Sequence[str] = (),
) -> Collection:
    """Recognise the layout of each source and read them into one table.

    A collection that says no more than benign or malignant, or than melanoma or other, is read as these two classes.

    Args:
        images: Folders or HDF5 or Parquet files with images; local, or such as s3://bucket/folder.
        metadata: Tables, of all sources; those that lie in or beside a source's folder are found without.
        taxonomy: What the words for a lesion mean; by default the built-in one.
        columns: Columns of the tables named by hand, such as ``image=derm`` or ``lesion=case_num``.
        reviewed: Tables of readings, reviewed.csv, for images of which nothing else is known.

    Raises:
        DataError: No image, an unknown diagnosis, or no way to tell the diagnoses.
        ConfigError: A name in ``columns`` isn't one of ours.
    """
    known = taxonomy or load_taxonomy()
    named = parse_columns(columns)
    roots = list(dict.fromkeys(storage.absolute(root) for root in _as_list(images)))
    given = [read_table_file(storage.absolute(name), known, named) for name in _as_list(metadata)]
    readings = [reading for name in reviewed for reading in read_readings(storage.absolute(name), known)]
    is_one_of_several = len(roots) > 1
    sources = [_read_source(root, given, known, named, readings, is_one_of_several=is_one_of_several) for root in roots]
    frame = (
        pd.concat([source.frame for source in sources]).drop_duplicates("path").sort_values("path", ignore_index=True)
    )
    scopes = find_scopes({one.root: one.group_tables for one in sources}, {root: _kin(root) for root in roots})
    frame, id_notes = unify_groups(frame, scopes)
    notes = [*dict.fromkeys(note for source in sources for note in source.notes), *id_notes]
    if taxonomy is None and (classes := _two_classes(frame, known)) is not None:
        known = two_way(known, classes)
        notes.append(f"no finer diagnoses than {classes[0].name} and {classes[1].name}: these two are the classes")
    return _to_collection(frame, sources, known, [*notes, describe_given_split(frame["given_split"])])


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _two_classes(frame: pd.DataFrame, taxonomy: Taxonomy) -> tuple[Diagnosis, Diagnosis] | None:
    """Return the two classes of a collection that tells no finer ones, or nothing."""
    words = {str(word) for word in frame["word"].dropna() if taxonomy.knows(str(word))}
    fine = {taxonomy.parse(word) for word in words if taxonomy.is_fine(word)}
    for classes, allowed in ((BENIGN_OR_MALIGNANT, set()), (MELANOMA_OR_OTHER, {MELANOMA})):
        meanings = {two_way(taxonomy, classes).parse(word) for word in words}
        if fine <= allowed and {one.name for one in classes} <= meanings:
            return classes
    return None


def _kin(root: str) -> str:
    """Return what the sources of one collection share: Train and Test in one folder, or two such files, are one."""
    folder, _, name = root.rpartition("/")
    return folder if split_of_folders([name]) or split_of_container(name) else root


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    root: str
    frame: pd.DataFrame
    """One row an image: the columns of ``SOURCE`` but for what the taxonomy says, and the words that were found."""
    rows_found: dict[str, tuple[frozenset[str], frozenset[str]]]
    group_tables: frozenset[str]
    passed_over: Counter[str]
    notes: tuple[str, ...]


def _read_source(
    root: str,
    given: Sequence[Table],
    taxonomy: Taxonomy,
    named: dict[str, str],
    readings: Sequence[Reading],
    *,
    is_one_of_several: bool,
) -> _Source:
    files = open_source(root, taxonomy, named)
    found = find_tables(files, taxonomy, named, [table.name for table in given])
    tables = with_splits_of_names([*given, *found.tables])
    if not files.has_own_columns:
        check_named(tables, named, found.left_alone)
    known = join_tables(files, tables, taxonomy)
    whole = (PurePosixPath(root).name,) if is_one_of_several else ()
    folders = [(*whole, *one[:-1]) for one in files.frame["parts"]]
    words, word_notes = folder_words(folders, taxonomy)
    settled = settle_readings(_claim(files, known, [words[one] for one in folders], taxonomy), readings, taxonomy)
    frame = settled.frame
    frame["given_split"], split_notes = give_splits(folders, frame["given_split"], files.container_split)
    _check_words(frame, tables, taxonomy)
    notes = [*files.notes, *found.left_alone, *word_notes, *_describe_repeated(frame), *known.notes, *settled.notes]
    tells = files.has_own_columns or any(table.rows["diagnosis"].notna().any() for table in tables)
    untold = frame[frame["word"].isna() & (~known.has_row | (not tells))]
    if not settled.num_filled:  # readers may have read a few of many
        check_diagnoses(frame, untold, tables, notes)
    return _Source(
        root=root,
        frame=frame,
        rows_found=known.rows_found,
        group_tables=known.group_tables,
        passed_over=files.passed_over + found.passed_over,
        notes=(*notes, *split_notes, *describe_untold(frame)),
    )


def _check_words(frame: pd.DataFrame, tables: Sequence[Table], taxonomy: Taxonomy) -> None:
    """Refuse a word that the taxonomy doesn't know, and say in which file it stands."""
    for word in frame["word"].dropna().unique():
        if taxonomy.knows(word):
            continue
        place = next((one.name for one in tables if (one.rows["diagnosis"] == word).any()), frame["source"].iloc[0])
        try:
            taxonomy.parse(word)
        except DataError as error:
            msg = f"{place}: {error}"
            raise DataError(msg) from error


def _claim(files: SourceFiles, known: Known, words: list[str | None], taxonomy: Taxonomy) -> pd.DataFrame:
    """Return the images with what folders and tables claim of them; ``word`` is the claim that counts."""
    frame = files.frame.assign(
        **{name: known.fields[name] for name in FIELDS},
        table_word=known.word,
        table_words=known.words,
        source=files.root,
    )
    index = frame.index
    frame["folder_word"] = pd.Series(list(words), index=index, dtype=object)
    pairs = list(zip(words, known.word, strict=True))
    by_table = {pair: _is_by_table(*pair, taxonomy) for pair in set(pairs)}
    overruled = {
        (folder, table): folder is not None and table is not None and taxonomy.contradicts(folder, table)
        for (folder, table), is_by_table in by_table.items()
        if is_by_table
    }
    frame["is_by_table"] = [by_table[pair] for pair in pairs]
    frame["word"] = frame["folder_word"].where(~frame["is_by_table"], frame["table_word"])
    claims = [pair[0] if overruled.get(pair) else None for pair in pairs]
    frame["folder_claim"] = pd.Series(claims, index=index, dtype=object)
    parts: list[Parts] = list(frame["parts"])
    frame["patient_id"] = frame["patient_id"].fillna(_folder_group(parts, words, _PATIENT_FOLDER, index))
    frame["lesion_id"] = frame["lesion_id"].fillna(_folder_group(parts, words, _LESION_FOLDER, index))
    return frame


def _is_by_table(folder: str | None, table: str | None, taxonomy: Taxonomy) -> bool:
    """Tell whether a table tells the diagnosis: no folder does, or only a coarse word of one.

    A coarse folder that is one of the classes, and that the table contradicts, makes a claim of its own.
    """
    if table is None:
        return False
    if folder is None:
        return True
    if not is_coarse(folder) or not taxonomy.knows(table) or is_coarse(table):
        return False
    return taxonomy.parse(folder) is None or not taxonomy.contradicts(folder, table)


def _folder_group(
    parts: Sequence[Parts], words: Sequence[str | None], pattern: re.Pattern[str], index: pd.Index
) -> pd.Series:
    """Return the folder of a patient or a lesion, where a diagnosis's folder is there too."""
    found = [
        next((name for name in reversed(one[:-1]) if pattern.match(name)), None) if word is not None else None
        for one, word in zip(parts, words, strict=True)
    ]
    return pd.Series(found, index=index, dtype=object)


def _describe_repeated(frame: pd.DataFrame) -> list[str]:
    """Say which ids of a container's rows stand several times under different words."""
    rows = frame[[bool(split_address(path)[0]) for path in frame["path"]]]
    rows = rows.assign(image_id=["/".join(one) for one in rows["parts"]])
    words = rows.dropna(subset=["word"]).groupby("image_id")["word"].unique()
    told = [f"{name} ({', '.join(map(str, found))})" for name, found in words.items() if len(found) > 1]
    return [f"ids that stand for several rows of different diagnoses: {', '.join(told[:5])}"] if told else []


def _count_unmatched(sources: Sequence[_Source]) -> int:
    """Return the ids of all tables that are about no image of any source."""
    ids: dict[str, frozenset[str]] = {}
    found: dict[str, frozenset[str]] = {}
    for source in sources:
        for name, (all_ids, ids_found) in source.rows_found.items():
            ids[name] = all_ids
            found[name] = found.get(name, frozenset()) | ids_found
    return sum(len(all_ids - found[name]) for name, all_ids in ids.items())


def _to_collection(
    frame: pd.DataFrame, sources: Sequence[_Source], taxonomy: Taxonomy, notes: Sequence[str]
) -> Collection:
    meaning = frame["word"].map({word: taxonomy.parse(word) for word in frame["word"].dropna().unique()})
    is_left_out = frame["word"].notna() & meaning.isna()
    left_out = Counter(frame.loc[is_left_out, "word"])
    kept = frame.assign(diagnosis=meaning)[meaning.notna()]
    if kept.empty:
        names = ", ".join(one.name for one in taxonomy.diagnoses)
        words = ", ".join(f"{count:,} {word}" for word, count in sorted(left_out.items()))
        roots = ", ".join(frame["source"].unique())
        reasons = [note for note in notes if note != NO_SPLIT]
        why = f"; {'; '.join(reasons)}" if reasons else ""
        only = f"(only {words or 'none'}){why}"
        msg = f"{roots}: no image has one of the diagnoses {names} {only}; a --taxonomy may add them"
        raise DataError(msg)
    cache = {words: covers_of(words, taxonomy) for words in set(kept["table_words"])}
    told = {word: taxonomy.parse(word) for word in kept["table_word"].dropna().unique() if taxonomy.knows(word)}
    table_diagnosis = kept["table_word"].map(told).astype(object)
    source = kept.assign(
        table_diagnosis=table_diagnosis.where(table_diagnosis.notna(), None),
        table_covers=kept["table_words"].map(cache),
        age=pd.to_numeric(kept["age"], errors="coerce").astype(np.float32),
    )
    contradictory = int(kept["table_words"].map(lambda words: contradict(words, taxonomy)).sum())
    notes = [
        *notes,
        *(
            [f"tables contradict each other about {count(contradictory, 'image')}: the first one counts"]
            * bool(contradictory)
        ),
    ]
    return Collection(
        table=pa.Table.from_pandas(source[SOURCE.names], schema=SOURCE, preserve_index=False),
        diagnoses=taxonomy.diagnoses,
        num_rows_without_file=_count_unmatched(sources),
        num_files_without_row=int(frame["word"].isna().sum()),
        num_left_out=dict(left_out),
        passed_over=dict(sum((one.passed_over for one in sources), Counter())),
        num_given={str(split): int(count) for split, count in frame["given_split"].value_counts().items()},
        notes=tuple(notes),
    )
