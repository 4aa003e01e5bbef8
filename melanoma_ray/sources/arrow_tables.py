"""The columns of a Parquet file as a table under our column names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

import pandas as pd
import pyarrow as pa

from melanoma_ray.diagnoses import Taxonomy
from melanoma_ray.sources.tables import Table, normalize_table


def table_of_arrow(
    raw: pa.Table, name: str, taxonomy: Taxonomy, named: Mapping[str, str] | None = None
) -> tuple[Table, str | None]:
    """Return the columns that a container brings for its own rows, class numbers as their names.

    Numbers that nothing in the file names tell no diagnosis; the second value says so.
    """
    frame = pd.DataFrame({column: _plain_values(raw.column(column)) for column in raw.column_names}, dtype=object)
    names = _class_names(raw.schema)
    for column in names:
        if column in frame.columns:
            frame[column] = frame[column].map(
                lambda number, known=names[column]: known[int(number)] if _is_class(number, known) else number
            )
    table = normalize_table(frame, name, taxonomy, named, needs_id=False, is_strict=False)
    words = table.rows["diagnosis"].dropna().unique()
    if len(words) and all(re.fullmatch(r"\d+(\.0)?", str(word)) for word in words):
        table.rows["diagnosis"] = None
        told = ", ".join(map(str, words[:5]))
        return table, f"the diagnoses in {name} are numbers ({told}), and the file doesn't name them: they aren't used"
    return table, None


def _plain_values(column: pa.ChunkedArray) -> pd.Series:
    """Return a column's values, none for null; lists and structs as texts, since none of ours is one."""
    if pa.types.is_nested(column.type):
        return pd.Series([None if value is None else str(value) for value in column.to_pylist()], dtype=object)
    values: pd.Series = column.to_pandas().astype(object)
    return values.where(values.notna(), None)


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
