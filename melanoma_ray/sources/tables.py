"""Metadata tables of every collection under our column names: texts, ages in years, and what wasn't understood.

``dialects`` reads the files, ``diagnosis_columns`` finds the word for the lesion, ``cells`` reads single values, and
``matching`` joins a table to images. docs/layouts.md has an example of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import pandas as pd

from melanoma_ray.diagnoses import Taxonomy
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.sources.cells import (
    clean,
    clean_diagnosis,
    clean_group,
    describe_words,
    is_no_age,
    parse_age,
    parse_sex,
    parse_split,
)
from melanoma_ray.sources.diagnosis_columns import (
    each,
    find_one_hot,
    is_flag,
    rows_of_several,
    rows_that_contradict,
    tell_diagnosis,
)
from melanoma_ray.sources.dialects import read_text_table
from melanoma_ray.wording import count

COLUMNS = {
    "image_id": (
        *("isic_id", "image_id", "img_id", "image", "image_name", "filename", "file_name", "bcn_filename", "ddi_file"),
        *("image_path", "image_file", "image_filename", "img", "img_name", "img_file", "img_path", "derm", "name"),
        *(
            "md5hash",
            "path",
            "file",
            "file_path",
            "filepath",
            "photo",
            "picture",
            "imageid",
            "isic_image_id",
            "bild",
            "dateiname",
        ),
        *("id",),
    ),
    "diagnosis": (
        *("diagnosis", "dx", "diagnostic", "label", "disease", "clinical_diagnosis", "class", "class_name"),
        *("target_name", "cell_type", "diagnosis_name", "diagnose"),
    ),
    "lesion_id": ("lesion_id", "lesion", "case_num"),
    "patient_id": ("patient_id", "patient", "subject_id"),
    "age": ("age", "age_approx", "patient_age", "alter"),
    "sex": ("sex", "gender", "patient_sex", "geschlecht"),
    "site": (
        *("site", "localization", "localisation", "anatom_site_general", "anatom_site_general_challenge"),
        *("anatomical_site", "anatom_site", "body_site", "location", "region", "lokalisation", "körperstelle"),
    ),
    "attribution": ("attribution",),
    "image_type": ("image_type",),
    "given_split": ("split", "partition", "data_split", "subset", "set"),
}
"""Our columns, and what tables call them (in any case), the most telling name first."""
NAMEABLE = {
    "image": "image_id",
    "diagnosis": "diagnosis",
    "lesion": "lesion_id",
    "patient": "patient_id",
    "age": "age",
    "sex": "sex",
    "site": "site",
    "split": "given_split",
}
"""What ``--columns`` calls our columns."""
_FLAGS = ("target", "malignant", "melanoma", "is_malignant", "is_melanoma", *COLUMNS["diagnosis"])
_BESIDE_IN_TABLES = frozenset(
    {"labels", "label", "metadata", "meta", "groundtruth", "ground", "truth", "gt", "list", "ids", "table"}
)
"""Words beside one for a split in a table's name, such as ``test_labels.csv``."""
_LIKE_SPLITS = ("fold", "folds", "is_test", "is_train", "is_val", "test", "cv_fold")
"""Columns that may tell a split in numbers, which isn't read."""
_DOUBTFUL_SPLITS = frozenset({"subset", "set"})
"""Columns that may be of something else: they count as splits only where a word of theirs is one."""
_SITE_LEVELS = [f"anatom_site_{level}" for level in range(5, 0, -1)]
"""Of the archive's own client since May 2026, the finest first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table under our column names; all values are texts, ages numbers, and null where nothing is known."""

    name: str
    columns: tuple[str, ...]
    """The table's own names of its columns, in small letters."""
    rows: pd.DataFrame
    """With all of ``COLUMNS``. ``image_id`` is as the table has it, or null in a table of lesions."""
    other_ids: tuple[pd.Series, ...] = ()
    """Further columns that may hold the images' ids: a table may have numbers and names."""
    flags: tuple[str, ...] = ()
    """Columns that may tell a diagnosis, and have only yes and no, such as target."""
    folder: str = ""
    """Folder in which it was found, below the source: of files of one name, its rows are about those that lie there."""
    notes: tuple[str, ...] = ()
    """What wasn't understood of it, a sentence each."""

    @property
    def is_of_lesions(self) -> bool:
        """Tell a table whose rows are lesions (MILK10k's truth) from one of images."""
        return bool(self.rows["image_id"].isna().all())


