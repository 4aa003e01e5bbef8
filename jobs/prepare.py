"""Prepare a collection: ray job submit --working-dir . -- python -m jobs.prepare --images DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from jobs import console, wording
from jobs.progress import track
from melanoma_ray import storage
from melanoma_ray.config import PrepareConfig
from melanoma_ray.data.dataset import DatasetInfo
from melanoma_ray.data.layouts import read_collection
from melanoma_ray.data.preparation import prepare
from melanoma_ray.diagnoses import load_taxonomy


@dataclass(frozen=True, kw_only=True)
class PrepareArguments:
    """Read, decode, check, resize and split a collection of images."""

    images: tuple[str, ...]
    """One or several folders, HDF5 or Parquet files with images; local or s3:// (docs/layouts.md)."""
    output: str
    """Directory of the prepared dataset; what is there is brought up to date."""
    metadata: tuple[str, ...] = ()
    """CSV tables of the images; by default those in or beside each folder."""
    taxonomy: str | None = None
    """CSV that says what further words for a lesion mean: name,diagnosis (docs/layouts.md)."""
    config: Annotated[PrepareConfig, tyro.conf.arg(name="")] = field(default_factory=PrepareConfig)


def main(arguments: PrepareArguments) -> DatasetInfo:
    """Prepare and print what was found."""
    text = None if arguments.taxonomy is None else storage.read_bytes(arguments.taxonomy).decode()
    collection = read_collection(arguments.images, arguments.metadata, load_taxonomy(text))
    console.connect()
    info = prepare(collection, arguments.output, arguments.config, track=track)
    print(wording.describe_dataset(info, arguments.output))
    return info


if __name__ == "__main__":
    console.run(main, PrepareArguments)
