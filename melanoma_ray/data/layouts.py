"""Readers of the layouts in which ISIC images are handed around; one table comes out, whatever went in.

Folders by diagnosis (the Kaggle set of nine), with or without Train/ and Test/ above:
    Train/melanoma/ISIC_0000139.jpg
A flat folder and a table that knows the diagnosis (HAM10000: lesion_id, image_id, dx, age, sex, localization):
    images/ISIC_0027419.jpg   HAM10000_metadata.csv
A table beside folders by diagnosis adds what it knows (lesion_id, age, sex, site) and leaves the diagnosis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

import pandas as pd
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.diagnoses import parse_diagnosis
from melanoma_ray.errors import DataError
from melanoma_ray.schema import SOURCE

IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".bmp"})
_TABLE_NAMES = ("metadata.csv", "HAM10000_metadata.csv", "HAM10000_metadata")
_COLUMNS = {
    "image_id": ("image_id", "isic_id", "image", "image_name"),
    "diagnosis": ("diagnosis", "dx"),
    "lesion_id": ("lesion_id",),
    "patient_id": ("patient_id",),
    "age": ("age", "age_approx"),
    "sex": ("sex",),
    "site": ("site", "localization", "anatom_site_general"),
    "attribution": ("attribution",),
}
"""Our columns, and what the tables call them."""
_COPY_SUFFIX = re.compile(r"\s*\(\d+\)$")
_GIVEN_SPLITS = {"train": "train", "training": "train", "test": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Collection:
    """The images found, and what didn't fit together."""

    table: pa.Table
    """Of ``schema.SOURCE``, sorted by path."""
    num_rows_without_file: int
    """Of the metadata table."""
    num_files_without_row: int
    """Of the metadata table where it is the one that knows the diagnosis; they are left out."""


def list_images(images: str) -> list[str]:
    """Return the addresses of all image files below a folder, sorted.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    if not storage.exists(images):
        msg = f"images folder {images}: not found; give the folder that holds the images"
        raise DataError(msg)
    files = [path for path in storage.list_files(images) if PurePosixPath(path).suffix.lower() in IMAGE_ENDINGS]
    if not files:
        endings = " ".join(sorted(IMAGE_ENDINGS))
        msg = f"images folder {images}: no image in it (looked for {endings} at any depth)"
        raise DataError(msg)
    return files


def image_id_of(path: str) -> str:
    """Return the file name without its ending."""
    return PurePosixPath(path).stem


def read_collection(images: str, metadata: str | None = None) -> Collection:
    """Recognise the layout and read it.

    Args:
        images: A folder, local or such as s3://bucket/folder.
        metadata: A CSV; by default metadata.csv or HAM10000_metadata.csv in the folder, if there is one.

    Raises:
        DataError: No image, an unknown diagnosis, or no way to tell the diagnoses.
    """
    root = storage.absolute(images)
    files = list_images(root)
    table = _read_metadata(metadata or _find_metadata(root))
    prefix = len(storage.resolve(root)[1].rstrip("/")) + 1
    folders = [PurePosixPath(storage.resolve(path)[1][prefix:]).parts[:-1] for path in files]
    frame = pd.DataFrame({"path": files, "image_id": [image_id_of(path) for path in files], "folder": folders})
    if _by_table(frame, table):
        return _join_table(frame, table)
    return _join_folders(frame, table, root)


def _find_metadata(root: str) -> str | None:
    names = (storage.join(root, name) for name in _TABLE_NAMES)
    return next((name for name in names if storage.exists(name)), None)


def _read_metadata(name: str | None) -> pd.DataFrame:
    """Return the table under our column names, indexed by image_id; without rows where there is none."""
    empty = pd.DataFrame(columns=list(_COLUMNS)).set_index("image_id")
    if name is None:
        return empty
    try:
        with storage.resolve(name)[0].open_input_stream(storage.resolve(name)[1]) as stream:
            raw = pd.read_csv(stream, dtype=str, keep_default_na=False, na_values=["", "NA", "nan"])
    except FileNotFoundError as error:
        msg = f"metadata table {name}: not found"
        raise DataError(msg) from error
    except ValueError as error:
        msg = f"metadata table {name}: not a CSV table ({error})"
        raise DataError(msg) from error
    found = {ours: next((n for n in theirs if n in raw.columns), None) for ours, theirs in _COLUMNS.items()}
    if found["image_id"] is None:
        expected = ", ".join(_COLUMNS["image_id"])
        msg = f"metadata table {name}: has columns {', '.join(raw.columns)}, none of which is {expected}"
        raise DataError(msg)
    table = pd.DataFrame({ours: raw[theirs] if theirs else None for ours, theirs in found.items()})
    return table.drop_duplicates("image_id").set_index("image_id")


def _by_table(frame: pd.DataFrame, table: pd.DataFrame) -> bool:
    """Folders tell the diagnosis if each image's folder is a known one; else a table must."""
    if not table["diagnosis"].notna().any():
        return False
    return not all(len(folder) and _is_diagnosis(folder[-1]) for folder in set(frame["folder"]))


def _is_diagnosis(name: str) -> bool:
    try:
        parse_diagnosis(name)
    except DataError:
        return False
    return True


def _join_table(frame: pd.DataFrame, table: pd.DataFrame) -> Collection:
    known = frame[frame["image_id"].isin(table.index)]
    if known.empty:
        msg = f"none of {len(frame)} image files stands in the metadata table: is it the right table?"
        raise DataError(msg)
    rows = table.loc[known["image_id"]]
    names = {name: parse_diagnosis(name) for name in rows["diagnosis"].dropna().unique()}
    labelled = rows["diagnosis"].notna().to_numpy()
    source = _to_source(known[labelled], rows[labelled], [names[name] for name in rows["diagnosis"][labelled]])
    return Collection(
        table=source,
        num_rows_without_file=int((~table.index.isin(known["image_id"])).sum()),
        num_files_without_row=len(frame) - source.num_rows,
    )


def _join_folders(frame: pd.DataFrame, table: pd.DataFrame, root: str) -> Collection:
    loose = frame[[not folder for folder in frame["folder"]]]
    if len(loose):
        msg = (
            f"images folder {root}: {len(loose)} images such as {loose['image_id'].iloc[0]} lie in no folder "
            "named after a diagnosis; sort them into such folders, or give --metadata with their diagnoses"
        )
        raise DataError(msg)
    names = {folder: parse_diagnosis(folder[-1]) for folder in sorted(set(frame["folder"]))}
    ids = frame["image_id"].where(
        frame["image_id"].isin(table.index), frame["image_id"].str.replace(_COPY_SUFFIX, "", regex=True)
    )
    return Collection(
        table=_to_source(frame, table.reindex(ids), [names[folder] for folder in frame["folder"]]),
        num_rows_without_file=int((~table.index.isin(ids)).sum()),
        num_files_without_row=0,
    )


def _to_source(frame: pd.DataFrame, rows: pd.DataFrame, diagnoses: list[str]) -> pa.Table:
    given = [_GIVEN_SPLITS.get(folder[0].lower()) if folder else None for folder in frame["folder"]]
    columns = {name: rows[name].to_numpy(dtype=object) for name in rows.columns if name != "diagnosis"}
    source = pd.DataFrame(
        {
            **columns,
            "image_id": frame["image_id"].to_numpy(),
            "path": frame["path"].to_numpy(),
            "diagnosis": diagnoses,
            "given_split": given,
            "age": pd.to_numeric(rows["age"], errors="coerce").to_numpy(),
        }
    )
    return pa.Table.from_pandas(source[SOURCE.names].sort_values("path"), schema=SOURCE, preserve_index=False)
