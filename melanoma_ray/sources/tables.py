"""Metadata tables of every ISIC collection, recognised by their columns; docs/layouts.md has an example of each."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pandas as pd

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy, load_taxonomy
from melanoma_ray.errors import DataError

logger = logging.getLogger(__name__)

COLUMNS = {
    "image_id": ("image_id", "isic_id", "image", "image_name"),
    "diagnosis": ("diagnosis", "dx", "label"),
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id",),
    "age": ("age", "age_approx"),
    "sex": ("sex",),
    "site": ("site", "localization", "anatom_site_general", "anatom_site_general_challenge"),
    "attribution": ("attribution",),
}
"""Our columns, and what the tables call them."""
_ONE_HOT = ("MEL", "NV", "BCC", "AK", "AKIEC", "BKL", "DF", "VASC", "SCC", "UNK")
"""Of ISIC 2018's task 3 and of ISIC 2019."""
_LEVELS = [[f"{stem}_{level}" for level in range(5, 0, -1)] for stem in ("diagnosis", "iddx")]
"""From the finest to the coarsest: the archive's own client, and ISIC 2024."""
_MISSING = ["", "NA", "nan", "NaN", "null"]
_SEXES = {"female": "female", "f": "female", "male": "male", "m": "male"}
_TABLES_WITHOUT_ENDING = ("HAM10000_metadata",)


def find_tables(folder: str) -> list[str]:
    """Return the CSV files in a folder itself, or, where there are none, beside the folder."""
    for place in (folder, folder.rsplit("/", 1)[0]):
        paths = [info.path for info in storage.list_infos(place, recursive=False)]
        found = [path for path in paths if path.lower().endswith(".csv") or path.endswith(_TABLES_WITHOUT_ENDING)]
        if found:
            return found
    return []


def read_tables(given: Sequence[str], found: Sequence[str], taxonomy: Taxonomy) -> pd.DataFrame:
    """Return what all tables know, by image_id, under our names; an earlier table counts before a later one.

    Args:
        given: By the user: one that isn't a table of images is an error.
        found: Beside the images: one that isn't is left alone.
        taxonomy: Tells which level of a hierarchical diagnosis is the finest one known.

    Raises:
        DataError: A given table isn't there, isn't a CSV, or has no column with the images' ids.
    """
    tables = [normalize_table(_read_csv(name), name, taxonomy) for name in given]
    for name in found:
        try:
            tables.append(normalize_table(_read_csv(name), name, taxonomy))
        except DataError as error:
            logger.info("left alone: %s", error)
    merged = empty_table()
    for table in tables:
        merged = table if merged.empty else merged.combine_first(table)
    return merged.reindex(columns=[*COLUMNS][1:])


def look_up_patients(names: Sequence[str], image_ids: Sequence[str]) -> pd.DataFrame:
    """Return age, sex and site of some images, in their order; null where no table tells.

    Args:
        names: CSV tables; none: nothing is known.
        image_ids: Of the images.

    Raises:
        DataError: A table isn't there, isn't a CSV, or has no column with the images' ids.
    """
    table = read_tables([storage.absolute(name) for name in names], [], load_taxonomy())
    return table.reindex(list(image_ids))[["age", "sex", "site"]].reset_index(drop=True)


def empty_table() -> pd.DataFrame:
    """Return a table without rows."""
    return pd.DataFrame(columns=list(COLUMNS), dtype=object).set_index("image_id")


def _read_csv(name: str) -> pd.DataFrame:
    filesystem, path = storage.resolve(name)
    try:
        with filesystem.open_input_stream(path) as stream:
            return pd.read_csv(stream, dtype=str, keep_default_na=False, na_values=_MISSING)
    except FileNotFoundError as error:
        msg = f"metadata table {name}: not found"
        raise DataError(msg) from error
    except ValueError as error:
        msg = f"metadata table {name}: not a CSV table ({error})"
        raise DataError(msg) from error


def normalize_table(raw: pd.DataFrame, name: str, taxonomy: Taxonomy) -> pd.DataFrame:
    """Return a table under our column names, indexed by image_id; ``diagnosis`` stays the table's own word.

    Raises:
        DataError: It has no column with the images' ids.
    """
    found = {ours: next((n for n in theirs if n in raw.columns), None) for ours, theirs in COLUMNS.items()}
    if found["image_id"] is None:
        msg = (
            f"metadata table {name}: has columns {', '.join(map(str, raw.columns))}, none of which is "
            f"{', '.join(COLUMNS['image_id'])}"
        )
        raise DataError(msg)
    table = pd.DataFrame({ours: raw[theirs] if theirs else None for ours, theirs in found.items()}, dtype=object)
    table["diagnosis"] = _diagnosis(raw, table["diagnosis"], name, taxonomy)
    table["sex"] = table["sex"].astype("string").str.lower().map(_SEXES).astype(object)
    table["age"] = pd.to_numeric(table["age"], errors="coerce")
    table = table.dropna(subset=["image_id"]).drop_duplicates("image_id").set_index("image_id")
    return table.astype(object).where(table.notna(), None)


def _diagnosis(raw: pd.DataFrame, plain: pd.Series, name: str, taxonomy: Taxonomy) -> pd.Series:
    """Return the table's word for each image: of one column, of a hierarchy, of one-hot columns, or of a target."""
    codes = [code for code in _ONE_HOT if code in raw.columns]
    if len(codes) >= 4:
        return _from_one_hot(raw, codes, name)
    for levels in _LEVELS:
        present = [level for level in levels if level in raw.columns]
        if present:
            return _finest(raw[present], taxonomy).fillna(plain)
    if plain.isna().all() and {"target", "benign_malignant"} <= set(raw.columns):
        return raw["target"].map({"1": "melanoma", "0": "benign"})
    return plain


def _from_one_hot(raw: pd.DataFrame, codes: list[str], name: str) -> pd.Series:
    ones = raw[codes].astype(float) == 1
    wrong = ones.sum(axis=1) != 1
    if wrong.any():
        first = raw.loc[wrong].iloc[0].to_dict()
        msg = f"metadata table {name}: {int(wrong.sum())} rows without exactly one 1 in {'/'.join(codes)}: {first}"
        raise DataError(msg)
    return ones.idxmax(axis=1).astype(object)


def _finest(levels: pd.DataFrame, taxonomy: Taxonomy) -> pd.Series:
    """Return the finest word that the taxonomy knows; where it knows none, the finest there is."""
    is_known = {word: taxonomy.knows(word) for word in pd.unique(levels.to_numpy().ravel()) if isinstance(word, str)}
    known = levels.where(levels.map(lambda word: is_known.get(word, False)))
    return known.bfill(axis=1).iloc[:, 0].fillna(levels.bfill(axis=1).iloc[:, 0])
