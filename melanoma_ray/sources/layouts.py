"""Readers of the layouts in which ISIC images are handed around; one table comes out, whatever went in.

An image gets its diagnosis from the folder it lies in (``Train/melanoma/ISIC_0000139.jpg``) or from a
table; a table beside folders adds what it knows and makes a claim of its own. docs/layouts.md has
each layout with an example.
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
import pyarrow.parquet as pq

from melanoma_ray import storage
from melanoma_ray.diagnoses import Taxonomy, load_taxonomy
from melanoma_ray.errors import DataError
from melanoma_ray.schema import SOURCE
from melanoma_ray.sources.containers import HDF5_ENDINGS, PARQUET_ENDINGS, SEPARATOR, bytes_column, is_hdf5, list_hdf5
from melanoma_ray.sources.tables import COLUMNS, find_tables, normalize_table, read_tables

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"})
_CONTAINER_ENDINGS = HDF5_ENDINGS | PARQUET_ENDINGS
_NO_LESION = ("_superpixels", "_segmentation")
"""How the names of masks end that lie beside the images of ISIC 2016 to 2018."""
_COPY_SUFFIX = re.compile(r"\s*\(\d+\)$")
_GIVEN_SPLITS = {"train": "train", "training": "train", "test": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """The images found, and what didn't fit together."""

    table: pa.Table
    """Of ``schema.SOURCE``, sorted by path."""
    num_rows_without_file: int
    """Of the metadata tables."""
    num_files_without_row: int
    """Of the metadata tables where they are what knows the diagnosis; such files are left out."""
    num_left_out: dict[str, int]
    """Images whose word for the lesion is known, but none of the nine diagnoses; by that word."""


def image_id_of(path: str) -> str:
    """Return the file name without its ending, or the key in a container."""
    return path.rpartition(SEPARATOR)[2] if SEPARATOR in path else PurePosixPath(path).stem


def list_images(images: str) -> list[str]:
    """Return the addresses of all image files below a folder, sorted.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    return list(_list_source(storage.absolute(images))[0]["path"])


def read_collection(
    images: str | Sequence[str], metadata: str | Sequence[str] = (), taxonomy: Taxonomy | None = None
) -> Collection:
    """Recognise the layout of each source and read them into one table.

    Args:
        images: Folders or HDF5 or Parquet files with images; local, or such as s3://bucket/folder.
        metadata: CSV tables, of all sources; those that lie in or beside a source's folder are found without.
        taxonomy: What the words for a lesion mean; by default the built-in one.

    Raises:
        DataError: No image, an unknown diagnosis, or no way to tell the diagnoses.
    """
    taxonomy = taxonomy or load_taxonomy()
    roots = [storage.absolute(root) for root in _as_list(images)]
    given = read_tables([storage.absolute(name) for name in _as_list(metadata)], [], taxonomy)
    parts = [_read_source(root, given, taxonomy) for root in dict.fromkeys(roots)]
    known = set().union(*(part.known_ids for part in parts))
    ids = set().union(*(part.table_ids for part in parts))
    frame = pd.concat([part.frame for part in parts]).sort_values("path")
    if frame.empty:
        words = ", ".join(sorted(set().union(*(part.left_out for part in parts))))
        msg = f"{', '.join(roots)}: no image has one of the nine diagnoses (only {words or 'none'})"
        raise DataError(msg)
    return Collection(
        table=pa.Table.from_pandas(frame[SOURCE.names], schema=SOURCE, preserve_index=False),
        num_rows_without_file=len(ids - known),
        num_files_without_row=sum(part.num_without_row for part in parts),
        num_left_out=dict(sum((part.left_out for part in parts), Counter())),
    )


def _as_list(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    frame: pd.DataFrame
    known_ids: set[str]
    table_ids: set[str]
    num_without_row: int
    left_out: Counter[str]


def _read_source(root: str, given: pd.DataFrame, taxonomy: Taxonomy) -> _Source:
    files, own = _list_source(root)
    beside = [] if own is not None or not given.empty else find_tables(root)
    table = given if own is None else own
    table = table if not beside else read_tables([], beside, taxonomy)
    plain = files["image_id"].str.replace(_COPY_SUFFIX, "", regex=True)
    ids = files["image_id"].where(files["image_id"].isin(table.index), plain)
    rows = table.reindex(ids).reset_index(drop=True)
    by_table = _is_by_table(files, table, taxonomy)
    word = rows["diagnosis"] if by_table else _folder_names(files, root)
    meaning = word.map({name: taxonomy.parse(name) for name in word.dropna().unique()})
    is_left_out = word.notna() & meaning.isna()
    kept = meaning.notna()
    frame = _to_source(files, rows, meaning, taxonomy).assign(source=root, is_by_table=by_table)[kept]
    if by_table and not ids.isin(table.index).any():
        msg = f"none of {len(files)} images in {root} stands in the metadata table: is it the right table?"
        raise DataError(msg)
    return _Source(
        frame=frame,
        known_ids=set(ids),
        table_ids=set(table.index),
        num_without_row=int(word.isna().sum()) if by_table else 0,
        left_out=Counter(word[is_left_out]),
    )


def _list_source(root: str) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the images of a source, and the table that a Parquet source carries itself."""
    if not storage.exists(root):
        msg = f"images folder {root}: not found; give the folder that holds the images"
        raise DataError(msg)
    infos = storage.list_infos(root.rsplit("/", 1)[0], recursive=False) if storage.is_file(root) else None
    if infos is not None:
        infos = [info for info in infos if info.path == root]
    infos = storage.list_infos(root) if infos is None else infos
    files = _to_frame([info for info in infos if _is_image(info.path)], root)
    boxes = [info for info in infos if PurePosixPath(info.path).suffix.lower() in _CONTAINER_ENDINGS]
    opened = [_open_container(info) for info in boxes] if files.empty else []
    found = pd.concat([files, *(frame for frame, _ in opened)], ignore_index=True)
    if found.empty:
        endings = " ".join(sorted(IMAGE_ENDINGS | _CONTAINER_ENDINGS))
        msg = f"images folder {root}: no image in it (looked for {endings} at any depth)"
        raise DataError(msg)
    tables = [table for _, table in opened if table is not None]
    return found, pd.concat(tables) if tables else None


