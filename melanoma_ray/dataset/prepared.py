"""A prepared dataset on disk, and how it is opened.

dataset.json          written last, so without it there is no dataset; has the names of the two below
index-….parquet       one row for each readable image: its origin, diagnosis and split, or why it was dropped
pixels-…/             shards: lossless crops, and the measurements of each image
quarantine.parquet    one row for each unreadable image, with the reason
audit.html, .json     the findings, with thumbnails; and the same as figures
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Int64, UInt8
from pydantic import TypeAdapter, ValidationError

from melanoma_ray import storage
from melanoma_ray.config import DecisionConfig, PrepareConfig
from melanoma_ray.dataset.shards import read_crops, readable_shards_names
from melanoma_ray.diagnoses import NINE, Diagnosis, class_numbers, referred_diagnoses, sort_diagnoses
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.schema import SPLITS, Split

FORMAT_VERSION = 4
_OLD_COLUMNS = {"chunk": "shard", "settled": "resolution"}
"""Columns of the index that had another name until November 2026."""
DATASET = "dataset.json"
QUARANTINE = "quarantine.parquet"
OWN = ("pixels-", "index-", QUARANTINE, "audit.")
"""Beginnings of the names of a prepared dataset's files other than dataset.json."""
_SEEN = ["content_sha256", "diagnosis", "split", "fold", "age", "sex", "site"]
"""Columns of the index that decide what training sees."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """Content of dataset.json."""

    format_version: int
    inputs: str
    """SHA-256 over the collection's table and the settings; if it is the same again, there is nothing to do."""
    fingerprint: str
    """SHA-256 over what training sees: contents, diagnoses, splits, metadata, order and settings."""
    is_synthetic: bool
    """Whether the images are synthetic."""
    config: PrepareConfig
    diagnoses: tuple[str, ...]
    """Diagnoses of the train split, or of all folds if there are any, in the order of the network's outputs."""
    index: str
    """Name of the index file."""
    pixels: str
    """Name of the directory with the shards."""
    num_images: dict[str, dict[str, int]]
    """Number of kept images by split and diagnosis."""
    num_dropped: dict[str, int]
    """Number of readable images that were dropped, by reason."""
    num_quarantined: dict[str, int]
    """Number of unreadable images, by fault."""
    num_conflicts: dict[str, dict[str, int]]
    """Number of images whose claimed diagnoses differ, by the claims and by the resolution."""
    num_rows_without_file: int
    """Number of rows of the metadata table that have no file."""
    num_files_without_row: int
    """Number of files that were left out because the metadata table has no row for them."""
    num_left_out: dict[str, int]
    """Number of images that were left out because their word for the lesion is none of the diagnoses, by that word."""
    taxonomy: tuple[Diagnosis, ...] = NINE
    """All classes that an image of the collection may have; in older datasets the nine."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Number of files of the sources that aren't read as images, by reason."""
    notes: tuple[str, ...] = ()
    """How the sources were understood, and what in them wasn't, one sentence each."""

    def count_by_diagnosis(self) -> dict[str, dict[str, int]]:
        """Return the kept images by diagnosis and split."""
        names = sort_diagnoses({name for counts in self.num_images.values() for name in counts}, self.taxonomy)
        return {name: {split: self.num_images[split].get(name, 0) for split in SPLITS} for name in names}


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedDataset:
    """An open prepared dataset: its description and the index of its kept images."""

    uri: str
    """The directory, local or s3://."""
    info: DatasetInfo
    index: pd.DataFrame
    """Rows of the kept images, sorted by path."""
    fold: int | None = None
    """Fold of cross-validation that is the val split here; none: the splits are those that preparation assigned."""

    def split(self, name: Split) -> pd.DataFrame:
        """Return the rows of one split's images.

        Raises:
            DataError: The split has no images.
        """
        images = self.index[self.index["split"] == name].reset_index(drop=True)
        if images.empty:
            msg = f"{self.uri}: no image in the {name} split; prepare with a larger split.{name}-fraction"
            raise DataError(msg)
        return images

    def target(self, images: pd.DataFrame) -> Int64[np.ndarray, " image"]:
        """Return the target of each image; -1 for a diagnosis that isn't among ``info.diagnoses``."""
        return class_numbers(images["diagnosis"], self.info.diagnoses)

    @property
    def pixels_uri(self) -> str:
        """Directory of the shards."""
        return storage.join(self.uri, self.info.pixels)

    def load_pixels(self, paths: Sequence[str]) -> UInt8[np.ndarray, "image side side 3"]:
        """Return the crops of some images, in the order of the paths.

        Args:
            paths: Paths of kept images.

        Raises:
            DataError: A path isn't that of a kept image, or a shard can't be read.
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
        """Return the dataset with one fold as the val split and all others as the train split.

        Raises:
            ConfigError: There is no such fold.
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
    """Return a prepared dataset, with the index of its kept images.

    Raises:
        DataError: There is no dataset, or a version prepared it whose crops this version can't read.
    """
    root = storage.absolute(uri)
    info = read_info(root)
    if info.pixels not in readable_shards_names(info.config.image):
        msg = f"prepared dataset {root}: its crops are of another version; run the same jobs.prepare again"
        raise DataError(msg)
    index = read_index(storage.join(root, info.index))
    kept = index[index["split"].notna()].sort_values("path").reset_index(drop=True)
    return PreparedDataset(uri=root, info=info, index=kept)


def read_index(name: str) -> pd.DataFrame:
    """Return an index, kept images and dropped ones, with today's names of the columns."""
    table: pd.DataFrame = storage.read_table(name).to_pandas()
    return table.rename(columns=_OLD_COLUMNS)


def read_info(uri: str) -> DatasetInfo:
    """Return the content of dataset.json.

    Raises:
        DataError: The file doesn't exist, has another format version, or is malformed.
    """
    name = storage.join(uri, DATASET)
    if not storage.exists(name):
        command = f"python -m jobs.prepare --output {shlex.quote(uri)}"
        msg = f"prepared dataset {uri}: no {DATASET} in it; make one with {command}"
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


def referred_classes(info: DatasetInfo, config: DecisionConfig) -> tuple[int, ...]:
    """Return the class numbers of the diagnoses that are to be referred.

    Args:
        info: Content of dataset.json.
        config: What is referred for.
    """
    _, names = referred_diagnoses([one for one in info.taxonomy if one.name in info.diagnoses], config.refer_for)
    return tuple(info.diagnoses.index(name) for name in names)


def fingerprint(kept: pd.DataFrame, config: PrepareConfig) -> str:
    """Return a SHA-256 over what training sees, in the order in which the images are numbered.

    It doesn't depend on the collection's location. It does change if a folder of it is renamed so that the order of
    the images changes.

    Args:
        kept: Rows of the kept images.
        config: Settings of the preparation.
    """
    digest = hashlib.sha256(repr(asdict(config)).encode())
    seen = kept.sort_values("path")[_SEEN].astype(object)
    for row in seen.where(seen.notna(), None).itertuples(index=False):
        digest.update("\t".join(map(str, row)).encode())
    return digest.hexdigest()


def name_inside(uri: str, path: str) -> str:
    """Return a path, as from ``storage.list_files``, relative to the dataset's directory."""
    return storage.resolve(path)[1].removeprefix(storage.resolve(uri)[1].rstrip("/") + "/")
