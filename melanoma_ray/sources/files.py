"""The images of one source, opened: files and containers become rows, and the tables beside them are found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy
from melanoma_ray.errors import DataError, NoImagesError
from melanoma_ray.sources.arrow_tables import table_of_arrow
from melanoma_ray.sources.containers import SEPARATOR, bytes_column, is_hdf5, list_bytes_columns, list_hdf5
from melanoma_ray.sources.dicom_tables import read_headers
from melanoma_ray.sources.given_splits import split_of_container
from melanoma_ray.sources.listing import IMAGE_ENDINGS, MOST_READINGS, Listing, is_table, list_source
from melanoma_ray.sources.matching import ending_of, split_id
from melanoma_ray.sources.tables import COLUMNS, Table, read_table_file, without_unknown
from melanoma_ray.wording import count, list_kinds

LEFT_TABLES = "tables that aren't used, since others were given"
TABLES = "tables, whose rows were looked up for the images"
"""They are no images, but they are read."""
OTHER_TABLES = "tables that tell nothing of the images"
LEFT_CONTAINERS = "HDF5 and Parquet files with neither encoded images nor a table of images"
BESIDE = "containers whose images lie beside them as files"
_READING_COLUMNS = {"verdict", "read_at"}
"""Columns of reviewed.csv, whose readers are settled by rules of their own (``reviewed``)."""
_TAXONOMY_COLUMNS = frozenset({"covers", "is_melanoma", "is_malignant"})
"""Columns that only a taxonomy has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFiles:
    """What a source holds."""

    root: str
    frame: pd.DataFrame
    """One row an image: path, image_id, ending, num_bytes, modified_ns and parts (folders below the source, name)."""
    own: pd.DataFrame | None
    """What containers say of their own rows, under our column names, indexed as ``frame``; none: there is nothing."""
    headers: pd.DataFrame | None
    """What DICOM headers say of their images, under our column names, indexed as ``frame``; none: there are none."""
    container_split: pd.Series
    """Split that a container's file name gives, or none."""
    tables: list[str]
    """Paths of the text tables."""
    parquet_tables: list[Table]
    """Parquet files without images of their own: tables."""
    passed_over: Counter[str]
    notes: list[str]
    """What a person should know of the containers, a sentence each."""

    @property
    def has_own_columns(self) -> bool:
        """Tell whether a container brings columns of its own."""
        return self.own is not None