def _is_image(path: str) -> bool:
    name = PurePosixPath(path)
    return name.suffix.lower() in IMAGE_ENDINGS and not name.stem.endswith(_NO_LESION)


def _to_frame(infos: Sequence[storage.FileInfo], root: str) -> pd.DataFrame:
    prefix = len(storage.resolve(root)[1].rstrip("/")) + 1
    return pd.DataFrame(
        {
            "path": [info.path for info in infos],
            "image_id": [image_id_of(info.path) for info in infos],
            "num_bytes": [info.num_bytes for info in infos],
            "modified_ns": [info.modified_ns for info in infos],
            "folder": [PurePosixPath(storage.resolve(info.path)[1][prefix:]).parts[:-1] for info in infos],
        }
    )


def _open_container(info: storage.FileInfo) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the images in an HDF5 or Parquet file, and the table among a Parquet file's own columns."""
    table = None
    try:
        if is_hdf5(info.path):
            keys = names = list_hdf5(info.path)
        else:
            names, table = _read_parquet_table(info.path)
            keys = [str(row) for row in range(len(names))]
    except (OSError, pa.ArrowInvalid) as error:
        msg = f"{info.path}: can't be opened ({error}); is it complete?"
        raise DataError(msg) from error
    frame = pd.DataFrame({"path": [f"{info.path}{SEPARATOR}{key}" for key in keys], "image_id": names})
    return frame.assign(
        num_bytes=info.num_bytes, modified_ns=info.modified_ns, folder=pd.Series([()] * len(frame), dtype=object)
    ), table


def _read_parquet_table(path: str) -> tuple[list[str], pd.DataFrame]:
    filesystem, name = storage.resolve(path)
    with filesystem.open_input_file(name) as stream:
        file = pq.ParquetFile(stream)
        column = bytes_column(file.schema_arrow)
        if column is None:
            msg = f"{path}: has columns {', '.join(file.schema_arrow.names)}, none of which holds encoded images"
            raise DataError(msg)
        raw = file.read([name for name in file.schema_arrow.names if name != column]).to_pandas()
    id_column = next((name for name in COLUMNS["image_id"] if name in raw.columns), None)
    ids = raw[id_column].astype(str) if id_column else pd.Series(range(file.metadata.num_rows)).astype(str)
    if id_column is None:
        ids = PurePosixPath(path).stem + "-" + ids
    raw = raw.astype(object).where(raw.notna(), None).assign(image_id=ids)
    return list(ids), normalize_table(raw, path, load_taxonomy())


def _is_by_table(files: pd.DataFrame, table: pd.DataFrame, taxonomy: Taxonomy) -> bool:
    """Folders tell the diagnosis if each image's folder is a known one; else a table must."""
    if not table["diagnosis"].notna().any():
        return False
    return not all(folder and taxonomy.knows(folder[-1]) for folder in set(files["folder"]))


def _folder_names(files: pd.DataFrame, root: str) -> pd.Series:
    loose = files[[not folder for folder in files["folder"]]]
    if len(loose):
        msg = (
            f"images folder {root}: {len(loose)} images such as {loose['image_id'].iloc[0]} lie in no folder "
            "named after a diagnosis; sort them into such folders, or give --metadata with their diagnoses"
        )
        raise DataError(msg)
    return files["folder"].str[-1]


def _to_source(files: pd.DataFrame, rows: pd.DataFrame, meaning: pd.Series, taxonomy: Taxonomy) -> pd.DataFrame:
    words = rows["diagnosis"].dropna().unique()
    told = rows["diagnosis"].map({word: taxonomy.parse(word) for word in words})
    covers = rows["diagnosis"].map({word: list(taxonomy.covers(word)) or None for word in words})
    source = pd.concat([files, rows.drop(columns="diagnosis")], axis=1)
    return source.assign(
        diagnosis=meaning,
        table_diagnosis=told.astype(object).where(told.notna(), None),
        table_covers=covers.astype(object).where(covers.notna(), None),
        given_split=files["folder"].map(lambda folder: _GIVEN_SPLITS.get(folder[0].lower()) if folder else None),
        age=pd.to_numeric(rows["age"], errors="coerce").astype(np.float32),
    )
