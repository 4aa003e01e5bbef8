"""Prepare a collection: ray job submit --working-dir . -- python -m jobs.prepare --images DIR --output DIR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from melanoma_ray import storage
from melanoma_ray.config import PrepareConfig
from melanoma_ray.dataset.prepared import DatasetInfo
from melanoma_ray.preparation.pipeline import check_output, prepare
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.sources.taxonomies import open_taxonomy

from . import console, formatting
from .progress import show_progress


@dataclass(frozen=True, kw_only=True)
class PrepareArguments:
    """Read, check, decode, resize and split a collection of images."""

    images: tuple[str, ...]
    """One or more folders, HDF5 or Parquet files with images, local or s3:// (docs/layouts.md)."""
    output: str
    """Directory for the prepared dataset; one that exists is brought up to date."""
    metadata: tuple[str, ...] = ()
    """CSV tables, or FHIR Bundles, with metadata of the images; by default those in or next to each folder."""
    taxonomy: str | None = None
    """CSV table that maps further names of lesions to diagnoses, with columns name,diagnosis (docs/layouts.md),
    or a built-in taxonomy of two classes: benign-malignant or melanoma-other."""
    columns: tuple[str, ...] = ()
    """Columns of the tables that can't be recognised by their names, such as image=derm diagnosis=dx lesion=case_num;
    also patient, age, sex, site and split."""
    reviewed: tuple[str, ...] = ()
    """Tables of people's readings (reviewed.csv, as a worklist exports them), for images of which neither a folder nor
    a table tells the diagnosis; docs/layouts.md says by which rules readers are settled."""
    config: Annotated[PrepareConfig, tyro.conf.arg(name="")] = field(default_factory=PrepareConfig)


def main(arguments: PrepareArguments) -> DatasetInfo:
    """Prepare and print what was found."""
    taxonomy = None if arguments.taxonomy is None else open_taxonomy(arguments.taxonomy)
    collection = read_collection(arguments.images, arguments.metadata, taxonomy, arguments.columns, arguments.reviewed)
    check_output(arguments.output)
    storage.check_writable(arguments.output)
    console.connect()
    info = prepare(collection, arguments.output, arguments.config, show_progress=show_progress)
    print(formatting.describe_dataset(info, arguments.output))
    return info


if __name__ == "__main__":
    console.run_job(main, PrepareArguments)
