"""A prepared dataset on disk, and how it is opened.

dataset.json          written last: without it there is no dataset; it names the two below
index-….parquet       one row a readable image: who it is, its split, or why it was dropped
pixels-…/             Arrow files with the stored crops, without loss; beside each what was found out about them
quarantine.parquet    one row an unreadable image, with its reason
audit.html, .json     what was found, with thumbnails; and the same as figures
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int64, UInt8
from pydantic import TypeAdapter, ValidationError

from melanoma_ray import storage
from melanoma_ray.config import PrepareConfig
from melanoma_ray.dataset.shards import read_crops, shards_name
from melanoma_ray.diagnoses import class_numbers, sort_diagnoses
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.schema import SPLITS, Split

FORMAT_VERSION = 4
_OLD_COLUMNS = {"chunk": "shard", "settled": "resolution"}
"""What the index called them until November 2026."""
DATASET = "dataset.json"
QUARANTINE = "quarantine.parquet"
OWN = ("pixels-", "index-", QUARANTINE, "audit.")
"""How the names of a prepared dataset's other files begin."""
_SEEN = ["content_sha256", "diagnosis", "split", "fold", "age", "sex", "site"]
"""Columns of an image that decide what training sees."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """dataset.json."""

    format_version: int
    inputs: str
    """SHA-256 over the source's table and the settings: the same again means that nothing is to be done."""
    fingerprint: str
    """SHA-256 over what training sees: contents, diagnoses, splits, metadata, order and settings."""
    is_synthetic: bool
    config: PrepareConfig
    diagnoses: tuple[str, ...]
    """Of the train split, or with folds of all of them, in the order of the network's outputs."""
    index: str
    """Name of the index."""
    pixels: str
    """Name of the directory with the crops."""
    num_images: dict[str, dict[str, int]]
    """Kept images by split and diagnosis."""
    num_dropped: dict[str, int]
    """Readable images left out, by reason."""
    num_quarantined: dict[str, int]
    """Unreadable images, by fault."""
    num_conflicts: dict[str, dict[str, int]]
    """Images about whose diagnosis sources differ, by the claims, and by how it ended."""
    num_rows_without_file: int
    """Of the metadata table."""
    num_files_without_row: int
    """Files left out because the metadata table doesn't know them."""
    num_left_out: dict[str, int]
    """Images left out because the table's word is none of the nine diagnoses, by that word."""

    def count_by_diagnosis(self) -> dict[str, dict[str, int]]:
        """Return the kept images by diagnosis and split."""
        names = sort_diagnoses({name for counts in self.num_images.values() for name in counts})
        return {name: {split: self.num_images[split].get(name, 0) for split in SPLITS} for name in names}


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedDataset:
    """What a prepared dataset says of itself, and its kept images."""

    uri: str
    info: DatasetInfo
    index: pd.DataFrame
    """Kept images, sorted by path."""
    fold: int | None = None
    """Of cross-validation, that is the val split here; none: as preparation assigned the splits."""

    def split(self, name: Split) -> pd.DataFrame:
        """Return the images of one split.

        Raises:
            DataError: It has none.
        """
        images = self.index[self.index["split"] == name].reset_index(drop=True)
        if images.empty:
            msg = f"{self.uri}: no image in the {name} split; prepare with a larger split.{name}-fraction"
            raise DataError(msg)
        return images

    def target(self, images: pd.DataFrame) -> Int64[np.ndarray, " image"]:
        """Return the class number of each image's diagnosis; -1 for a diagnosis that training doesn't know."""
        return class_numbers(images["diagnosis"], self.info.diagnoses)

    @property
    def pixels_uri(self) -> str:
        """Directory of the files with the crops."""
        return storage.join(self.uri, self.info.pixels)

    def load_pixels(self, paths: Sequence[str]) -> UInt8[np.ndarray, "image side side 3"]:
        """Read the crops of some images into memory, in the order asked for.

        Raises:
            DataError: One of them isn't a kept image, or its file is gone.
        """
        places = pd.Index(self.index["path"]).get_indexer(list(paths))
        if (places < 0).any():
            msg = f"{self.uri}: {paths[int(np.argmin(places))]} is no image of this dataset"
            raise DataError(msg)
        images = self.index.iloc[places]
        try:
            return read_crops(self.pixels_uri, list(images["shard"]), list(images["row"]), self.info.config.image.side)
        except (OSError, pa.ArrowInvalid) as error:
            msg = f"{self.uri}: its pixels can't be read ({error}); prepare again"
            raise DataError(msg) from error

    def with_fold(self, fold: int) -> PreparedDataset:
        """Return the dataset with another fold of its cross-validation as the val split.

        Raises:
            ConfigError: It has no such fold.
        """
        num_folds = self.info.config.split.num_folds
        if not 0 <= fold < num_folds:
            msg = f"fold={fold}: {self.uri} has {num_folds} folds; prepare with --split.num-folds"
            raise ConfigError(msg)
        index = self.index.copy()
        has_fold = index["fold"].notna()
        index.loc[has_fold, "split"] = np.where(index.loc[has_fold, "fold"] == fold, "val", "train")
        return replace(self, index=index, fold=fold)


def open_dataset(uri: str) -> PreparedDataset:
    """Open a prepared dataset.

    Raises:
        DataError: There is none, or another version prepared it, whose crops this one can't read.
    """
    root = storage.absolute(uri)
    info = read_info(root)
    if info.pixels != shards_name(info.config.image):
        msg = f"prepared dataset {root}: its crops are of another version; run the same jobs.prepare again"
        raise DataError(msg)
    index = read_index(storage.join(root, info.index))
    kept = index[index["split"].notna()].sort_values("path").reset_index(drop=True)
    return PreparedDataset(uri=root, info=info, index=kept)


def read_index(name: str) -> pd.DataFrame:
    """Return an index, with the columns' names of today: one row a readable image, kept or not."""
    table: pd.DataFrame = storage.read_table(name).to_pandas()
    return table.rename(columns=_OLD_COLUMNS)


def read_info(uri: str) -> DatasetInfo:
    """Read dataset.json.

    Raises:
        DataError: Not there, of another format version, or malformed.
    """
    name = storage.join(uri, DATASET)
    if not storage.exists(name):
        msg = f"prepared dataset {uri}: no {DATASET} in it; make one with python -m jobs.prepare --output {uri}"
        raise DataError(msg)
    data = storage.read_json(name)
    if data.get("format_version") != FORMAT_VERSION:
        msg = f"{name}: format version {data.get('format_version')!r}, expected {FORMAT_VERSION}; prepare again"
        raise DataError(msg)
    try:
        return TypeAdapter(DatasetInfo).validate_python(data)
    except ValidationError as error:
        msg = f"{name}: malformed ({str(error).splitlines()[0]}); prepare again"
        raise DataError(msg) from error


def fingerprint(kept: pd.DataFrame, config: PrepareConfig) -> str:
    """Return a SHA-256 over what training sees, in the order in which it numbers the images.

    Where the collection lies doesn't matter; a folder in it that is renamed, so that its images change places, does.
    """
    digest = hashlib.sha256(repr(asdict(config)).encode())
    seen = kept.sort_values("path")[_SEEN].astype(object)
    for row in seen.where(seen.notna(), None).itertuples(index=False):
        digest.update("\t".join(map(str, row)).encode())
    return digest.hexdigest()


def name_inside(uri: str, path: str) -> str:
    """Return the part of a path below the dataset's directory, as ``storage.list_files`` gives it."""
    return storage.resolve(path)[1].removeprefix(storage.resolve(uri)[1].rstrip("/") + "/")
