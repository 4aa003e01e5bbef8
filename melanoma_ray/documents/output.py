"""The directory of a report: what of an earlier one is replaced there, and what isn't ours to replace."""

from __future__ import annotations

from typing import Any

from melanoma_ray import storage
from melanoma_ray.errors import DataError, MelanomaRayError
from melanoma_ray.inference.predictions import PREDICTIONS

REPORT, PAGE, CARD = "report.json", "report.html", "model_card.md"
_WRITTEN_FIRST = (PAGE, CARD, PREDICTIONS)
"""In this order, before report.json: an evaluation that was ended on the way leaves the first of them."""
_SIGN = {
    PAGE: b'<meta name="generator" content="melanoma_ray">',
    CARD: b"# Model card\n",
    PREDICTIONS: b"content_sha256",
}
"""What each has if it is of a report of ours; predictions of a batch have no such column."""


def check_output(uri: str) -> str | None:
    """Return a sentence about the earlier report that a new one replaces; none: there is none.

    Args:
        uri: Directory of the report.

    Raises:
        DataError: A file of the same name is there that isn't of a report of ours, nor of one that was ended.
    """
    name = storage.join(uri, REPORT)
    if storage.exists(name):
        return _describe(name)
    left = [other for other in _WRITTEN_FIRST if storage.exists(storage.join(uri, other))]
    is_ours = left == list(_WRITTEN_FIRST[: len(left)])
    for other in left:
        if not (is_ours and _SIGN[other] in storage.read_bytes(storage.join(uri, other))):
            msg = f"output {uri}: has a {other} and no {REPORT} beside it; give a new directory, or take the file away"
            raise DataError(msg)
    return "replaced: what an evaluation left that was ended before it was done" if left else None


def _describe(name: str) -> str:
    try:
        report: dict[str, Any] = storage.read_json(name)
        checkpoint, number = report["model"]["checkpoint_id"], int(report["figures"]["num_images"])
        data = str(report["data"])
    except (KeyError, TypeError, ValueError, MelanomaRayError) as error:
        msg = f"output {name}: not a report of jobs.evaluate, and would be overwritten; give a new directory"
        raise DataError(msg) from error
    return f"replaced: the report of checkpoint {checkpoint} on {number:,} images of {data}"
