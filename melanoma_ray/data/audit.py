"""audit.html beside a prepared dataset: what was found in the collection, and what was done about it."""

from __future__ import annotations

import pandas as pd

from melanoma_ray import storage
from melanoma_ray.data.dataset import DatasetInfo, PreparedDataset
from melanoma_ray.data.duplicates import CONFLICT, DUPLICATE
from melanoma_ray.data.splits import CROSSES
from melanoma_ray.diagnoses import sort_diagnoses
from melanoma_ray.reports.audit import AuditImage, AuditPage, Finding, UnreadableImage, render_audit
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.schema import SPLITS

AUDIT = "audit.html"
_MAX_EXAMPLES = 8
"""Groups shown of each finding; index.parquet has them all."""


def write_audit(uri: str, info: DatasetInfo, index: pd.DataFrame, quarantine: pd.DataFrame) -> None:
    """Write the page.

    Args:
        uri: Directory of the prepared dataset; its pixels are there already.
        info: What dataset.json will say.
        index: All readable images.
        quarantine: The unreadable ones.
    """
    dataset = PreparedDataset(uri=uri, info=info, index=index)
    page = AuditPage(
        title="Audit of a collection",
        is_synthetic=info.is_synthetic,
        facts=_facts(info, index, quarantine),
        class_counts=count_by_diagnosis(info),
        findings=_findings(dataset),
        unreadable=[
            UnreadableImage(path=str(row.path), fault=str(row.fault), detail=str(row.detail))
            for row in quarantine.itertuples()
        ],
    )
    storage.write_bytes(storage.join(uri, AUDIT), render_audit(page).encode())


def count_by_diagnosis(info: DatasetInfo) -> dict[str, dict[str, int]]:
    """Return the kept images by diagnosis and split."""
    names = sort_diagnoses({name for counts in info.num_images.values() for name in counts})
    return {name: {split: info.num_images[split].get(name, 0) for split in SPLITS} for name in names}


def _facts(info: DatasetInfo, index: pd.DataFrame, quarantine: pd.DataFrame) -> dict[str, str]:
    kept = index["split"].notna()
    return {
        "Images found": f"{len(index) + len(quarantine):,}",
        "Kept": f"{int(kept.sum()):,} in {index.loc[kept, 'group_id'].nunique():,} groups of one lesion or patient",
        "Dropped": f"{int((~kept).sum()):,}",
        "Unreadable": f"{len(quarantine):,}",
        "Rows without a file": f"{info.num_rows_without_file:,} of the metadata table",
        "Files without a row": f"{info.num_files_without_row:,} that the metadata table doesn't know, left out",
        "Sizes": f"width {_range(index['width'])}, height {_range(index['height'])} pixels",
        "Split": f"{info.config.split.method}, seed {info.config.split.seed}",
    }


def _range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _findings(dataset: PreparedDataset) -> list[Finding]:
    index, policy = dataset.index, dataset.info.config.duplicates
    by_content = index.groupby("content_sha256")
    several = index[by_content["diagnosis"].transform("nunique") > 1]
    copies = index[(by_content["path"].transform("size") > 1) & ~index.index.isin(several.index)]
    crossing = index[index["dropped"] == CROSSES]
    is_kept = policy == "keep"
    findings = [
        Finding(
            name=CONFLICT.capitalize(),
            meaning="The same image stands under several diagnoses, and nobody can tell which label is true.",
            treatment="All were kept, as asked." if is_kept else "All were dropped.",
            num_images=len(several),
            examples=_examples(dataset, several, "content_sha256"),
        ),
        Finding(
            name=DUPLICATE.capitalize() + "s",
            meaning="The same image stands there several times; on both sides of a split it flatters every figure.",
            treatment="All were kept, as asked." if is_kept else "The first of each was kept.",
            num_images=len(copies),
            examples=_examples(dataset, copies, "content_sha256"),
        ),
        Finding(
            name="Relatives of test images",
            meaning="Their lesion or patient stands in the test split that the collection came with.",
            treatment="They were dropped.",
            num_images=len(crossing),
            examples=_examples(dataset, crossing, "group_id"),
        ),
    ]
    return [finding for finding in findings if finding.num_images]


def _examples(dataset: PreparedDataset, images: pd.DataFrame, key: str) -> list[list[AuditImage]]:
    """Return the first groups, each with its images."""
    shown = images[images[key].isin(images[key].unique()[:_MAX_EXAMPLES])]
    if shown.empty:
        return []
    squares = dict(zip(shown["path"], dataset.load_pixels(list(shown["path"])), strict=True))
    return [
        [
            AuditImage(image_id=image_id, caption=diagnosis, thumbnail=thumbnail_data_uri(squares[path]))
            for image_id, diagnosis, path in zip(group["image_id"], group["diagnosis"], group["path"], strict=True)
        ]
        for _, group in shown.groupby(key, sort=False)
    ]
