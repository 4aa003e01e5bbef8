"""The quickest runtime for this machine that answers as PyTorch in fp32 does, checked before it is used.

The check is made when a checkpoint is loaded, on drawn lesions, since a checkpoint holds no images; ``jobs.export``
makes it on a validation split. bf16 fails it by far (docs/performance.md), so it isn't offered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from jaxtyping import UInt8

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.imaging.decoding import fit_to_square
from melanoma_ray.inference.runtime import OpenVinoRuntime, Runtime, convert, has_openvino
from melanoma_ray.inference.scorer import Outputs, Scorer
from melanoma_ray.synthetic.plan import draw_lesion

if TYPE_CHECKING:
    from melanoma_ray.inference.predictor import Predictions

_log = logging.getLogger(__name__)
Judge = Callable[[Outputs], "Predictions"]
"""From outputs to decisions: ``decide`` with a manifest."""

TOLERANCE: Final = 1e-3
"""Largest difference of a probability to PyTorch's in fp32."""
_NUM_DRAWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How a runtime's answers compare with the reference's."""

    runtime: str
    num_images: int
    largest_difference: float
    """Largest difference of a probability; NaN: one of the two answers isn't finite."""
    num_decisions_changed: int
    """Images whose decision or predicted diagnosis is another one."""

    @property
    def holds(self) -> bool:
        """Whether all probabilities are within the tolerance and no decision is another one."""
        return self.largest_difference <= TOLERANCE and self.num_decisions_changed == 0


def compare(reference: Outputs, found: Outputs, judge: Judge) -> Agreement:
    """Return how outputs compare with those of the reference for the same images.

    Args:
        reference: What PyTorch computed in fp32.
        found: What another runtime computed.
        judge: From outputs to decisions.
    """
    expected, predictions = judge(reference), judge(found)
    is_answered = expected.is_answered
    differences = np.abs(expected.probability - predictions.probability)[is_answered]
    is_other = np.array([a != b for a, b in zip(expected.decision, predictions.decision, strict=True)], bool)
    return Agreement(
        runtime=found.runtime,
        num_images=len(expected),
        largest_difference=float(differences.max()) if differences.size else 0.0,
        num_decisions_changed=int((is_other | (expected.diagnosis != predictions.diagnosis)).sum()),
    )


def use_quickest(scorer: Scorer, judge: Judge) -> None:
    """Have a scorer compute by the quickest runtime that agrees with PyTorch in fp32; else it stays with that.

    Args:
        scorer: The scorer, which computes by PyTorch in fp32.
        judge: From outputs to decisions.
    """
    if scorer.device.type != "cpu" or not has_openvino():
        return
    runtime = _compile(scorer)
    if runtime is None:
        return
    reference, pixels = scorer.runtime, draw_crops(scorer.image_side)
    expected = scorer.answer(pixels)
    scorer.runtime = runtime
    alone, together = scorer.answer(pixels[:1]), scorer.answer(pixels[1:], is_alone=False)
    first = np.arange(len(pixels)) == 0
    agreements = [compare(expected[first], alone, judge), compare(expected[~first], together, judge)]
    if not all(agreement.holds for agreement in agreements):
        scorer.runtime = reference
        num_changed = sum(agreement.num_decisions_changed for agreement in agreements)
        largest = max(agreement.largest_difference for agreement in agreements)
        _log.warning(
            "%s isn't used, since of %d drawn lesions %d got another decision than from PyTorch, and probabilities "
            "differ by up to %.4f (at most %g)",
            *(runtime.name, len(pixels), num_changed, largest, TOLERANCE),
        )


def _compile(scorer: Scorer) -> Runtime | None:
    """Return OpenVINO's runtime of a scorer's networks; none: it can't compute them.

    It may catch every exception, since OpenVINO raises all kinds of them, and PyTorch computes what it can't.
    """
    try:
        models = [convert(member, scorer.image_side) for member in scorer.members]
        return OpenVinoRuntime(models, torch.get_num_threads())
    except Exception as error:  # noqa: BLE001
        reason = str(error).strip().splitlines() or [type(error).__name__]
        _log.warning("OpenVINO can't compute this network, so PyTorch does: %s", reason[0])
        return None


def draw_crops(side: int) -> UInt8[np.ndarray, "image side side 3"]:
    """Return drawn lesions, always the same."""
    drawn = [draw_lesion(diagnosis=DIAGNOSES[i], lesion_seed=i, view_seed=i) for i in range(_NUM_DRAWN)]
    return np.stack([fit_to_square(one, side, "crop") for one in drawn])