def parse_columns(given: Sequence[str]) -> dict[str, str]:
    """Return our column names and what a table calls them, from words such as ``image=derm``.

    Raises:
        ConfigError: A word isn't of that form, or names no column of ours.

    >>> parse_columns(["image=derm", "lesion=case_num"])
    {'image_id': 'derm', 'lesion_id': 'case_num'}
    """
    named: dict[str, str] = {}
    for word in given:
        ours, _, theirs = word.partition("=")
        if ours not in NAMEABLE or not theirs:
            msg = f"columns {word!r}: expected one of {', '.join(NAMEABLE)}, then = and the table's name of the column"
            raise ConfigError(msg)
        if named.setdefault(NAMEABLE[ours], theirs) != theirs:
            msg = f"columns {word!r}: {ours} is {named[NAMEABLE[ours]]!r} already; give one column of each kind"
            raise ConfigError(msg)
    return named


def check_named(tables: Sequence[Table], named: Mapping[str, str], left_alone: Sequence[str] = ()) -> None:
    """Refuse a column named by hand that no table has.

    Args:
        tables: All of them.
        named: Columns that the user named: ours → the table's.
        left_alone: What is said of the tables that aren't used.

    Raises:
        DataError: The first that is missing.
    """
    for theirs in named.values():
        if not any(_normalize_name(theirs) in table.columns for table in tables):
            have = [f"{table.name} has {', '.join(table.columns)}" for table in tables] + list(left_alone)
            msg = f"columns: no table has a column {theirs!r} ({'; '.join(have) or 'there is no table'})"
            raise DataError(msg)


def read_table_file(
    name: str, taxonomy: Taxonomy, named: Mapping[str, str] | None = None, *, is_strict: bool = True
) -> Table:
    """Read one file.

    Args:
        name: Path of a text table, local or such as s3://bucket/table.csv.
        taxonomy: Says which words are diagnoses.
        named: Columns that the user named: ours → the table's.
        is_strict: As in ``normalize_table``.

    Raises:
        DataError: It isn't there, isn't a table, or has no column that tells which image or lesion a row is about.
    """
    wanted = {*COLUMNS["image_id"], *COLUMNS["lesion_id"], *map(_normalize_name, (named or {}).values())}
    raw, notes = read_text_table(
        name, taxonomy, lambda cells: len(cells) > 1 and bool(wanted & set(map(_normalize_name, cells)))
    )
    table = normalize_table(raw, name, taxonomy, named, is_strict=is_strict)
    return replace(table, notes=(*notes, *table.notes))


