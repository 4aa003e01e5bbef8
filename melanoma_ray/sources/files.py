"""The images of one source, opened: files and containers become rows, and the tables beside them are found."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy
from melanoma_ray.errors import DataError
from melanoma_ray.sources.containers import SEPARATOR, bytes_column, is_hdf5, list_hdf5
from melanoma_ray.sources.listing import IMAGE_ENDINGS, Listing, is_table, list_source
from melanoma_ray.sources.matching import split_id
from melanoma_ray.sources.tables import COLUMNS, SPLIT_WORDS, Table, read_table_file, table_of_arrow

logger = logging.getLogger(__name__)

_SHARD_SPLIT = re.compile(rf"^({'|'.join(SPLIT_WORDS)})(-\d{{5}}-of-\d{{5}}.*)?\.parquet$", re.IGNORECASE)
"""A Parquet file of a Hugging Face data set, named after its split."""
LEFT_TABLES = "tables that aren't used, since others were given"
TABLES = "tables"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFiles:
    """What a source holds."""

    root: str
    frame: pd.DataFrame
    """One row an image: path, image_id, num_bytes, modified_ns and parts (folders below the source, and name)."""
    own: pd.DataFrame | None
    """What containers say of their own rows, under our column names, indexed as ``frame``; none: there is nothing."""
    container_split: pd.Series
    """Split that a container's file name gives, or none."""
    tables: list[str]
    """Paths of the text tables."""
    parquet_tables: list[Table]
    """Parquet files without images: tables."""
    passed_over: Counter[str]
    notes: list[str]
    """What a person should know of the containers, a sentence each."""

    @property
    def has_own_columns(self) -> bool:
        """Tell whether a container brings columns of its own."""
        return self.own is not None


def open_source(root: str, taxonomy: Taxonomy, named: Mapping[str, str]) -> SourceFiles:
    """Return the images of a source, in the order of their paths.

    Raises:
        DataError: There is nothing of this name, no image in it, or a container can't be opened.
    """
    listing = list_source(root)
    frames, owns = [_frame_of_files(listing, root)], [pd.DataFrame()]
    parquet_tables: list[Table] = []
    names = {parts[-1].lower() for parts in frames[0]["parts"]}
    passed_over, notes = Counter(listing.passed_over), list[str]()
    for info in listing.containers:
        frame, own = _open_container(info, root, taxonomy, named, notes)
        if frame is None:
            parquet_tables += [own] if own is not None else []
            passed_over[TABLES] += 1
        elif len(frame) and {parts[-1].lower() for parts in frame["parts"]} <= names:
            passed_over["containers whose images lie beside them as files"] += 1
        else:
            frames.append(frame)
            owns.append(pd.DataFrame(index=range(len(frame))) if own is None else own.rows)
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        raise DataError(_describe_nothing(root, passed_over, listing))
    sizes = [len(one) for one in frames]
    padded = [own.set_axis(range(sum(sizes[:i]), sum(sizes[: i + 1]))) for i, own in enumerate(owns) if len(own)]
    own_columns = pd.concat(padded).reindex(frame.index) if any(len(one.columns) for one in padded) else None
    split = frame["container"].map(_split_of_container)
    return SourceFiles(
        root=root,
        frame=frame.drop(columns="container"),
        own=None if own_columns is None else own_columns.reindex(columns=list(COLUMNS)).astype(object),
        container_split=split.astype(object).where(split.notna(), None),
        tables=[info.path for info in listing.tables],
        parquet_tables=parquet_tables,
        passed_over=passed_over,
        notes=notes,
    )


def find_tables(
    files: SourceFiles, taxonomy: Taxonomy, named: Mapping[str, str], *, are_given: bool
) -> tuple[list[Table], Counter[str], list[str]]:
    """Return the tables in a source, or, where there are none, beside it; how many files they are; and what to know.

    A file that isn't a table of images is left alone, and said so. Where the user gave tables, those found aren't used.
    """
    passed_over: Counter[str] = Counter()
    if are_given:
        if files.tables or files.parquet_tables:
            passed_over[LEFT_TABLES] += len(files.tables)
        return [], passed_over, []
    beside = [] if files.tables or files.parquet_tables else _list_beside(files.root)
    found, notes = [], []
    for name in files.tables or beside:
        try:
            table = read_table_file(name, taxonomy, named)
            for word in table.rows["diagnosis"].dropna().unique():
                taxonomy.parse(word)
        except DataError as error:
            notes.append(f"left alone: {error}")
        else:
            found.append(table)
    passed_over[TABLES] += len(files.tables)
    return [*found, *files.parquet_tables], passed_over, notes


