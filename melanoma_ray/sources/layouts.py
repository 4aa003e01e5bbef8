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
from melanoma_ray.schema import SOURCE, SPLITS
from melanoma_ray.sources.containers import split_address
from melanoma_ray.sources.files import find_tables, open_source
from melanoma_ray.sources.joining import FIELDS, contradict, covers_of, join_tables, most_telling
from melanoma_ray.sources.listing import IMAGE_ENDINGS
from melanoma_ray.sources.matching import Parts
from melanoma_ray.sources.tables import SPLIT_WORDS, Table, check_named, parse_columns, read_table_file

_PATIENT_FOLDER = re.compile(r"^(patient|pat|subject)[ _-]?(id[ _-]?)?\d+$", re.IGNORECASE)
_LESION_FOLDER = re.compile(r"^(lesion|case|il)[ _-]?(id[ _-]?)?\d+$", re.IGNORECASE)
_MOST_UNTOLD = 0.5
"""Share of the images without a diagnosis above which it is rather the layout that wasn't understood."""


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
) -> Collection:
    """Recognise the layout of each source and read them into one table.

    A collection that says no more than benign or malignant, or than melanoma or other, is read as these two classes.

    Args:
        images: Folders or HDF5 or Parquet files with images; local, or such as s3://bucket/folder.
        metadata: Tables, of all sources; those that lie in or beside a source's folder are found without.
        taxonomy: What the words for a lesion mean; by default the built-in one.
        columns: Columns of the tables named by hand, such as ``image=derm`` or ``lesion=case_num``.

    Raises:
        DataError: No image, an unknown diagnosis, or no way to tell the diagnoses.
        ConfigError: A name in ``columns`` isn't one of ours.
    """
    known = taxonomy or load_taxonomy()
    named = parse_columns(columns)
    roots = list(dict.fromkeys(storage.absolute(root) for root in _as_list(images)))
    given = [read_table_file(storage.absolute(name), known, named) for name in _as_list(metadata)]
    sources = [_read_source(root, given, known, named, is_one_of_several=len(roots) > 1) for root in roots]
    frame = (
        pd.concat([source.frame for source in sources]).drop_duplicates("path").sort_values("path", ignore_index=True)
    )
    notes = [note for source in sources for note in source.notes]
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


def describe_given_split(given: pd.Series) -> str:
    """Return the sizes of the split that the sources themselves bring, in words."""
    counts = given.value_counts()
    told = ", ".join(f"{split} {int(counts[split])}" for split in SPLITS if split in counts)
    return f"given split: {told}" if told else "no split was given"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    frame: pd.DataFrame
    """One row an image: the columns of ``SOURCE`` but for what the taxonomy says, and the words that were found."""
    rows_found: dict[str, tuple[int, frozenset[int]]]
    passed_over: Counter[str]
    notes: tuple[str, ...]


def _read_source(
    root: str, given: Sequence[Table], taxonomy: Taxonomy, named: dict[str, str], *, is_one_of_several: bool
) -> _Source:
    files = open_source(root, taxonomy, named)
    found, passed_over, notes = find_tables(files, taxonomy, named, are_given=bool(given))
    tables = [*given, *found]
    frame = files.frame.copy()
    parts: list[Parts] = list(frame["parts"])
    if not files.has_own_columns:
        check_named(tables, named)
    known = join_tables(files, tables, taxonomy)
    for name in FIELDS:
        frame[name] = known.fields[name]
    frame["table_word"] = known.word
    frame["table_words"] = known.words
    whole = (PurePosixPath(root).name,) if is_one_of_several else ()
    folder = [_folder_word((*whole, *one[:-1]), taxonomy) for one in parts]
    frame["folder_word"] = pd.Series(folder, index=frame.index, dtype=object)
    is_by_table = _is_by_table(frame, taxonomy)
    frame["is_by_table"] = is_by_table
    frame["word"] = frame["folder_word"].where(~is_by_table, frame["table_word"])
    by_folder = pd.Series([_given_split((*whole, *one[:-1])) for one in parts], index=frame.index, dtype=object)
    by_column = frame["given_split"].map(lambda word: SPLIT_WORDS.get(str(word).lower()))
    frame["given_split"] = by_folder.fillna(by_column).fillna(files.container_split)
    frame["given_split"] = frame["given_split"].astype(object).where(frame["given_split"].notna(), None)
    frame["patient_id"] = frame["patient_id"].fillna(_folder_group(parts, folder, _PATIENT_FOLDER, frame.index))
    frame["lesion_id"] = frame["lesion_id"].fillna(_folder_group(parts, folder, _LESION_FOLDER, frame.index))
    frame["source"] = root
    for word in frame["word"].dropna().unique():
        taxonomy.parse(word)
    notes = [*notes, *_describe_repeated(frame)]
    untold = frame[frame["word"].isna() & ~known.has_row]
    _check_diagnoses(frame, untold, tables, [*files.notes, *notes, *known.notes])
    return _Source(
        frame=frame,
        rows_found=known.rows_found,
        passed_over=files.passed_over + passed_over,
        notes=(*files.notes, *notes, *known.notes, *_describe_untold(frame)),
    )


