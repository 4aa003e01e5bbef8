"""audit.html and audit.json beside a prepared dataset: what was found in the collection, and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from melanoma_ray import storage
from melanoma_ray.dataset.prepared import DatasetInfo, PreparedDataset
from melanoma_ray.diagnoses import Diagnosis, sort_diagnoses
from melanoma_ray.patients import is_placed_site
from melanoma_ray.preparation.findings import describe_losses, list_findings
from melanoma_ray.preparation.labels import Labels
from melanoma_ray.preparation.near_duplicates import NearDuplicates
from melanoma_ray.preparation.shortcuts import ShortcutReport, measure_shortcuts
from melanoma_ray.reports.audit import AuditPage, AuditTable, UnreadableImage, render_audit
from melanoma_ray.wording import list_kinds

AUDIT = "audit.html"
_FIGURES = "audit.json"
_GIVEN = frozenset({"no split was given"})
_MAX_UNREADABLE = 500
"""Rows of the page; quarantine.parquet has them all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What preparation found out about a collection."""

    dataset: PreparedDataset
    """With all readable images in its index, dropped ones too."""
    quarantine: pd.DataFrame
    labels: Labels
    near_duplicates: NearDuplicates


def write_audit(evidence: Evidence) -> None:
    """Write the page and the figures; the pixels are there already."""
    dataset, index = evidence.dataset, evidence.dataset.index
    info = dataset.info
    shortcuts = measure_shortcuts(index[index["split"].notna()])
    findings = list_findings(dataset, evidence.labels, evidence.near_duplicates)
    order = info.taxonomy
    tables = [_survivors(index, order), _sizes(index, order), _shortcuts(shortcuts), _skin(index, order)]
    facts = _facts(info, index, evidence.quarantine)
    page = AuditPage(
        title="Audit of a collection",
        is_synthetic=info.is_synthetic,
        facts=facts,
        warnings=[*describe_losses(index, evidence.labels, info.taxonomy), *_warnings(info)],
        class_counts=info.count_by_diagnosis(),
        findings=findings,
        tables=tables,
        unreadable=[
            UnreadableImage(path=str(row.path), fault=str(row.fault), detail=str(row.detail))
            for row in evidence.quarantine.head(_MAX_UNREADABLE).itertuples()
        ],
    )
    figures: dict[str, Any] = {
        "is_synthetic": info.is_synthetic,
        "facts": facts,
        "warnings": list(page.warnings),
        "num_images": info.num_images,
        "num_conflicts": info.num_conflicts,
        "num_dropped": info.num_dropped,
        "num_quarantined": info.num_quarantined,
        "findings": [{"name": f.name, "num_images": f.num_images, "treatment": f.treatment} for f in findings],
        "tables": [asdict(table) for table in tables],
        "shortcut_baseline": asdict(shortcuts),
        "near_duplicates": _pairs(index, evidence.near_duplicates),
    }
    storage.write_bytes(storage.join(dataset.uri, AUDIT), render_audit(page).encode())
    storage.write_json(storage.join(dataset.uri, _FIGURES), figures)


def _pairs(index: pd.DataFrame, near_duplicates: NearDuplicates) -> list[dict[str, Any]]:
    ids = index["image_id"].to_numpy()
    return [
        {"image_ids": [str(ids[i]), str(ids[j])], "similarity": round(float(value), 3)}
        for (i, j), value in zip(near_duplicates.pairs, near_duplicates.similarity, strict=True)
    ]


def _facts(info: DatasetInfo, index: pd.DataFrame, quarantine: pd.DataFrame) -> dict[str, str]:
    kept = index["split"].notna()
    split = info.config.split
    cut = int((index["border_fraction"] > 0).sum())
    left_out = ", ".join(f"{count:,} {word}" for word, count in sorted(info.num_left_out.items()))
    facts = {
        "Sources": ", ".join(sorted(index["source"].unique())),
        "Images found": f"{len(index) + len(quarantine):,}",
        "Kept": f"{int(kept.sum()):,} in {index.loc[kept, 'group_id'].nunique():,} groups of one lesion or patient",
        "Dropped": f"{int((~kept).sum()):,}",
        "Unreadable": f"{len(quarantine):,}",
        "Left out": f"{left_out}: none of the {len(info.taxonomy)} diagnoses" if left_out else "",
        "Files passed over": list_kinds(info.passed_over),
        "Given split": next((note for note in info.notes if note in _GIVEN or note.startswith("given split")), ""),
        "Sites without a place": _describe_unplaced(index),
        "Rows without a file": f"{info.num_rows_without_file:,} of the metadata tables",
        "Files without a diagnosis": f"{info.num_files_without_row:,} that no folder and no table tells, left out",
        "Dark borders": f"cut off of {cut:,} images" if info.config.image.crop_border else "left as they are",
        "Split": f"{split.method}, seed {split.seed}"
        + (f", {split.num_folds} folds (val is fold 0)" if split.num_folds else ""),
    }
    return {name: value for name, value in facts.items() if value}


def _warnings(info: DatasetInfo) -> list[str]:
    """Return what wasn't understood of the sources, as sentences."""
    notes = [note for note in info.notes if note not in _GIVEN and not note.startswith("given split")]
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _describe_unplaced(index: pd.DataFrame) -> str:
    """Return the tables' words for a site of the body that have no place among the network's, with their numbers."""
    words = index["site"].dropna()
    unplaced = words[~words.map(is_placed_site).astype(bool)].value_counts()
    return ", ".join(f"{count:,} {word}" for word, count in unplaced.items())


