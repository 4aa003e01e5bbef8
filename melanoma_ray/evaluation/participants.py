"""The flow of images from the files that were found to the figures: what was left out on the way, and why."""

from __future__ import annotations

from typing import Any

from melanoma_ray.evaluation.subject import Subject


def count_participants(subject: Subject) -> dict[str, Any]:
    """Return the number of images at each step, as plain values.

    Args:
        subject: The model and the images.
    """
    info = subject.dataset.info
    kept = sum(sum(counts.values()) for counts in info.num_images.values())
    steps = {
        "files_without_row": info.num_files_without_row,
        "other_diagnoses": dict(info.num_left_out),
        "unreadable": dict(info.num_quarantined),
        "dropped": dict(info.num_dropped),
    }
    lost = info.num_files_without_row + sum(
        sum(counts.values()) for counts in (info.num_left_out, info.num_quarantined, info.num_dropped)
    )
    in_scope = len(subject.images) + sum(subject.left_out.values())
    return {
        "rows_without_file": info.num_rows_without_file,
        "found": kept + lost,
        **steps,
        "prepared": kept,
        "in_other_splits": kept - in_scope,
        "known_and_left_out": sum(subject.left_out.values()),
        "evaluated": len(subject.images),
        "groups_evaluated": int(subject.images["group_id"].nunique()),
    }