def open_source(
    root: str, taxonomy: Taxonomy, named: Mapping[str, str], *, most_readings: int = MOST_READINGS
) -> SourceFiles:
    """Return the images of a source, in the order of their paths.

    Args:
        root: Folder, HDF5 or Parquet file; local, or such as s3://bucket/folder.
        taxonomy: What words for a lesion mean.
        named: Columns named by hand.
        most_readings: How often one folder is read, under its own name and those of links.

    Raises:
        DataError: There is nothing of this name, no image in it, or a container can't be opened.
    """
    listing = list_source(root, most_readings)
    files = _frame_of_files(listing, root)
    names = {parts[-1].lower() for parts in files["parts"]}
    opened = [_open_container(info, root, taxonomy, named) for info in listing.containers]
    passed_over, kept, tables = Counter(listing.passed_over), [_Container(frame=files)], list[Table]()
    for container in opened:
        if container.frame is None:
            passed_over[LEFT_CONTAINERS] += container.table is None
        elif len(container.frame) and {parts[-1].lower() for parts in container.frame["parts"]} <= names:
            passed_over[BESIDE] += container.table is None
        else:
            kept.append(container)
            continue
        tables += [] if container.table is None else [container.table]
    frame = pd.concat([one.frame for one in kept], ignore_index=True)
    notes = [note for container in opened for note in container.notes]
    if frame.empty:
        raise NoImagesError(_describe_nothing(root, +passed_over, len(listing.tables) + len(tables), notes))
    headers = read_headers(frame)
    split = frame["container"].map(split_of_container)
    return SourceFiles(
        root=root,
        frame=frame.drop(columns="container"),
        own=_own_columns(kept, frame.index),
        headers=None if headers is None else headers.rows,
        container_split=split.astype(object).where(split.notna(), None),
        tables=[info.path for info in listing.tables],
        parquet_tables=tables,
        passed_over=+passed_over,
        notes=notes if headers is None else [*notes, *headers.notes],
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Container:
    """An HDF5 or Parquet file, opened; or all files of a source that are images themselves."""

    frame: pd.DataFrame | None = None
    """One row an image; none: there is no encoded image in it."""
    table: Table | None = None
    """Its columns, for its own images or, where it has none, for others."""
    notes: list[str] = field(default_factory=list)


def _own_columns(kept: list[_Container], index: pd.Index) -> pd.DataFrame | None:
    """Return what the containers say of their own rows, or nothing where none says anything."""
    padded, start = [], 0
    for one in kept:
        size = 0 if one.frame is None else len(one.frame)
        if size and one.table is not None:
            padded.append(one.table.rows.set_axis(range(start, start + size)))
        start += size
    if not padded:
        return None
    return pd.concat(padded).reindex(index).reindex(columns=list(COLUMNS)).astype(object)


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundTables:
    """The tables in a source or beside it."""

    tables: list[Table]
    passed_over: Counter[str]
    left_alone: list[str]
    """Why a file is no table of images, a sentence each."""


def count_tables(files: SourceFiles, read: Collection[str], unread: str) -> Counter[str]:
    """Return how many tables of a source are read and how many aren't, under what is said of them.

    Args:
        files: The source.
        read: Paths of the tables that are read.
        unread: What is said of the others.
    """
    names = [*files.tables, *(table.name for table in files.parquet_tables)]
    num_read = sum(name in read for name in names)
    return +Counter({TABLES: num_read, unread: len(names) - num_read})


def find_tables(
    files: SourceFiles, taxonomy: Taxonomy, named: Mapping[str, str], given: Collection[str]
) -> FoundTables:
    """Return the tables in a source, or, where there are none, beside it.

    A file that isn't a table of images is left alone, and said so. Where the user gave tables, those found aren't used.

    Args:
        files: The source.
        taxonomy: What words for a lesion mean.
        named: Columns named by hand.
        given: Paths of the tables that the user gave.
    """
    if given:
        return FoundTables(tables=[], passed_over=count_tables(files, given, LEFT_TABLES), left_alone=[])
    beside = [] if files.tables or files.parquet_tables else _list_beside(files.root)
    found, left_alone = [], []
    for name in files.tables or beside:
        if name == taxonomy.origin:
            continue
        try:
            table = read_table_file(name, taxonomy, named, is_strict=False)
        except DataError as error:
            left_alone.append(f"left alone: {error}")
            continue
        if set(table.columns) >= _READING_COLUMNS:
            left_alone.append(f"left alone as a table: {name} has readers' words, which count if given with --reviewed")
        elif {"name", "diagnosis"} <= set(table.columns) and _TAXONOMY_COLUMNS & set(table.columns):
            left_alone.append(f"left alone: {name} looks like a taxonomy; give it with --taxonomy if it is yours")
        else:
            found.append(replace(without_unknown(table, taxonomy), folder=_folder_of(name, files.root)))
    found += [without_unknown(table, taxonomy) for table in files.parquet_tables]
    passed_over = count_tables(files, {table.name for table in found}, OTHER_TABLES)
    return FoundTables(tables=found, passed_over=passed_over, left_alone=left_alone)


def _folder_of(name: str, root: str) -> str:
    """Return the folder of a table below the source; nothing for one that lies beside it."""
    prefix = root.rstrip("/") + "/"
    return name[len(prefix) :].rpartition("/")[0] if name.startswith(prefix) else ""


def _list_beside(root: str) -> list[str]:
    parent = root.rsplit("/", 1)[0]
    infos = storage.list_infos(parent, recursive=False)
    return [info.path for info in infos if is_table(info.path.rsplit("/", 1)[-1]) and info.path != root]


def _frame_of_files(listing: Listing, root: str) -> pd.DataFrame:
    prefix = len(root.rstrip("/")) + 1
    infos = listing.images
    inside = [PurePosixPath(info.path[prefix:] or info.path.rsplit("/", 1)[-1]) for info in infos]
    names = [one.stem if one.suffix.lower() in IMAGE_ENDINGS else one.name for one in inside]  # such as 1.2.840.1
    return pd.DataFrame(
        {
            "path": [info.path for info in infos],
            "image_id": names,
            "ending": [ending_of(one.name) for one in inside],
            "num_bytes": [info.num_bytes for info in infos],
            "modified_ns": [info.modified_ns for info in infos],
            "parts": [(*one.parts[:-1], name) for one, name in zip(inside, names, strict=True)],
            "container": [None] * len(infos),
        }
    ).astype({"num_bytes": "int64", "modified_ns": "int64"})


def _open_container(info: storage.FileInfo, root: str, taxonomy: Taxonomy, named: Mapping[str, str]) -> _Container:
    """Return the images in an HDF5 or Parquet file and its own columns; without images it is a table, or nothing.

    Raises:
        DataError: It can't be opened.
    """
    try:
        if is_hdf5(info.path):
            return _open_hdf5(info, root)
        return _open_parquet(info, root, taxonomy, named)
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{info.path}: can't be opened ({error}); is it complete?"
        raise DataError(msg) from error


def _open_hdf5(info: storage.FileInfo, root: str) -> _Container:
    keys = list_hdf5(info.path)
    if not keys:
        return _Container(notes=[f"left alone: {info.path}: no encoded image in it (arrays of pixels aren't read)"])
    split = [split_id(key) for key in keys]
    return _Container(frame=_frame_of_rows(info, root, keys, split))


def _open_parquet(info: storage.FileInfo, root: str, taxonomy: Taxonomy, named: Mapping[str, str]) -> _Container:
    filesystem, name = storage.resolve(info.path)
    with filesystem.open_input_file(name) as stream:
        file = pq.ParquetFile(stream)
        column = bytes_column(file.schema_arrow)
        encoded = list_bytes_columns(file.schema_arrow)
        plain = [one for one in file.schema_arrow.names if one not in encoded]
        raw = file.read(plain).replace_schema_metadata(file.schema_arrow.metadata)
        inner = _inner_names(file, column)
    table, note = table_of_arrow(raw, info.path, taxonomy, named)
    notes = [] if note is None else [note]
    if column is None:
        if table.rows["image_id"].isna().all() and table.rows["lesion_id"].isna().all():
            columns = ", ".join(plain) or "none"
            why = f"{info.path}: has columns {columns}: neither encoded images nor images' ids"
            if len(encoded) > 1:
                why = f"{info.path}: has several columns of bytes ({', '.join(encoded)}); call the one of images image"
            return _Container(notes=[f"left alone: {why}"])
        return _Container(table=table, notes=notes)
    stem = PurePosixPath(info.path).stem
    ids = [
        one or (split_id(beside)[-1] if beside else f"{stem}-{row}")
        for row, (one, beside) in enumerate(zip(table.rows["image_id"], inner, strict=True))
    ]
    names = [split_id(str(one))[-1:] for one in ids]
    return _Container(
        frame=_frame_of_rows(info, root, [str(row) for row in range(len(ids))], names),
        table=table,
        notes=[*notes, *table.notes],
    )


def _frame_of_rows(info: storage.FileInfo, root: str, keys: list[str], names: list[tuple[str, ...]]) -> pd.DataFrame:
    """Return a row for each image of a container.

    Args:
        info: The container.
        root: The source.
        keys: Key of each image in the container.
        names: Groups in the container, and name, of each image.
    """
    folders = PurePosixPath(info.path[len(root.rstrip("/")) + 1 :]).parts[:-1]
    return pd.DataFrame(
        {
            "path": [f"{info.path}{SEPARATOR}{key}" for key in keys],
            "image_id": [name[-1] for name in names],
            "ending": "",
            "num_bytes": info.num_bytes,
            "modified_ns": info.modified_ns,
            "parts": [(*folders, *name) for name in names],
            "container": [info.path] * len(keys),
        }
    )


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


def _describe_nothing(root: str, passed_over: Mapping[str, int], num_tables: int, notes: list[str]) -> str:
    endings = " ".join(sorted(IMAGE_ENDINGS))
    others = list_kinds(passed_over)
    tables = count(num_tables, "table") if num_tables else ""
    what = f" Found were {'; '.join(filter(None, [others, tables]))}." if others or tables else ""
    why = f" {'; '.join(notes[:3])}." if notes else ""
    return f"images folder {root}: no image in it (looked for {endings}, HDF5 and Parquet at any depth).{what}{why}"
