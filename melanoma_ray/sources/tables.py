"""Metadata tables of every collection, in whatever dialect a spreadsheet or an archive wrote them.

Here a file becomes a table of texts whose columns have our names; ``matching`` joins it to images. docs/layouts.md has
an example of each.
"""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy, decode_text, is_coarse
from melanoma_ray.errors import ConfigError, DataError

COLUMNS = {
    "image_id": (
        *("isic_id", "image_id", "img_id", "image", "image_name", "filename", "file_name", "bcn_filename", "ddi_file"),
        *("image_path", "image_file", "img", "derm", "name", "md5hash", "path", "file"),
    ),
    "diagnosis": (
        *(
            "diagnosis",
            "dx",
            "diagnostic",
            "label",
            "disease",
            "clinical_diagnosis",
            "class",
            "class_name",
            "target_name",
        ),
        *("cell_type", "diagnosis_name"),
    ),
    "lesion_id": ("lesion_id", "lesion", "case_num"),
    "patient_id": ("patient_id", "patient", "subject_id"),
    "age": ("age", "age_approx", "patient_age"),
    "sex": ("sex", "gender", "patient_sex"),
    "site": (
        *("site", "localization", "localisation", "anatom_site_general", "anatom_site_general_challenge"),
        *("anatomical_site", "anatom_site", "body_site", "location", "region"),
    ),
    "attribution": ("attribution",),
    "image_type": ("image_type",),
    "given_split": ("split", "partition"),
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
_LEVELS = [[f"{stem}_{level}" for level in range(5, 0, -1)] for stem in ("diagnosis", "iddx")]
"""From the finest to the coarsest: the archive's own client, and ISIC 2024."""
_SITE_LEVELS = [f"anatom_site_{level}" for level in range(5, 0, -1)]
"""Of the archive's own client since May 2026, the finest first."""
_MISSING = frozenset(
    {
        *("", "-", "--", "?", ".", "na", "n/a", "#n/a", "nan", "nat", "none", "null", "nil", "unknown", "undefined"),
        *("missing", "not available", "not specified", "unspecified", "not known", "unk", "<na>"),
    }
)
"""Words for a value that isn't known, in any case. For a diagnosis, ``unknown`` and ``unk`` are words of their own:
ISIC 2019 and 2020 mean "none of the others" by them."""
_DIAGNOSIS_WORDS = frozenset({"unknown", "unk"})
_SEXES = {"female": "female", "f": "female", "woman": "female", "w": "female"} | dict.fromkeys(
    ("male", "m", "man"), "male"
)
_AGE = re.compile(r"^(\d{1,3}(?:[.,]\d+)?)\s*(?:\+|y|yr|yrs|years?|years old)?\.?$")
_AGE_RANGE = re.compile(r"^(?:(\d{1,3})\s*(?:-|–|to)\s*(\d{1,3})|[\[(](\d{1,3})\s*[,-]\s*(\d{1,3})[\])])$")
_OLDEST = 120.0
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words for a split, in small letters: of folders, of a column, of a Parquet file's name."""
_TRUE, _FALSE = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no", ""})


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """One table under our column names; all values are texts, ages numbers, and null where nothing is known."""

    name: str
    columns: tuple[str, ...]
    """The table's own names of its columns, in small letters."""
    rows: pd.DataFrame
    """With all of ``COLUMNS``. ``image_id`` is as the table has it, or null in a table of lesions."""

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
    named = {}
    for word in given:
        ours, _, theirs = word.partition("=")
        if ours not in NAMEABLE or not theirs:
            msg = f"columns {word!r}: expected one of {', '.join(NAMEABLE)}, then = and the table's name of the column"
            raise ConfigError(msg)
        named[NAMEABLE[ours]] = theirs
    return named


def check_named(tables: Sequence[Table], named: Mapping[str, str]) -> None:
    """Refuse a column named by hand that no table has.

    Raises:
        DataError: The first that is missing.
    """
    for theirs in named.values():
        if not any(_normalize_name(theirs) in table.columns for table in tables):
            have = "; ".join(f"{table.name} has {', '.join(table.columns)}" for table in tables) or "there is no table"
            msg = f"columns: no table has a column {theirs!r} ({have})"
            raise DataError(msg)


def read_table_file(name: str, taxonomy: Taxonomy, named: Mapping[str, str] | None = None) -> Table:
    """Read one file.

    Args:
        name: Path of a text table, local or such as s3://bucket/table.csv.
        taxonomy: Says which words are diagnoses.
        named: Columns that the user named: ours → the table's.

    Raises:
        DataError: It isn't there, isn't a table, or has no column that tells which image or lesion a row is about.
    """
    return normalize_table(_read_text_table(name, taxonomy), name, taxonomy, named)


def normalize_table(
    raw: pd.DataFrame, name: str, taxonomy: Taxonomy, named: Mapping[str, str] | None = None, *, needs_id: bool = True
) -> Table:
    """Return a table under our column names; ``diagnosis`` stays the table's own word.

    Args:
        raw: Texts under the table's own names.
        name: Of its file, for messages.
        taxonomy: Says which words are diagnoses, and so which columns are one-hot.
        named: Columns that the user named: ours → the table's.
        needs_id: False for the columns of a container, whose rows are its images.

    Raises:
        DataError: No column with ids, a column that the user named isn't there, or one-hot rows without exactly one 1.
    """
    originals = {_normalize_name(column): str(column).strip() for column in reversed(raw.columns)}
    raw = raw.rename(columns={column: _normalize_name(column) for column in raw.columns})
    raw = raw.loc[:, ~raw.columns.duplicated()]
    found = _find_columns(raw, named or {})
    if needs_id and found["image_id"] is None and found["lesion_id"] is None:
        msg = (
            f"metadata table {name}: has columns {', '.join(map(str, raw.columns)) or 'none'}, none of which holds the "
            f"images' ids (such as {', '.join(COLUMNS['image_id'][:4])}); name it with --columns image=COLUMN"
        )
        raise DataError(msg)
    rows = pd.DataFrame(
        {ours: raw[theirs] if theirs else None for ours, theirs in found.items()}, index=raw.index, dtype=object
    )
    diagnosis = rows["diagnosis"]
    if "diagnosis" not in (named or {}) or found["diagnosis"] != _normalize_name((named or {})["diagnosis"]):
        diagnosis = _diagnosis(raw, diagnosis, name, taxonomy)
    if found["diagnosis"] is None:
        diagnosis = _each(diagnosis, lambda word: originals.get(word, word))  # one-hot columns, as they are written
    ages = _each(rows["age"], parse_age)
    rows = rows.apply(_each, function=clean)
    rows["diagnosis"], rows["age"] = _each(diagnosis, _clean_diagnosis), ages
    levels = [level for level in (*_SITE_LEVELS, "anatom_site_special") if level in raw.columns]
    for level in levels:
        rows["site"] = rows["site"].where(rows["site"].notna(), _each(raw[level], clean))
    rows["sex"] = _each(rows["sex"], lambda word: _SEXES.get(str(word).lower()))
    return Table(name=name, columns=tuple(map(str, raw.columns)), rows=rows.astype(object).where(rows.notna(), None))


def _each(column: pd.Series, function: Callable[[Any], object]) -> pd.Series:
    """Return what the function makes of each value; none stays none, which pandas' own map would make NaN."""
    return pd.Series([function(value) for value in column], index=column.index, dtype=object)


def clean(value: object) -> str | None:
    """Return a text without spaces around it, or none for a placeholder such as ``N/A``.

    >>> clean(" Male "), clean("N/A"), clean(float("nan"))
    ('Male', None, None)
    """
    text = "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 - NaN
    return None if text.lower() in _MISSING else text


def _clean_diagnosis(value: object) -> str | None:
    text = "" if value is None or value != value else str(value).strip()  # noqa: PLR0124 - NaN
    return text if text.lower() in _DIAGNOSIS_WORDS else clean(text)


def parse_age(value: object) -> float | None:
    """Return years; none for what isn't an age of a person: 0, -1, 999, words.

    >>> parse_age("85+"), parse_age("45 years"), parse_age("40-49"), parse_age("0"), parse_age("-1"), parse_age("fifty")
    (85.0, 45.0, 44.5, None, None, None)
    """
    text = (clean(value) or "").lower()
    if (one := _AGE.match(text)) is not None:
        years = float(one[1].replace(",", "."))
    elif (ends := _AGE_RANGE.match(text)) is not None:
        years = sum(float(end) for end in ends.groups() if end) / 2
    else:
        return None
    return years if 0 < years <= _OLDEST else None


def _normalize_name(name: object) -> str:
    return re.sub(r"[\s\-]+", "_", str(name).replace("\ufeff", "").strip().strip("\"'").lower())


def _find_columns(raw: pd.DataFrame, named: Mapping[str, str]) -> dict[str, str | None]:
    """Return our columns and the raw table's name of each, or none."""
    found = {ours: next((n for n in theirs if n in raw.columns), None) for ours, theirs in COLUMNS.items()}
    for ours, theirs in named.items():
        if _normalize_name(theirs) in raw.columns:
            found[ours] = _normalize_name(theirs)
    return found


def _diagnosis(raw: pd.DataFrame, plain: pd.Series, name: str, taxonomy: Taxonomy) -> pd.Series:
    """Return the table's word for each row: of one-hot columns, a hierarchy, one column, or whether it is malignant.

    A word that the taxonomy doesn't know gives way to one that says at least benign or malignant.
    """
    coarse = _coarse(raw)
    one_hot = [column for column in raw.columns if taxonomy.knows(str(column)) and _is_flag(raw[column])]
    if len(one_hot) >= 2:
        return _from_one_hot(raw, one_hot, name)
    for levels in _LEVELS:
        present = [level for level in levels if level in raw.columns]
        if present:
            plain = _finest(raw[present].apply(_each, function=_clean_diagnosis), taxonomy).fillna(plain)
    words = _each(plain, _clean_diagnosis)
    pairs = zip(words, coarse, strict=True)
    return pd.Series([_prefer(word, other, taxonomy) for word, other in pairs], index=raw.index, dtype=object)


def _prefer(word: str | None, coarse: str | None, taxonomy: Taxonomy) -> str | None:
    """Return a table's word, or in its place what is said of malignancy, where only that means one of the diagnoses."""
    if coarse is None or (word is not None and taxonomy.knows(word) and taxonomy.parse(word) is not None):
        return word
    return coarse if word is None or not taxonomy.knows(word) or taxonomy.parse(coarse) is not None else word


def _coarse(raw: pd.DataFrame) -> pd.Series:
    """Return what a table says of malignancy alone, or nothing."""
    found = pd.Series([None] * len(raw), index=raw.index, dtype=object)
    if "benign_malignant" in raw.columns:
        found = _each(raw["benign_malignant"], clean)
        if "target" in raw.columns:  # ISIC 2020: the target is melanoma
            found = found.mask(_each(raw["target"], clean) == "1", "melanoma")
    elif "malignant" in raw.columns:
        flags = _each(raw["malignant"], lambda value: str(value).strip().lower())
        found = _each(flags, lambda flag: "malignant" if flag in _TRUE else "benign" if flag in _FALSE - {""} else None)
    return found.astype(object).where(found.notna(), None)


def _is_flag(column: pd.Series) -> bool:
    """Tell a column of yes and no."""
    values = set(column.map(lambda value: "" if value is None else str(value).strip().lower()))
    return values <= _TRUE | _FALSE | {"nan"} and bool(values & _TRUE | values & (_FALSE - {""}))


def _from_one_hot(raw: pd.DataFrame, codes: list[str], name: str) -> pd.Series:
    """Return the name of each row's column with a 1.

    ISIC 2017 has columns for two diagnoses only: a row without a 1 is a nevus there. Elsewhere a row of zeros tells
    nothing.
    """
    ones = raw[codes].map(lambda value: str(value).strip().lower() in _TRUE)
    wrong = ones.sum(axis=1) > 1
    if wrong.any():
        first = raw.loc[wrong, codes].iloc[0].to_dict()
        msg = f"metadata table {name}: {int(wrong.sum())} rows with more than one 1 in {'/'.join(codes)}: {first}"
        raise DataError(msg)
    is_isic_2017 = set(codes) == {"melanoma", "seborrheic_keratosis"}
    words = ones.idxmax(axis=1).astype(object).where(ones.any(axis=1), "nevus" if is_isic_2017 else None)
    return _each(words, lambda word: None if word is None else str(word))


def _finest(levels: pd.DataFrame, taxonomy: Taxonomy) -> pd.Series:
    """Return the finest word that means one of the diagnoses; else the finest known one; else the finest there is."""
    words = {word for word in pd.unique(levels.to_numpy().ravel()) if isinstance(word, str)}
    known = {word for word in words if taxonomy.knows(word)}
    found = pd.Series([None] * len(levels), index=levels.index, dtype=object)
    for telling in (
        {word for word in known if taxonomy.is_fine(word)},
        {word for word in known if not is_coarse(word)},
        known,
        words,
    ):
        is_telling = levels.isin(telling)
        found = found.where(found.notna(), levels.where(is_telling).bfill(axis=1).iloc[:, 0])
    return found.astype(object).where(found.notna(), None)


def _read_text_table(name: str, taxonomy: Taxonomy) -> pd.DataFrame:
    try:
        content = storage.read_bytes(name)
    except FileNotFoundError as error:
        msg = f"metadata table {name}: not found"
        raise DataError(msg) from error
    except OSError as error:
        msg = f"metadata table {name}: can't be read ({error.strerror or error}); give a CSV file"
        raise DataError(msg) from error
    text = decode_text(content)
    if "\0" in text[:4096]:
        msg = f"metadata table {name}: not a text table; save it as CSV"
        raise DataError(msg)
    try:
        return _parse(text, taxonomy)
    except (ValueError, csv.Error) as error:
        msg = f"metadata table {name}: not a CSV table ({error})"
        raise DataError(msg) from error


def _parse(text: str, taxonomy: Taxonomy) -> pd.DataFrame:
    """Return the cells of a text table, as texts, under the names of its first line."""
    if text.lstrip().startswith("||"):
        return _parse_ph2(text)
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t|", key=first.count)
    with warnings.catch_warnings():
        # index_col=False: rows that end in a comma too many aren't shifted by one column, which pandas warns of.
        warnings.simplefilter("ignore", pd.errors.ParserWarning)
        raw = pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, index_col=False)
    cells = [cell.strip().strip('"') for cell in first.strip().split(delimiter)]
    words = [*cells[1:], *(raw.iloc[0, 1:].map(str) if len(raw) and raw.shape[1] > 1 else [])]
    if len(cells) == 2 and not taxonomy.knows(cells[0]) and all(taxonomy.knows(word) for word in words):
        # ISIC 2016's truth has no line of names: its first line is an image already.
        return pd.read_csv(
            io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, header=None, names=["image_id", "dx"]
        )
    return raw


