"""Which columns of a table tell the diagnosis, and how: one word, a hierarchy, one-hot columns, or only malignancy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from melanoma_ray.diagnoses import Taxonomy, is_coarse
from melanoma_ray.errors import DataError
from melanoma_ray.sources.cells import clean, clean_diagnosis
from melanoma_ray.wording import count

_LEVELS = [[f"{stem}_{level}" for level in range(5, 0, -1)] for stem in ("diagnosis", "iddx")]
"""From the finest to the coarsest: the archive's own client, and ISIC 2024."""
_MOST_KNOWN, _MOST_ONES = 0.5, 0.5
"""Shares of the rows: with a known word in the column of diagnoses, from which that column counts and no one-hot ones;
and with exactly one 1, below which columns of yes and no are of something else, such as the patient's history."""
_ISIC_2017 = frozenset({"melanoma", "seborrheic_keratosis"})
_TRUE, _FALSE = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no", ""})


def each(column: pd.Series, function: Callable[[Any], object]) -> pd.Series:
    """Return what the function makes of each value; none stays none, which pandas' own map would make NaN."""
    return pd.Series([function(value) for value in column], index=column.index, dtype=object)


def tell_diagnosis(raw: pd.DataFrame, plain: pd.Series, one_hot: list[str], taxonomy: Taxonomy) -> pd.Series:
    """Return the table's word for each row: of one-hot columns, a hierarchy, one column, or whether it is malignant.

    A word that the taxonomy doesn't know gives way to one that says at least benign or malignant.

    Args:
        raw: The table under its own names.
        plain: Its column of diagnoses, or nothing.
        one_hot: Its one-hot columns, from ``find_one_hot``; none: it has none.
        taxonomy: Says which words are diagnoses.

    Raises:
        DataError: One-hot rows with more than one 1; the message doesn't name the table.
    """
    coarse = _coarse(raw)
    if one_hot:
        return _from_one_hot(raw, one_hot)
    for levels in _LEVELS:
        present = [level for level in levels if level in raw.columns]
        if present:
            plain = _finest(raw[present].apply(each, function=clean_diagnosis), taxonomy).fillna(plain)
    pairs = zip(each(plain, clean_diagnosis), coarse, strict=True)
    return pd.Series([_prefer(word, other, taxonomy) for word, other in pairs], index=raw.index, dtype=object)


def rows_that_contradict(raw: pd.DataFrame, words: pd.Series, taxonomy: Taxonomy) -> pd.Series:
    """Tell the rows whose diagnosis can't be benign, or malignant, as another column of the table says it is."""
    coarse = _coarse(raw)
    pairs = list(zip(coarse, words, strict=True))
    differ = {
        pair: isinstance(pair[0], str)
        and isinstance(pair[1], str)
        and is_coarse(pair[0])
        and taxonomy.knows(pair[1])
        and not is_coarse(pair[1])
        and taxonomy.contradicts(pair[0], pair[1])
        for pair in set(pairs)
    }
    return pd.Series([differ[pair] for pair in pairs], index=raw.index)


def find_one_hot(raw: pd.DataFrame, plain: pd.Series, taxonomy: Taxonomy) -> tuple[list[str], str | None]:
    """Return the one-hot columns of a table, and why columns that look like it aren't taken for such.

    Args:
        raw: The table under its own names.
        plain: Its column of diagnoses, or nothing.
        taxonomy: Says which words are diagnoses.
    """
    columns = [str(one) for one in raw.columns if taxonomy.knows(str(one)) and is_flag(raw[one])]
    if len(columns) < 2:
        return [], None
    told = f"the columns {', '.join(columns)} of yes and no aren't read as diagnoses"
    known = sum(word is not None and taxonomy.knows(str(word)) for word in each(plain, clean_diagnosis))
    if known >= _MOST_KNOWN * len(raw):
        return [], f"{told}, since a column of its own tells them"
    num_ones = raw[columns].map(_is_one).sum(axis=1)
    if (num_ones > 0).mean() < _MOST_ONES and set(columns) != _ISIC_2017:
        return [], f"{told}, since {int((num_ones == 0).sum()):,} of {count(len(raw), 'row')} have a 1 in none of them"
    return columns, None


def rows_of_several(raw: pd.DataFrame, one_hot: list[str]) -> pd.Series:
    """Tell the rows whose one-hot columns have more than one 1."""
    return raw[one_hot].map(_is_one).sum(axis=1) > 1


def is_flag(column: pd.Series) -> bool:
    """Tell a column of yes and no."""
    values = set(column.map(lambda value: "" if value is None else str(value).strip().lower()))
    return values <= _TRUE | _FALSE | {"nan"} and bool(values & _TRUE | values & (_FALSE - {""}))


def _is_one(value: object) -> bool:
    return str(value).strip().lower() in _TRUE


def _prefer(word: str | None, coarse: str | None, taxonomy: Taxonomy) -> str | None:
    """Return a table's word, or in its place what is said of malignancy, where only that means one of the diagnoses."""
    if coarse is None or (word is not None and taxonomy.knows(word) and taxonomy.parse(word) is not None):
        return word
    return coarse if word is None or not taxonomy.knows(word) or taxonomy.parse(coarse) is not None else word


def _coarse(raw: pd.DataFrame) -> pd.Series:
    """Return what a table says of malignancy alone, or nothing."""
    found = pd.Series([None] * len(raw), index=raw.index, dtype=object)
    if "benign_malignant" in raw.columns:
        found = each(raw["benign_malignant"], clean)
        if "target" in raw.columns:  # ISIC 2020: the target is melanoma
            found = found.mask(each(raw["target"], clean) == "1", "melanoma")
    elif "malignant" in raw.columns:
        flags = each(raw["malignant"], lambda value: str(value).strip().lower())
        found = each(flags, lambda flag: "malignant" if flag in _TRUE else "benign" if flag in _FALSE - {""} else None)
    return found.astype(object).where(found.notna(), None)


def _from_one_hot(raw: pd.DataFrame, codes: list[str]) -> pd.Series:
    """Return the name of each row's column with a 1.

    ISIC 2017 has columns for two diagnoses only: a row without a 1 is a nevus there. Elsewhere a row of zeros tells
    nothing.
    """
    ones = raw[codes].map(_is_one)
    wrong = ones.sum(axis=1) > 1
    if wrong.any():
        first = raw.loc[wrong, codes].iloc[0].to_dict()
        msg = f"{count(int(wrong.sum()), 'row')} with more than one 1 in {'/'.join(codes)}: {first}"
        raise DataError(msg)
    is_isic_2017 = set(codes) == _ISIC_2017
    words = ones.idxmax(axis=1).astype(object).where(ones.any(axis=1), "nevus" if is_isic_2017 else None)
    return each(words, lambda word: None if word is None else str(word))


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
