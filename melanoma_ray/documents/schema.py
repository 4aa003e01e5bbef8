"""report.json as a JSON Schema, docs/report.schema.json: python -m melanoma_ray.documents.schema prints it.

A field may be added without a new version; one that changes its meaning or goes raises ``FORMAT_VERSION``.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from melanoma_ray.diagnoses import ReferredFor
from melanoma_ray.evaluation.probes.explanations import Explained
from melanoma_ray.evaluation.probes.robustness import Robustness
from melanoma_ray.evaluation.probes.shortcuts import Shortcuts
from melanoma_ray.evaluation.readers import Readers
from melanoma_ray.evaluation.referral import Referral
from melanoma_ray.evaluation.subgroups import Subgroup
from melanoma_ray.evaluation.thresholds import OneWayRow
from melanoma_ray.evaluation.uncertainty import Uncertainty
from melanoma_ray.inference.explanation import Method
from melanoma_ray.inference.faithfulness import Faithfulness
from melanoma_ray.metrics.calibration import CalibrationLine, ReliabilityBin
from melanoma_ray.metrics.calibration_error import CalibrationError
from melanoma_ray.metrics.comparison import Difference, McNemar, Reclassification
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.multiclass import DiagnosisFigures
from melanoma_ray.metrics.tables import NetBenefit, OperatingPoint, TwoWayRow
from melanoma_ray.schema import Scope

FORMAT_VERSION = 2
"""Of report.json."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow")


class KnownImages(_Part):
    """How the model knows the evaluated images; where is_told is false, only left_out is there."""

    is_told: bool = Field(description="Whether the checkpoint has a list of known images.")
    learnt: int | None = Field(default=None, description="Number of evaluated images that the model learnt from.")
    calibrated: int | None = Field(default=None, description="Number that it was calibrated on, but didn't learn from.")
    held_out: int | None = Field(default=None, description="Number that were held out in its training.")
    new: int | None = Field(default=None, description="Number of all others.")
    reasons: dict[str, int] = Field(default_factory=dict, description="Learnt and calibrated ones by how recognised.")
    left_out: dict[str, int] = Field(description="Images that were left out because the model knows them, likewise.")
    ids_are_shared: bool | None = Field(
        default=None, description="Whether equal ids of lesions and patients were taken for the same ones."
    )


class Participants(_Part):
    """Number of images at each step from the files to the figures."""

    rows_without_file: int | None = Field(
        default=None, description="Number of rows of the tables whose image isn't there; not among those found."
    )
    found: int
    files_without_row: int
    other_diagnoses: dict[str, int]
    unreadable: dict[str, int]
    dropped: dict[str, int]
    prepared: int
    in_other_splits: int
    known_and_left_out: int
    evaluated: int
    groups_evaluated: int


class FiguresOfImages(_Part):
    """All figures of some images; a main figure that isn't defined is absent, and its reason is in undefined."""

    num_images: int
    num_unknown: int = Field(description="Number of images whose diagnosis the model doesn't have.")
    num_unanswered: int = Field(description="Number of images for which the network's answer isn't finite.")
    accuracy: Estimate | None = None
    balanced_accuracy: Estimate | None = None
    melanoma_auroc: Estimate | None = None
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None
    brier_score: float | None = None
    expected_calibration_error: float | None = None
    recall: dict[str, Estimate]
    apart: list[str] = Field(description="Diagnoses with too few groups to count in the balanced accuracy.")
    confusion: list[list[int]] = Field(
        description="Images by true (rows) and predicted diagnosis, as in model.diagnoses."
    )
    average_precision: Estimate | None
    partial_auroc: Estimate | None
    brier_score_interval: Estimate | None
    calibration_error: CalibrationError | None
    calibration_line: CalibrationLine | None
    reliability: list[ReliabilityBin]
    operating_point: OperatingPoint | None
    decision_curve: list[NetBenefit]
    by_diagnosis: dict[str, DiagnosisFigures]
    referral: Referral
    uncertainty: Uncertainty | None = Field(
        default=None, description="Prediction sets, and the error by the share of images that remain."
    )
    undefined: dict[str, str]


class ExplanationsOfImages(_Part):
    """Explained images: scores of their maps, beside those of a random order, and similar training cases."""

    method: Method
    num_images: int
    mean: Faithfulness = Field(description="Mean of the explained images.")
    images: list[Explained]
    num_wrong: int = Field(description="Number of images whose predicted diagnosis is wrong.")
    num_compared: int = Field(description="Number of training images among which similar ones were looked for.")
    no_similar: str = Field(description="Why there are no similar cases; empty: there are.")


class ComparisonOfModels(_Part):
    """Another model (first) and this one (second) on the same images."""

    other: dict[str, Any]
    num_images: int
    num_changed: int = Field(description="Number of images that exactly one of the two refers.")
    num_left_out: int | None = Field(
        default=None, description="Number of further images that the other model isn't asked about: it knows them."
    )
    num_learnt: int | None = Field(default=None, description="Number that the other model learnt from.")
    num_calibrated: int | None = Field(default=None, description="Number that the other model was calibrated on.")
    num_shared: int | None = Field(
        default=None, description="Number of images whose diagnosis both models have; accuracy is of these."
    )
    auroc: Difference | None
    accuracy: Difference | None
    right: McNemar | None = Field(description="The counts behind accuracy; its p-value is that of accuracy.")
    referral: Reclassification | None


class Report(_Part):
    """Content of report.json. Probabilities and shares are in [0, 1]."""

    format_version: Literal[2]
    split: Scope
    is_whole_collection: bool = Field(
        default=False, description="Whether the images are a collection without splits; split is then test."
    )
    about: ReferredFor = Field(description="What sensitivity, specificity and AUROC are of.")
    data: str = Field(description="Directory of the prepared dataset.")
    data_fingerprint: str
    is_same_data_as_training: bool
    is_synthetic: bool = Field(description="Whether images or model are synthetic.")
    model: dict[str, Any] = Field(description="The checkpoint: id, parent, network, diagnoses, calibration, versions.")
    known_images: KnownImages
    participants: Participants
    figures: FiguresOfImages
    figures_of_unseen_images: FiguresOfImages | None
    thresholds_fixed_on_validation: list[TwoWayRow] = Field(
        description="Empty where images are of one kind; see thresholds_on_one_kind and thresholds_undefined."
    )
    thresholds_on_one_kind: list[OneWayRow] = Field(
        default_factory=list, description="The half that is defined where all images are of one kind."
    )
    thresholds_undefined: str | None = Field(default=None, description="What of these isn't defined, and why.")
    subgroups: list[Subgroup]
    comparison: ComparisonOfModels | None
    robustness: Robustness | None = Field(
        default=None, description="How views and networks agree; null where there is one of each."
    )
    shortcuts: Shortcuts | None = Field(
        default=None, description="The model on changed images, and models that never see the lesion; if asked for."
    )
    explanations: ExplanationsOfImages | None = Field(
        default=None, description="Maps of the surest errors and of some hits; if asked for."
    )
    readers: Readers | None = Field(default=None, description="How the model and people agree, if readings were given.")
    beside: dict[str, Any] | None = Field(description="An earlier report's figures, and the drop to those here.")


def render_schema() -> str:
    """Return the JSON Schema as text."""
    return json.dumps(Report.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render_schema())
