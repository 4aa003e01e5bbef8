"""Text tables in whatever dialect a spreadsheet or an archive wrote them: texts under the names of their columns."""

from __future__ import annotations

import csv
import io
import json
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import pandas as pd

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy, decode_text
from melanoma_ray.errors import DataError
from melanoma_ray.sources.fhir_tables import FHIR_ENDINGS, parse_fhir
from melanoma_ray.wording import count

_DELIMITERS = ",;\t|"
_SEP_LINE = re.compile(r"^\"?sep=(.)\"?[;,\t]*\r?\n", re.IGNORECASE)
"""Excel's own first line, which names the delimiter."""
_MAX_TITLE_LINES = 10
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
"""Letters without a width, which come along from web pages and word processors."""
_QUOTE_MINIMAL: Literal[0] = csv.QUOTE_MINIMAL
_QUOTE_NONE: Literal[3] = csv.QUOTE_NONE

IsHeader = Callable[[Sequence[str]], bool]
"""Tells whether cells are the names of a table's columns."""


def read_text_table(name: str, taxonomy: Taxonomy, is_header: IsHeader) -> tuple[pd.DataFrame, list[str]]:
    """Return a file's cells as texts, and what of it couldn't be read.

    Args:
        name: Path of a CSV, TSV, JSON-lines, FHIR or PH2 table, local or such as s3://bucket/table.csv.
        taxonomy: Says which words are diagnoses, where a table has no line of names.
        is_header: Tells the line of names, which titles may stand before.

    Raises:
        DataError: It isn't there, or isn't a table.
    """
    try:
        content = storage.read_bytes(name)
    except FileNotFoundError as error:
        msg = f"metadata table {name}: not found"
        raise DataError(msg) from error
    except OSError as error:
        msg = f"metadata table {name}: can't be read ({error.strerror or error}); give a CSV file"
        raise DataError(msg) from error
    text = decode_text(content).translate(_INVISIBLE)
    if "\0" in text[:4096]:
        msg = f"metadata table {name}: not a text table; save it as CSV"
        raise DataError(msg)
    try:
        lost: list[list[str]] = []
        is_json = name.lower().endswith(".jsonl")
        if name.lower().endswith(FHIR_ENDINGS):
            return _read_fhir(name, text, taxonomy)
        raw = _parse_json_lines(text) if is_json else _parse(text, taxonomy, is_header, lost)
    except (ValueError, csv.Error) as error:
        msg = f"metadata table {name}: not a CSV table ({str(error).strip()})"
        raise DataError(msg) from error
    return raw, [*_describe_lost(name, lost), *_describe_swallowed(name, text, raw)]


def _read_fhir(name: str, text: str, taxonomy: Taxonomy) -> tuple[pd.DataFrame, list[str]]:
    try:
        raw, notes = parse_fhir(text, taxonomy)
    except ValueError as error:
        msg = f"metadata table {name}: neither FHIR nor a list of records ({error})"
        raise DataError(msg) from error
    table = name.rsplit("/", 1)[-1]
    return raw, [f"{table}: {note}" for note in notes]


def _describe_swallowed(name: str, text: str, raw: pd.DataFrame) -> list[str]:
    """Say which cells have lines in them that look like rows: two quotation marks without their other halves."""
    if sum(1 for line in text.splitlines() if line.strip()) <= len(raw) + 1:
        return []
    pattern = re.compile(rf"\n(?:[^\n,;\t|]*[,;\t|]){{{max(2, raw.shape[1] - 1)}}}")
    number = sum(len(pattern.findall(str(cell))) for name in raw.columns for cell in raw[name] if "\n" in str(cell))
    if not number:
        return []
    table = name.rsplit("/", 1)[-1]
    return [
        f"{table}: {number:,} lines within quotation marks look like rows, and aren't read as such: is a mark missing?"
    ]


def _describe_lost(name: str, lost: Sequence[Sequence[str]]) -> list[str]:
    if not lost:
        return []
    rows = count(len(lost), "row has", "rows have")
    table, first = name.rsplit("/", 1)[-1], ",".join(lost[0])[:60]
    return [f"{table}: {rows} more cells than there are columns, and can't be read: {first!r}; put quotes around texts"]


def _parse(text: str, taxonomy: Taxonomy, is_header: IsHeader, lost: list[list[str]]) -> pd.DataFrame:
    """Return the cells; rows of too many go to ``lost``."""
    if text.lstrip().startswith("||"):
        return _parse_ph2(text)
    named = _SEP_LINE.match(text)
    text = _without_titles(text[named.end() :] if named else text, is_header)
    first = next(iter(text.splitlines()), "")
    delimiter = named[1] if named else max(_DELIMITERS, key=first.count)
    raw = _read_csv(text, delimiter, lost)
    cells = _cells(first, delimiter)
    words = [*cells[1:], *(raw.iloc[0, 1:].map(str) if len(raw) and raw.shape[1] > 1 else [])]
    if len(cells) == 2 and not taxonomy.knows(cells[0]) and all(taxonomy.knows(word) for word in words):
        # ISIC 2016's truth has no line of names: its first line is an image already.
        return pd.read_csv(
            io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, header=None, names=["image_id", "dx"]
        )
    return raw


def _read_csv(
    text: str, delimiter: str, lost: list[list[str]], *, quoting: Literal[0, 3] = _QUOTE_MINIMAL
) -> pd.DataFrame:
    """Return the cells under the names of the first line, by pandas' fast parser where no row has too many."""

    def trim(cells: list[str]) -> list[str] | None:
        if not any(cell.strip() for cell in cells[num_columns:]):
            return cells[:num_columns]
        lost.append(cells)
        return None

    with warnings.catch_warnings():
        # index_col=False: rows that end in a comma too many aren't shifted by one column, which pandas warns of.
        warnings.simplefilter("ignore", pd.errors.ParserWarning)
        try:
            return pd.read_csv(
                io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, index_col=False, quoting=quoting
            )
        except pd.errors.ParserError as error:
            if "EOF inside string" in str(error):  # a quotation mark without its other half: none of them quotes
                raw = _read_csv(text, delimiter, lost, quoting=_QUOTE_NONE)
                return raw.map(lambda cell: cell.strip().strip('"') if isinstance(cell, str) else cell)
            num_columns = len(next(csv.reader(io.StringIO(text), delimiter=delimiter)))
            return pd.read_csv(
                io.StringIO(text),
                sep=delimiter,
                dtype=str,
                keep_default_na=False,
                index_col=False,
                engine="python",
                quoting=quoting,
                on_bad_lines=trim,
            )


def _cells(line: str, delimiter: str) -> list[str]:
    return [cell.strip().strip('"').strip() for cell in line.strip("\r\n").split(delimiter)]


def _without_titles(text: str, is_header: IsHeader) -> str:
    """Return a table from its line of names on; where none of the first lines is one, all of it."""
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines[: _MAX_TITLE_LINES + 1]):
        if is_header(_cells(line, max(_DELIMITERS, key=line.count))):
            return "".join(lines[number:])
    return text


def _parse_json_lines(text: str) -> pd.DataFrame:
    """Return metadata.jsonl of a Hugging Face image folder: an object a line."""
    rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        msg = "a line isn't a JSON object"
        raise ValueError(msg)
    texts = [{str(name): "" if value is None else str(value) for name, value in row.items()} for row in rows]
    return pd.DataFrame(texts, dtype=object).fillna("")


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