def normalize_table(
    raw: pd.DataFrame,
    name: str,
    taxonomy: Taxonomy,
    named: Mapping[str, str] | None = None,
    *,
    needs_id: bool = True,
    is_strict: bool = True,
) -> Table:
    """Return a table under our column names; ``diagnosis`` stays the table's own word.

    Args:
        raw: Texts under the table's own names.
        name: Of its file, for messages.
        taxonomy: Says which words are diagnoses, and so which columns are one-hot.
        named: Columns that the user named: ours → the table's.
        needs_id: False for the columns of a container, whose rows are its images.
        is_strict: Refuse one-hot rows of several diagnoses; else they tell none, and are told.

    Raises:
        DataError: No column with ids, a column that the user named isn't there, or one-hot rows without exactly one 1.
    """
    originals = {_normalize_name(column): str(column).strip() for column in reversed(raw.columns)}
    raw = raw.rename(columns={column: _normalize_name(column) for column in raw.columns})
    names = list(map(str, raw.columns))
    raw = raw.loc[:, ~raw.columns.duplicated()]
    by_hand = {ours: _normalize_name(theirs) for ours, theirs in (named or {}).items()}
    by_hand = {ours: theirs for ours, theirs in by_hand.items() if theirs in raw.columns}
    found = _find_columns(raw) | by_hand
    if needs_id and found["image_id"] is None and found["lesion_id"] is None:
        msg = (
            f"metadata table {name}: has columns {', '.join(map(str, raw.columns)) or 'none'}, none of which holds the "
            f"images' ids (such as {', '.join(COLUMNS['image_id'][:4])}); name it with --columns image=COLUMN"
        )
        raise DataError(msg)
    rows = pd.DataFrame(
        {ours: raw[theirs] if theirs else None for ours, theirs in found.items()}, index=raw.index, dtype=object
    )
    diagnosis, notes = rows["diagnosis"], list[str]()
    if "diagnosis" not in by_hand:
        diagnosis, notes = _read_diagnosis(raw, diagnosis, name, taxonomy, is_strict=is_strict)
    if found["diagnosis"] is None:
        diagnosis = each(diagnosis, lambda word: originals.get(word, word))  # one-hot columns, as they are written
    rows, unknown = _read_cells(raw, rows, name)
    rows["diagnosis"] = each(diagnosis, clean_diagnosis)
    others = [one for one in COLUMNS["image_id"] if one in raw.columns and one != found["image_id"]]
    return Table(
        name=name,
        columns=tuple(map(str, raw.columns)),
        rows=rows.astype(object).where(rows.notna(), None),
        other_ids=() if "image_id" in by_hand else tuple(each(raw[one], clean) for one in others),
        flags=tuple(one for one in _FLAGS if one in raw.columns and is_flag(raw[one])),
        notes=(*notes, *unknown, *_describe_unread(names, name, has_split=found["given_split"] is not None)),
    )


def _describe_unread(names: Sequence[str], name: str, *, has_split: bool) -> list[str]:
    """Say which columns aren't read though their names may mean something."""
    table, notes = name.rsplit("/", 1)[-1], []
    numbered = {one.rpartition(".")[0] for one in names if re.search(r"\.\d+$", one)}  # as pandas calls a second one
    repeated = sorted({one for one in names if names.count(one) > 1} | numbered & set(names))
    if repeated:
        notes.append(f"{table}: of several columns called {', '.join(repeated)} the first is read")
    like_split = next((one for one in _LIKE_SPLITS if one in names), None)
    if like_split is not None and not has_split:
        notes.append(
            f"{table}: the column {like_split} may tell a split, and isn't read: give a column split with train, val "
            "or test"
        )
    return notes


def _read_diagnosis(
    raw: pd.DataFrame, plain: pd.Series, name: str, taxonomy: Taxonomy, *, is_strict: bool
) -> tuple[pd.Series, list[str]]:
    """Return the table's word for each row, and which rows are of several diagnoses or contradict themselves."""
    one_hot, why_not = find_one_hot(raw, plain, taxonomy)
    is_several = pd.Series(data=False, index=raw.index) if is_strict else rows_of_several(raw, one_hot)
    try:
        words = tell_diagnosis(raw[~is_several], plain[~is_several], one_hot, taxonomy).reindex(raw.index)
    except DataError as error:
        msg = f"metadata table {name}: {error}"
        raise DataError(msg) from error
    table, notes = name.rsplit("/", 1)[-1], []
    if why_not is not None:
        notes.append(f"{table}: {why_not}")
    if is_several.any():
        notes.append(
            f"{table}: {count(int(is_several.sum()), 'row has', 'rows have')} several diagnoses, which tell none"
        )
    differ = rows_that_contradict(raw, words, taxonomy)
    if differ.any():
        told = ", ".join(f"{word!r} ({count:,})" for word, count in words[differ].value_counts().head(5).items())
        notes.append(
            f"{table}: {count(int(differ.sum()), 'row says', 'rows say')} of a diagnosis that it is benign where it is "
            f"malignant, or the other way round; the diagnosis counts: {told}"
        )
    return words, notes


