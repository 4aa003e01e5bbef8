"""Everything that the page and the model card are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from melanoma_ray.evaluation.comparison import Comparison, Earlier
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.probes.explanations import Explanations
from melanoma_ray.evaluation.probes.robustness import Robustness
from melanoma_ray.evaluation.probes.shortcuts import Shortcuts
from melanoma_ray.evaluation.readers import Readers
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subgroups import Subgroup
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.thresholds import FixedThresholds
from melanoma_ray.reports.plots import CurvePoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything that the page is made of."""

    subject: Subject
    scored: Scored
    figures: Figures
    unseen: Figures | None
    """Figures of the images that the model doesn't know, where it knows others."""
    thresholds: FixedThresholds
    subgroups: Sequence[Subgroup]
    comparison: Comparison | None
    earlier: Earlier | None
    robustness: Robustness | None
    shortcuts: Shortcuts | None
    """None: not asked for, as the explanations."""
    explanations: Explanations | None
    readers: Readers | None
    history: Sequence[CurvePoint]
    """One record for each epoch of the training; empty if they are unknown."""