def _survivors(index: pd.DataFrame, order: Sequence[Diagnosis]) -> AuditTable:
    """Tell what remains of each diagnosis, and where the rest went."""
    rows = []
    for name in sort_diagnoses({*index["claimed_diagnosis"], *index["diagnosis"]}, order):
        claimed = index[index["claimed_diagnosis"] == name]
        became = index[index["diagnosis"] == name]
        moved = int((claimed["diagnosis"] != name).sum())
        why = claimed["dropped"].value_counts()
        lost = "; ".join(f"{count:,} {reason}" for reason, count in why.items())
        rows.append([name, f"{len(claimed):,}", f"{moved:,}", lost, f"{int(became['split'].notna().sum()):,}"])
    return AuditTable(
        title="What remains of each diagnosis",
        note="By the claim an image came with. A table's diagnosis can move an image to another row.",
        columns=["Diagnosis", "Images claimed", "Moved by a table", "Dropped", "Images kept"],
        rows=rows,
    )


def _sizes(index: pd.DataFrame, order: Sequence[Diagnosis]) -> AuditTable:
    rows = [
        [
            name,
            *(_range(group[column]) for column in ("width", "height")),
            _range((group["image_bytes"] / 1024).round()),
            f"{(group['corner_brightness'] < 0.5).mean():.1%}",
        ]
        for name, group in _by_diagnosis(index, order)
    ]
    return AuditTable(
        title="Sizes by diagnosis",
        note="Smallest, median and largest. Sizes that differ by diagnosis come from different cameras.",
        columns=["Diagnosis", "Width, px", "Height, px", "File, KiB", "Dark corners"],
        rows=rows,
    )


def _skin(index: pd.DataFrame, order: Sequence[Diagnosis]) -> AuditTable:
    rows = []
    for name, group in _by_diagnosis(index, order):
        angle = group["ita_degrees"].dropna()
        quartiles = [f"{value:.0f}°" for value in angle.quantile([0.25, 0.5, 0.75])] if len(angle) else ["–"] * 3
        rows.append([name, f"{len(angle):,}", *quartiles])
    return AuditTable(
        title="Skin tone estimate by diagnosis",
        note=(
            "Individual typology angle of the skin around the lesion: above 55° very light, below -30° dark "
            "(Chardon 1991). Cameras, light and white balance move it by tens of degrees and nothing here is "
            "calibrated: it compares collections roughly and says nothing of a person. Images without visible "
            "skin aren't counted."
        ),
        columns=["Diagnosis", "Images", "Lower quartile", "Median", "Upper quartile"],
        rows=rows,
    )


def _shortcuts(report: ShortcutReport) -> AuditTable:
    title = "Shortcut baseline"
    if report.reason is not None:
        return AuditTable(title=title, note=f"Not measured: {report.reason}.", columns=[], rows=[])
    beside = {
        "accuracy": f"{report.commonest_accuracy:.3f} by the commonest diagnosis",
        "balanced_accuracy": f"{report.chance_balanced_accuracy:.3f} by chance",
        "melanoma_auroc": "0.500 by chance",
    }
    rows = [
        [name.replace("_", " "), f"{e.value:.3f} ({e.low:.3f}–{e.high:.3f})", beside[name]]
        for name, e in report.figures.items()
    ]
    best = ", ".join(f"{name} {value:.3f}" for name, value in list(report.importance.items())[:4])
    return AuditTable(
        title=title,
        note=(
            f"Gradient boosting that sees image size, file size, mean colours and corners, but no lesion; fitted on "
            f"{report.num_train:,} train images, measured on {report.num_test:,} of val and test (95 % interval). The "
            f"further it lies above the right column, the more a network can learn from the camera instead of the "
            f"lesion. Balanced accuracy lost without a feature: {best}."
        ),
        columns=["Figure", "Without seeing the lesion", "Beside it"],
        rows=rows,
    )


def _by_diagnosis(index: pd.DataFrame, order: Sequence[Diagnosis]) -> list[tuple[str, pd.DataFrame]]:
    groups = {str(name): group for name, group in index.groupby("diagnosis")}
    return [(name, groups[name]) for name in sort_diagnoses(groups, order)]


def _range(values: pd.Series) -> str:
    low, middle, high = np.quantile(values, [0, 0.5, 1])
    return f"{low:,.0f}" if low == high else f"{low:,.0f} – {middle:,.0f} – {high:,.0f}"
