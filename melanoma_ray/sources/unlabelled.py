"""Images whose diagnosis nobody needs to know, with what tables tell of their patients: what ``jobs.predict`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from melanoma_ray import storage
from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.sources.files import TABLES, open_source
from melanoma_ray.sources.joining import join_tables
from melanoma_ray.sources.tables import check_named, parse_columns, read_table_file
from melanoma_ray.wording import count

_KNOWN = ("age", "sex", "site", "lesion_id", "patient_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageList:
    """The images below a folder, and what became of everything else in it."""

    images: pd.DataFrame
    """path, image_id, and age (years), sex, site, lesion_id and patient_id where a table tells; sorted by path."""
    passed_over: dict[str, int]
    """Files that aren't read as images, by the reason."""
    notes: tuple[str, ...]
    """What a person should know of how the tables fit, a sentence each."""


def list_images(images: str, metadata: Sequence[str] = (), columns: Sequence[str] = ()) -> ImageList:
    """Return all images below a folder, or in a container.

    Args:
        images: Folder, HDF5 or Parquet file; local, or such as s3://bucket/folder.
        metadata: Tables with what is known of the patients; none: nothing is known.
        columns: Columns of the tables named by hand, such as ``image=derm``.

    Raises:
        DataError: There is no such folder, no image in it, or no such table.
        ConfigError: A name in ``columns`` isn't one of ours.
    """
    named, taxonomy = parse_columns(columns), load_taxonomy()
    files = open_source(storage.absolute(images), taxonomy, named)
    tables = [read_table_file(storage.absolute(name), taxonomy, named, is_strict=False) for name in metadata]
    if not files.has_own_columns:
        found = f"{count(len(files.tables), 'table')} in {images} would be read only if given with --metadata"
        check_named(tables, named, [found] if files.tables else [])
    known = join_tables(files, tables, taxonomy)
    frame = files.frame[["path", "image_id"]].assign(**{name: known.fields[name] for name in _KNOWN})
    passed_over = dict(files.passed_over)
    if files.tables:
        passed_over[TABLES] = passed_over.get(TABLES, 0) + len(files.tables)
    return ImageList(
        images=frame.sort_values("path", ignore_index=True),
        passed_over=passed_over,
        notes=(*files.notes, *known.notes),
    )