def _parse_ph2(text: str) -> pd.DataFrame:
    """Return PH2_dataset.txt: cells between ``||``, and codes of a clinical diagnosis."""
    lines = [[cell.strip() for cell in line.strip().strip("|").split("||")] for line in text.splitlines()]
    header, *rows = [cells for cells in lines if len(cells) > 1]
    table = pd.DataFrame(
        [cells[: len(header)] for cells in rows if len(cells) >= len(header)], columns=header, dtype=str
    )
    codes = {"0": "common nevus", "1": "atypical nevus", "2": "melanoma"}
    column = next((name for name in header if "clinical" in name.lower()), None)
    if column is not None:
        table[column] = table[column].map(lambda code: codes.get(code, code))
    return table


def table_of_arrow(
    raw: pa.Table, name: str, taxonomy: Taxonomy, named: Mapping[str, str] | None = None
) -> tuple[Table, str | None]:
    """Return the columns that a container brings for its own rows, class numbers as their names.

    Numbers that nothing in the file names tell no diagnosis; the second value says so.
    """
    frame = raw.to_pandas().astype(object)
    frame = frame.where(frame.notna(), None)
    names = _class_names(raw.schema)
    for column in names:
        if column in frame.columns:
            frame[column] = frame[column].map(
                lambda number, known=names[column]: known[int(number)] if _is_class(number, known) else number
            )
    table = normalize_table(frame, name, taxonomy, named, needs_id=False)
    words = table.rows["diagnosis"].dropna().unique()
    if len(words) and all(re.fullmatch(r"\d+(\.0)?", str(word)) for word in words):
        table.rows["diagnosis"] = None
        told = ", ".join(map(str, words[:5]))
        return table, f"the diagnoses in {name} are numbers ({told}), and the file doesn't name them: they aren't used"
    return table, None


def _is_class(number: object, known: Sequence[str]) -> bool:
    return isinstance(number, int | float) and 0 <= number < len(known)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the class names that Hugging Face's ``datasets`` keeps in a Parquet file's metadata, by column."""
    stored = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = stored.get("info", {}).get("features", {})
    return {
        name: [str(one) for one in feature["names"]]
        for name, feature in features.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }
