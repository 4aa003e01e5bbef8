"""A prepared dataset on disk, and how it is opened.

dataset.json          written last: without it there is no dataset
index.parquet         one row a readable image: who it is, its split, or why it was dropped
quarantine.parquet    one row an unreadable image, with its reason
audit.html            what was found, with thumbnails
pixels-…/             Parquet files with the stored squares, without loss
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from jaxtyping import UInt8
from pydantic import TypeAdapter, ValidationError

from melanoma_ray import storage
from melanoma_ray.config import PrepareConfig
from melanoma_ray.errors import DataError
from melanoma_ray.schema import Split

FORMAT_VERSION = 1
DATASET = "dataset.json"
INDEX = "index.parquet"
QUARANTINE = "quarantine.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetInfo:
    """dataset.json."""

    format_version: int
    fingerprint: str
    """SHA-256 over what training sees: contents, diagnoses, splits and settings."""
    is_synthetic: bool
    config: PrepareConfig
    diagnoses: tuple[str, ...]
    """Of the train split, in the order of the network's outputs."""
    pixels: str
    """Name of the directory with the squares."""
    num_images: dict[str, dict[str, int]]
    """Kept images by split and diagnosis."""
    num_dropped: dict[str, int]
    """Readable images left out, by reason."""
    num_quarantined: dict[str, int]
    """Unreadable images, by fault."""
    num_conflicts: dict[str, int]
    """Contents that stood under several diagnoses, by which."""
    num_rows_without_file: int
    """Of the metadata table."""
    num_files_without_row: int
    """Files left out because the metadata table doesn't know them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedDataset:
    """What a prepared dataset says of itself, and its kept images."""

    uri: str
    info: DatasetInfo
    index: pd.DataFrame
    """Kept images, sorted by path."""

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

    def targets(self, images: pd.DataFrame) -> np.ndarray:
        """Return the class of each image, int64; -1 for a diagnosis that training doesn't know."""
        classes = {diagnosis: i for i, diagnosis in enumerate(self.info.diagnoses)}
        return images["diagnosis"].map(lambda name: classes.get(name, -1)).to_numpy(np.int64)

    @property
    def pixels_uri(self) -> str:
        """Directory of the Parquet files with the squares."""
        return storage.join(self.uri, self.info.pixels)

    def load_pixels(self, paths: Sequence[str]) -> UInt8[np.ndarray, "image side side 3"]:
        """Read the squares of some images into memory, in the order asked for."""
        side = self.info.config.image.side
        place = {path: i for i, path in enumerate(paths)}
        squares = np.empty((len(paths), side, side, 3), np.uint8)
        num_found = 0
        filesystem, root = storage.resolve(self.pixels_uri)
        for file in pq.ParquetDataset(root, filesystem=filesystem).files:
            for batch in pq.ParquetFile(file, filesystem=filesystem).iter_batches(256, columns=["path", "pixels"]):
                names = batch.column("path").to_pylist()
                for row in (row for row, name in enumerate(names) if name in place):
                    flat = np.frombuffer(batch.column("pixels")[row].as_buffer(), np.uint8)
                    squares[place[names[row]]] = flat.reshape(side, side, 3)
                    num_found += 1
        if num_found != len(place):
            msg = f"{self.uri}: {len(place) - num_found} of {len(place)} images have no pixels; prepare again"
            raise DataError(msg)
        return squares


def open_dataset(uri: str) -> PreparedDataset:
    """Open a prepared dataset.

    Raises:
        DataError: There is none, or it has another format version.
    """
    root = storage.absolute(uri)
    info = read_info(root)
    index = storage.read_table(storage.join(root, INDEX)).to_pandas()
    kept = index[index["split"].notna()].sort_values("path").reset_index(drop=True)
    return PreparedDataset(uri=root, info=info, index=kept)


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
    """Return a SHA-256 over what training sees; where the files lie doesn't matter."""
    digest = hashlib.sha256(repr(asdict(config)).encode())
    rows = kept[["content_sha256", "diagnosis", "split"]].sort_values(["content_sha256", "diagnosis", "split"])
    for row in rows.itertuples(index=False):
        digest.update("\t".join(map(str, row)).encode())
    return digest.hexdigest()