def _folder_word(folders: Parts, taxonomy: Taxonomy) -> str | None:
    """Return the innermost folder that is a diagnosis; a fine word before a coarse one."""
    return most_telling([name for name in reversed(folders) if taxonomy.knows(name)], taxonomy)


def _is_by_table(frame: pd.DataFrame, taxonomy: Taxonomy) -> pd.Series:
    """Tell the images whose diagnosis a table tells: no folder does, or only a coarse word of one."""
    coarse = frame["folder_word"].map(lambda word: word is not None and is_coarse(word))
    finer = frame["table_word"].map(lambda word: word is not None and taxonomy.knows(word) and not is_coarse(word))
    return frame["table_word"].notna() & (frame["folder_word"].isna() | (coarse & finer))


def _given_split(folders: Parts) -> str | None:
    """Return the split that a folder's name gives, the outermost one if there are several."""
    return next((SPLIT_WORDS[name.lower()] for name in folders if name.lower() in SPLIT_WORDS), None)


def _folder_group(
    parts: Sequence[Parts], words: Sequence[str | None], pattern: re.Pattern[str], index: pd.Index
) -> pd.Series:
    """Return the folder of a patient or a lesion, where a diagnosis's folder is there too."""
    found = [
        next((name for name in reversed(one[:-1]) if pattern.match(name)), None) if word is not None else None
        for one, word in zip(parts, words, strict=True)
    ]
    return pd.Series(found, index=index, dtype=object)


def _check_diagnoses(frame: pd.DataFrame, untold: pd.DataFrame, tables: Sequence[Table], notes: Sequence[str]) -> None:
    """Refuse a source that wasn't understood: most images for which no table has a row are without a diagnosis."""
    if len(untold) <= _MOST_UNTOLD * len(frame):
        return
    example = untold["path"].iloc[0].rsplit("/", 1)[-1]
    what = f"{len(untold):,} of {len(frame):,} images in {frame['source'].iloc[0]}, such as {example},"
    folders = sorted({one[-2] for one in untold["parts"] if len(one) > 1} - set(SPLIT_WORDS))
    where = f" (but in {', '.join(folders[:5])})" if folders else ""
    lie = f"lie in no folder named after a diagnosis{where}"
    why = f"; {'; '.join(notes)}" if notes else ""
    if tables:
        names = ", ".join(table.name.rsplit("/", 1)[-1] for table in tables)
        msg = f"{what} {lie}, and the tables ({names}) don't tell theirs{why}; are they the right tables?"
    else:
        msg = (
            f"{what} {lie}, and there is no table that tells theirs{why}; sort them into such folders, give "
            "--metadata with their diagnoses, or add the folders' words with --taxonomy"
        )
    raise DataError(msg)


def _describe_repeated(frame: pd.DataFrame) -> list[str]:
    """Say which ids of a container's rows stand several times under different words."""
    rows = frame[[bool(split_address(path)[0]) for path in frame["path"]]]
    words = rows.dropna(subset=["word"]).groupby("image_id")["word"].unique()
    told = [f"{name} ({', '.join(map(str, found))})" for name, found in words.items() if len(found) > 1]
    return [f"ids that stand for several rows of different diagnoses: {', '.join(told[:5])}"] if told else []


def _describe_untold(frame: pd.DataFrame) -> list[str]:
    """Say which images are left out for want of a diagnosis."""
    untold = frame[frame["word"].isna()]
    if untold.empty:
        return []
    folders = Counter(one[-2] if len(one) > 1 else "no folder" for one in untold["parts"])
    told = ", ".join(f"{count:,} in {name}" for name, count in folders.most_common(5))
    return [f"{len(untold):,} images are left out, since no folder and no table tells their diagnosis ({told})"]


def _count_unmatched(sources: Sequence[_Source]) -> int:
    """Return the rows of all tables that are about no image of any source."""
    sizes: dict[str, int] = {}
    found: dict[str, set[int]] = {}
    for source in sources:
        for name, (size, rows) in source.rows_found.items():
            sizes[name] = size
            found[name] = found.get(name, set()) | rows
    return sum(size - len(found[name]) for name, size in sizes.items())


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
        msg = f"{roots}: no image has one of the diagnoses {names} (only {words or 'none'}); a --taxonomy may add them"
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
        *([f"tables contradict each other about {contradictory:,} images: the first one counts"] * bool(contradictory)),
    ]
    return Collection(
        table=pa.Table.from_pandas(source[SOURCE.names], schema=SOURCE, preserve_index=False),
        diagnoses=taxonomy.diagnoses,
        num_rows_without_file=_count_unmatched(sources),
        num_files_without_row=int(frame["word"].isna().sum()),
        num_left_out=dict(left_out),
        passed_over=dict(sum((one.passed_over for one in sources), Counter())),
        notes=tuple(notes),
    )
