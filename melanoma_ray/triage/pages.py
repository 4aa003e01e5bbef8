"""The pages of a worklist: which image stands on which, with which picture, and under which map."""

from __future__ import annotations

import hashlib
import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from melanoma_ray import storage
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.inference.explanation import explain
from melanoma_ray.inference.predictions import column_name
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.reports.worklist import Worklist, WorklistRow, render_worklist
from melanoma_ray.sources.containers import read_encoded
from melanoma_ray.triage.ranking import find_ugly_ducklings, rank_images, split_pages

MAX_ROWS = 2000
"""Largest number of images of one page; with more of them there are several."""
FIRST_PAGE = "worklist.html"
_FURTHER_PAGE = re.compile(r"worklist-(\d+)\.html")
Pictures = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns the pictures of images as ``data:`` URIs, by key."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Overlays:
    """The maps of what the network went by."""

    by_path: dict[str, str] = field(default_factory=dict)
    """The image under its map as a ``data:`` URI."""
    notes: tuple[str, ...] = ()
    """Why there are none, a sentence each."""


def draw_overlays(predictor: Predictor, ranked: pd.DataFrame, number: int, side: int) -> Overlays:
    """Return the maps of the first images of a worklist, each for its most probable diagnosis that is referred.

    Args:
        predictor: The model; its map is computed by PyTorch.
        ranked: From ``rank_images``.
        number: Number of images.
        side: Largest side, pixels.
    """
    drawn = Overlays()
    referred = predictor.manifest.referred
    for row in ranked.head(number).to_dict("records"):
        diagnosis = max(referred, key=lambda name: row[column_name(name)])
        try:
            pixels = predictor.decode(read_encoded(str(row["path"]))).copy()  # PyTorch warns of what isn't writable
            drawn.by_path[str(row["path"])] = thumbnail_data_uri(explain(predictor, pixels, diagnosis), side)
        except ConfigError as error:
            return Overlays(notes=(f"the worklist shows no explanations: {error}",))
        except (DataError, OSError) as error:
            logging.getLogger(__name__).warning("no explanation of %s: %s", row["path"], error)
    return drawn


def write_pages(
    output: str, answers: pd.DataFrame, predictor: Predictor, pictures: Pictures, *, explain: int
) -> tuple[str, Overlays]:
    """Write all pages of a worklist, and return the first one's address, and the maps on them.

    Args:
        output: Directory of the pages; those of an earlier, longer worklist are deleted.
        answers: Columns of predictions.parquet, and patient_id, lesion_id, key and copies (paths, or None).
        predictor: Who answered.
        pictures: Gives the pictures.
        explain: For how many images, the most urgent, a map is computed.
    """
    manifest = predictor.manifest
    ranked = rank_images(answers)
    columns = [column_name(name) for name in manifest.diagnoses]
    ranked = ranked.assign(is_ugly_duckling=find_ugly_ducklings(ranked, columns))
    unreadable = answers[answers["error"].notna()].sort_values("path")
    bounds = split_pages(ranked, MAX_ROWS) or [(0, 0)]
    names = [FIRST_PAGE, *(f"worklist-{number}.html" for number in range(2, len(bounds) + 1))]
    overlays = draw_overlays(predictor, ranked, explain, side=384) if explain else Overlays()
    worklist = Worklist(
        title="Worklist",
        is_synthetic=manifest.is_synthetic,
        decision_threshold=manifest.calibration.decision_threshold,
        diagnoses=manifest.diagnoses,
        worklist_id=hashlib.sha256(f"{storage.absolute(output)}\n{predictor.checkpoint_id}".encode()).hexdigest()[:16],
        num_by_decision=Counter(ranked["decision"]),
        referred_for=manifest.referred_for,
        pages=names,
        unreadable=[_build_row(row, {}, {}) for row in unreadable.head(MAX_ROWS).to_dict("records")],
        num_unreadable=len(unreadable),
    )
    for number, (begin, end) in enumerate(bounds, 1):
        rows = ranked.iloc[begin:end]
        shown = pictures(list(rows["key"]))
        built = [_build_row(row, shown, overlays.by_path) for row in rows.to_dict("records")]
        page = render_worklist(worklist, built, number=number, first_place=begin + 1)
        storage.write_bytes(storage.join(output, names[number - 1]), page.encode())
    _delete_further_pages(output, len(names))
    return storage.join(output, FIRST_PAGE), overlays


def _build_row(row: Mapping[Any, Any], pictures: Mapping[str, str], overlays: Mapping[str, str]) -> WorklistRow:
    values: dict[Any, Any] = {name: None if _is_null(value) else value for name, value in row.items()}
    return WorklistRow(
        image_id=values["image_id"],
        path=values["path"],
        melanoma_probability=values["melanoma_probability"],
        decision=values["decision"],
        top_diagnosis=values["predicted_diagnosis"],
        thumbnail=pictures.get(values["key"]),
        error=values["error"],
        warnings=tuple(() if values["warnings"] is None else values["warnings"]),
        patient_id=_text(values["patient_id"]),
        lesion_id=_text(values["lesion_id"]),
        is_ugly_duckling=bool(values.get("is_ugly_duckling")),
        overlay=overlays.get(values["path"]),
        copies=tuple(values.get("copies") or ()),
    )


def _is_null(value: object) -> bool:
    return value is None or (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN alone differs from itself


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _delete_further_pages(output: str, number: int) -> None:
    """Delete the pages that an earlier, longer worklist has left."""
    for info in storage.list_infos(output, recursive=False):
        found = _FURTHER_PAGE.fullmatch(info.path.rsplit("/", 1)[-1])
        if found and int(found[1]) > number:
            storage.delete_file(info.path)