def _list_beside(root: str) -> list[str]:
    parent = root.rsplit("/", 1)[0]
    infos = storage.list_infos(parent, recursive=False)
    return [info.path for info in infos if is_table(info.path.rsplit("/", 1)[-1]) and info.path != root]


def _frame_of_files(listing: Listing, root: str) -> pd.DataFrame:
    prefix = len(root.rstrip("/")) + 1
    infos = listing.images
    inside = [PurePosixPath(info.path[prefix:] or info.path.rsplit("/", 1)[-1]) for info in infos]
    return pd.DataFrame(
        {
            "path": [info.path for info in infos],
            "image_id": [one.stem for one in inside],
            "num_bytes": [info.num_bytes for info in infos],
            "modified_ns": [info.modified_ns for info in infos],
            "parts": [(*one.parts[:-1], one.stem) for one in inside],
            "container": [None] * len(infos),
        }
    ).astype({"num_bytes": "int64", "modified_ns": "int64"})


def _open_container(
    info: storage.FileInfo, root: str, taxonomy: Taxonomy, named: Mapping[str, str], notes: list[str]
) -> tuple[pd.DataFrame | None, Table | None]:
    """Return the images in an HDF5 or Parquet file and its own columns; without images it is a table.

    Raises:
        DataError: It can't be opened.
    """
    own = None
    try:
        if is_hdf5(info.path):
            keys = list_hdf5(info.path)
            names = [split_id(key)[-1] for key in keys]
            groups = [split_id(key)[:-1] for key in keys]
        else:
            ids, own = _read_parquet_columns(info.path, taxonomy, named, notes)
            if ids is None:
                return None, own
            names, keys = ids, [str(row) for row in range(len(ids))]
            groups = [()] * len(ids)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{info.path}: can't be opened ({error}); is it complete?"
        raise DataError(msg) from error
    folders = PurePosixPath(info.path[len(root.rstrip("/")) + 1 :]).parts[:-1]
    frame = pd.DataFrame(
        {
            "path": [f"{info.path}{SEPARATOR}{key}" for key in keys],
            "image_id": names,
            "parts": [(*folders, *group, name) for group, name in zip(groups, names, strict=True)],
            "container": [info.path] * len(keys),
        }
    )
    return frame.assign(num_bytes=info.num_bytes, modified_ns=info.modified_ns), own


def _read_parquet_columns(
    path: str, taxonomy: Taxonomy, named: Mapping[str, str], notes: list[str]
) -> tuple[list[str] | None, Table]:
    """Return the image ids of a Parquet file, none if it has no images, and its columns as a table."""
    filesystem, name = storage.resolve(path)
    with filesystem.open_input_file(name) as stream:
        file = pq.ParquetFile(stream)
        column = bytes_column(file.schema_arrow)
        plain = [one for one in file.schema_arrow.names if one != column]
        raw = file.read(plain).replace_schema_metadata(file.schema_arrow.metadata)
        inner = _inner_names(file, column)
    table, note = table_of_arrow(raw, path, taxonomy, named)
    if note is not None:
        notes.append(note)
    if column is None:
        if table.rows["image_id"].isna().all():
            msg = f"{path}: has columns {', '.join(plain) or 'none'}: neither encoded images nor images' ids"
            raise DataError(msg)
        return None, table
    stem = PurePosixPath(path).stem
    ids = [
        one or (split_id(beside)[-1] if beside else f"{stem}-{row}")
        for row, (one, beside) in enumerate(zip(table.rows["image_id"], inner, strict=True))
    ]
    return [split_id(str(one))[-1] for one in ids], table


def _inner_names(file: pq.ParquetFile, column: str | None) -> list[str | None]:
    """Return the file names that a struct of bytes and path keeps beside each image."""
    number = file.metadata.num_rows
    if column is None or not pa.types.is_struct(file.schema_arrow.field(column).type):
        return [None] * number
    names = [field.name for field in file.schema_arrow.field(column).type]
    if "path" not in names:
        return [None] * number
    values = file.read([f"{column}.path"]).column(0).combine_chunks().field("path")
    return [value or None for value in values.to_pylist()]


def _split_of_container(path: str | None) -> str | None:
    found = _SHARD_SPLIT.match(path.rsplit("/", 1)[-1]) if path else None
    return None if found is None else SPLIT_WORDS[found[1].lower()]


def _describe_nothing(root: str, passed_over: Mapping[str, int], listing: Listing) -> str:
    endings = " ".join(sorted(IMAGE_ENDINGS))
    others = "; ".join(f"{count} {reason}" for reason, count in passed_over.items())
    tables = f"; {len(listing.tables)} tables" if listing.tables else ""
    what = f" Found were {others}{tables}." if others or tables else ""
    return f"images folder {root}: no image in it (looked for {endings}, HDF5 and Parquet at any depth).{what}"
