"""Images whose diagnosis nobody needs to know, with what tables tell of their patients: what ``jobs.predict`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from melanoma_ray import storage
from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.patients import is_placed_site
from melanoma_ray.sources.cells import describe_words
from melanoma_ray.sources.files import count_tables, open_source
from melanoma_ray.sources.joining import Known, join_tables
from melanoma_ray.sources.tables import check_named, parse_columns, read_table_file
from melanoma_ray.wording import count

UNREAD_TABLES = "tables, which are read only if given with --metadata"
_OF_A_FILE = ["path", "image_id", "num_bytes", "modified_ns"]
_KNOWN = ("age", "sex", "site", "lesion_id", "patient_id")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageList:
    """The images below a folder, and what became of everything else in it."""

    images: pd.DataFrame
    """path, image_id, num_bytes and modified_ns (of the file, or of the container that it is in), and age (years), sex,
    site, lesion_id and patient_id where a table tells; sorted by path."""
    passed_over: dict[str, int]
    """Files that aren't read as images, by the reason."""
    notes: tuple[str, ...]
    """What a person should know of how the tables fit, a sentence each."""


def list_images(images: str, metadata: Sequence[str] = (), columns: Sequence[str] = ()) -> ImageList:
    """Return all images below a folder, or in a container; a folder that links lead to as well is read once.

    Args:
        images: Folder, HDF5 or Parquet file; local, or such as s3://bucket/folder.
        metadata: Tables with what is known of the patients; none: nothing is known.
        columns: Columns of the tables named by hand, such as ``image=derm``.

    Raises:
        DataError: There is no such folder, no image in it, or no such table.
        ConfigError: A name in ``columns`` isn't one of ours.
    """
    named, taxonomy = parse_columns(columns), load_taxonomy()
    files = open_source(storage.absolute(images), taxonomy, named, most_readings=1)
    tables = [read_table_file(storage.absolute(name), taxonomy, named, is_strict=False) for name in metadata]
    if not files.has_own_columns:
        found = f"{count(len(files.tables), 'table')} in {images} would be read only if given with --metadata"
        check_named(tables, named, [found] if files.tables else [])
    known = join_tables(files, tables, taxonomy)
    frame = files.frame[_OF_A_FILE].assign(**{name: known.fields[name] for name in _KNOWN})
    passed_over = files.passed_over + count_tables(files, [table.name for table in tables], UNREAD_TABLES)
    return ImageList(
        images=frame.sort_values("path", ignore_index=True),
        passed_over=dict(passed_over),
        notes=(*files.notes, *known.notes, *_describe_sites(frame["site"]), *_describe_rows_left(known)),
    )


def _describe_sites(sites: pd.Series) -> list[str]:
    """Say which words for a site of the body mean none of those that a network may use."""
    words = sites.dropna()
    return describe_words("the tables", "site", words[~words.map(is_placed_site).astype(bool)])


def _describe_rows_left(known: Known) -> list[str]:
    """Say how many ids of the tables are of no image."""
    number = sum(len(ids - found) for ids, found in known.rows_found.values())
    return [f"{count(number, 'id')} of the tables {'is' if number == 1 else 'are'} of no image here"] if number else []
