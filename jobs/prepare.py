"""Prepare a collection: ray job submit --working-dir . -- python -m jobs.prepare --images DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from jobs import console, wording
from melanoma_ray.config import PrepareConfig
from melanoma_ray.data.dataset import DatasetInfo
from melanoma_ray.data.layouts import read_collection
from melanoma_ray.data.preparation import prepare


@dataclass(frozen=True, kw_only=True)
class PrepareArguments:
    """Read, decode, check, resize and split a collection of images."""

    images: str
    """Folder of the collection: <diagnosis>/*.jpg, or images and a table; local or s3://."""
    output: str
    """Directory of the prepared dataset."""
    metadata: str | None = None
    """Table of the images, CSV; by default metadata.csv or HAM10000_metadata.csv in the folder."""
    config: Annotated[PrepareConfig, tyro.conf.arg(name="")] = field(default_factory=PrepareConfig)


def main(arguments: PrepareArguments) -> DatasetInfo:
    """Prepare and print what was found."""
    collection = read_collection(arguments.images, arguments.metadata)
    console.connect()
    info = prepare(collection, arguments.output, arguments.config)
    print(wording.describe_dataset(info, arguments.output))
    return info


if __name__ == "__main__":
    console.run(main, PrepareArguments)