def _read_cells(raw: pd.DataFrame, rows: pd.DataFrame, name: str) -> tuple[pd.DataFrame, list[str]]:
    """Return what the cells mean, but for the diagnosis, and what they say that isn't understood."""
    texts = rows.apply(each, function=clean)
    cells = texts.copy()
    for level in (*_SITE_LEVELS, "anatom_site_special"):
        if level in raw.columns:
            cells["site"] = cells["site"].where(cells["site"].notna(), each(raw[level], clean))
    notes = []
    readers: tuple[tuple[str, str, Callable[[object], object]], ...] = (
        ("age", "age", parse_age),
        ("sex", "sex", parse_sex),
        ("given_split", "split", parse_split),
    )
    for column, what, parse in readers:
        cells[column] = each(texts[column], parse)
        is_lost = texts[column].notna() & cells[column].isna()
        if column == "age":
            is_lost &= ~texts[column].map(is_no_age).astype(bool)
        notes += describe_words(name, what, texts.loc[is_lost, column])
    for column in ("lesion_id", "patient_id"):
        cells[column] = each(texts[column], clean_group)
    return cells, notes


def without_unknown(table: Table, taxonomy: Taxonomy) -> Table:
    """Return a table that was found, and not given, without the words that the taxonomy doesn't know; they are told."""
    words = table.rows["diagnosis"]
    is_unknown = words.notna() & ~words.map(lambda word: word is not None and taxonomy.knows(word)).astype(bool)
    if not is_unknown.any():
        return table
    hint = ""
    if words[is_unknown].nunique() == 1:
        hint = _nearest(str(words[is_unknown].iloc[0]), taxonomy)
    name = table.name.rsplit("/", 1)[-1]
    told = ", ".join(f"{word!r} ({count:,})" for word, count in words[is_unknown].value_counts().head(5).items())
    number = int(is_unknown.sum())
    rows, so = count(number, "row has", "rows have"), "it tells" if number == 1 else "they tell"
    note = (
        f"{name}: {rows} a word for the lesion that is unknown, so {so} no diagnosis: {told}{hint}; a taxonomy table "
        "can add it"
    )
    rows_left = table.rows.assign(diagnosis=words.where(~is_unknown, None))
    return replace(table, rows=rows_left, notes=(*table.notes, note))


def _nearest(word: str, taxonomy: Taxonomy) -> str:
    near = taxonomy.nearest(word)
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def with_splits_of_names(tables: Sequence[Table]) -> list[Table]:
    """Return the tables, with the splits that their names give where several do: ``train.csv`` and ``test.csv``."""
    named = {table.name: parse_split(PurePosixPath(table.name).stem, _BESIDE_IN_TABLES) for table in tables}
    if len({split for split in named.values() if split is not None}) < 2:
        return list(tables)
    return [
        replace(table, rows=table.rows.assign(given_split=table.rows["given_split"].fillna(split).astype(object)))
        if (split := named[table.name]) is not None
        else table
        for table in tables
    ]


def _normalize_name(name: object) -> str:
    return re.sub(r"[\s\-]+", "_", str(name).replace("\ufeff", "").strip().strip("\"'").strip().lower())


def _find_columns(raw: pd.DataFrame) -> dict[str, str | None]:
    """Return our columns and the raw table's name of each, or none."""
    found = {ours: next((n for n in theirs if n in raw.columns), None) for ours, theirs in COLUMNS.items()}
    splits = [name for name in COLUMNS["given_split"] if name in raw.columns]
    telling = [name for name in splits if any(parse_split(word) for word in raw[name].dropna().unique())]
    found["given_split"] = next(iter([*telling, *(name for name in splits if name not in _DOUBTFUL_SPLITS)]), None)
    return found
