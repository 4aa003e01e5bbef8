"""Images whose diagnosis neither a folder nor a table tells: which they are, and what a person can give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pandas as pd

from melanoma_ray.errors import DataError
from melanoma_ray.sources.cells import parse_split
from melanoma_ray.sources.tables import COLUMNS, Table
from melanoma_ray.wording import count

_NAMES_OF_DIAGNOSES = frozenset(COLUMNS["diagnosis"])
_MOST_UNTOLD = 0.5
"""Share of the images without a diagnosis above which it is rather the layout that wasn't understood."""


def check_diagnoses(frame: pd.DataFrame, untold: pd.DataFrame, tables: Sequence[Table], notes: Sequence[str]) -> None:
    """Refuse a source that wasn't understood: most images for which no table has a row are without a diagnosis."""
    if len(untold) <= _MOST_UNTOLD * len(frame):
        return
    example = untold["path"].iloc[0].rsplit("/", 1)[-1]
    what = f"{len(untold):,} of {count(len(frame), 'image')} in {frame['source'].iloc[0]}, such as {example},"
    folders = sorted({one[-2] for one in untold["parts"] if len(one) > 1 and parse_split(one[-2]) is None})
    where = f" (but in {', '.join(folders[:5])})" if folders else ""
    lie = f"lie in no folder named after a diagnosis{where}"
    why = f"; {'; '.join(dict.fromkeys(notes))}" if notes else ""
    if tables:
        names = ", ".join(dict.fromkeys(table.name.rsplit("/", 1)[-1] for table in tables))
        msg = f"{what} {lie}, and the tables ({names}) don't tell theirs{why}; {_advise(tables)}"
    else:
        msg = (
            f"{what} {lie}, and no table tells theirs{why}; sort them into such folders, give "
            "--metadata with their diagnoses, or add the folders' words with --taxonomy"
        )
    raise DataError(msg)


def _advise(tables: Sequence[Table]) -> str:
    """Say what to give where tables were read and tell no diagnosis."""
    silent = [table for table in tables if table.rows["diagnosis"].isna().all()]
    if len(silent) < len(tables):
        return "are they the right tables?"
    flag = next(((table, name) for table in silent for name in table.flags), None)
    if flag is not None:
        table, name = flag[0].name.rsplit("/", 1)[-1], flag[1]
        return (
            f"the column {name} of {table} has only yes and no (1, 0): if yes means malignant, give --columns "
            f"diagnosis={name} --taxonomy benign-malignant; if it means melanoma, --taxonomy melanoma-other"
        )
    if any(not table.rows.size for table in silent):
        return "are there no rows below the names of their columns?"
    if any(_NAMES_OF_DIAGNOSES & set(table.columns) for table in silent):
        return "no word in their columns of diagnoses is understood; add the words with --taxonomy"
    columns = "; ".join(f"{table.name.rsplit('/', 1)[-1]} has {', '.join(table.columns)}" for table in silent)
    return f"no column of theirs is known as the diagnosis ({columns}): name it with --columns diagnosis=COLUMN"


def describe_untold(frame: pd.DataFrame) -> list[str]:
    """Say which images are left out for want of a diagnosis."""
    untold = frame[frame["word"].isna()]
    if untold.empty:
        return []
    folders = Counter(one[-2] if len(one) > 1 else "no folder" for one in untold["parts"])
    told = ", ".join(f"{count:,} in {name}" for name, count in folders.most_common(5))
    what = count(len(untold), "image is", "images are")
    return [f"{what} left out, since no folder and no table tells the diagnosis ({told})"]
