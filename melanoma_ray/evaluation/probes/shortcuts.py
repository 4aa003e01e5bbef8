"""Does the model look at the lesion? Its figures on changed images, and what can be told without the lesion at all.

Every change is compared with the unchanged image, on the images to which it applies. Beside stand two models that never
see the lesion: one of age, sex and site, and preparation's own of sizes, mean colours and corners.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64
from sklearn.linear_model import LogisticRegression

from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.imaging.alteration import cut_border, mask_lesion, remove_hair, turn_grey
from melanoma_ray.inference.scoring import Alter, Scoring
from melanoma_ray.metrics.comparison import Difference, compare_auroc, compare_shares
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_share
from melanoma_ray.metrics.ranking import estimate_auroc
from melanoma_ray.patients import encode_metadata
from melanoma_ray.preparation.shortcuts import measure_shortcuts

Change = Literal["border cut off", "hair removed", "in grey", "lesion masked out"]
ALTERATIONS: dict[Change, Alter] = {
    "border cut off": cut_border,
    "hair removed": remove_hair,
    "in grey": turn_grey,
    "lesion masked out": mask_lesion,
}
BaselineName = Literal["age, sex and site", "sizes, mean colours and corners"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Altered:
    """The model on images that were changed (second) beside the same unchanged (first)."""

    change: Change
    applied: Estimate
    """Share of the images that the change applies to: those with hair, or whose lesion was found."""
    auroc: Difference | None
    """None: it isn't defined for the images that the change applies to."""
    sensitivity: Difference | None
    specificity: Difference | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What a model that never sees the lesion can tell."""

    name: BaselineName
    num_train: int
    """Images of the train split that it was fitted on."""
    auroc: Estimate | None
    compared: Difference | None
    """AUROC of this baseline (first) and of the model (second) on the same images; none: it isn't comparable."""
    reason: str = ""
    """Why there is no figure; empty: there is one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shortcuts:
    """Everything that is told about shortcuts."""

    altered: tuple[Altered, ...]
    baselines: tuple[Baseline, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return asdict(self)


def measure_all(subject: Subject, scored: Scored, *, use_gpu: bool = False) -> Shortcuts:
    """Score the images once for each change, and return what it changes, and the baselines.

    Args:
        subject: The model and the images.
        scored: Its answers for the unchanged images.
        use_gpu: Score on GPUs instead of CPUs.
    """
    return Shortcuts(
        altered=tuple(_alter(subject, scored, change, use_gpu=use_gpu) for change in ALTERATIONS),
        baselines=(_by_metadata(subject, scored), _by_measurements(subject, scored)),
    )


def _alter(subject: Subject, scored: Scored, change: Change, *, use_gpu: bool) -> Altered:
    outputs = subject.ask(Scoring(alter=ALTERATIONS[change]), use_gpu=use_gpu)
    is_applied = outputs.is_altered
    assert is_applied is not None
    return compare_altered(change, scored, subject.judge(outputs), is_applied)


def compare_altered(change: Change, before: Scored, after: Scored, is_applied: Bool[np.ndarray, " image"]) -> Altered:
    """Return what a change of the images changes of the model's answers, on those that it applies to.

    Args:
        change: The change.
        before: Answers for the unchanged images.
        after: Answers for the changed ones, in the same order.
        is_applied: Which images the change applies to.
    """
    first, second = before.select(is_applied), after.select(is_applied)
    is_answered = first.predictions.is_answered & second.predictions.is_answered
    ranked, other = first.select(is_answered), second.select(is_answered)
    melanoma, group, attempt = first.is_melanoma, first.group, Attempts().attempt

    def share(of: Bool[np.ndarray, " image"], *, referred: bool) -> Callable[[], Difference]:
        decided = [one.is_referred[of] == referred for one in (first, second)]
        return lambda: compare_shares(decided[0], decided[1], group[of])

    return Altered(
        change=change,
        applied=estimate_share(is_applied, before.group),
        auroc=attempt("auroc", lambda: compare_auroc(ranked.score, other.score, ranked.is_melanoma, ranked.group)),
        sensitivity=attempt("sensitivity", share(melanoma, referred=True)) if melanoma.any() else None,
        specificity=attempt("specificity", share(~melanoma, referred=False)) if (~melanoma).any() else None,
    )


def _by_metadata(subject: Subject, scored: Scored) -> Baseline:
    """Return a regularised logistic regression on age, sex and site, fitted on the train split alone."""
    reason = _why_no_train_split(subject)
    if reason:
        return Baseline(name="age, sex and site", num_train=0, auroc=None, compared=None, reason=reason)
    score: Float64[np.ndarray, " image"] = np.full(len(subject.images), np.nan)
    num_train = 0
    for train, is_asked in _folds(subject):
        is_melanoma = train["diagnosis"].isin(scored.referred).to_numpy(bool)
        features = encode_metadata(train)
        if not features.any() or is_melanoma.all() or not is_melanoma.any():
            reason = "the train split tells no age, sex or site, or has only one kind of image"
            return Baseline(name="age, sex and site", num_train=0, auroc=None, compared=None, reason=reason)
        model = LogisticRegression(class_weight="balanced", max_iter=1000).fit(features, is_melanoma)
        score[is_asked] = model.decision_function(encode_metadata(subject.images[is_asked]))
        num_train += len(train)
    answered = scored.predictions.is_answered
    asked, own = scored.select(answered), score[answered]
    attempts = Attempts()
    found = attempts.attempt("auroc", lambda: estimate_auroc(own, asked.is_melanoma, asked.group))
    return Baseline(
        name="age, sex and site",
        num_train=num_train,
        auroc=found,
        compared=None if found is None else compare_auroc(own, asked.score, asked.is_melanoma, asked.group),
        reason=attempts.undefined.get("auroc", ""),
    )


def _by_measurements(subject: Subject, scored: Scored) -> Baseline:
    """Return preparation's baseline, gradient boosting on simple measurements, of these images."""
    name: BaselineName = "sizes, mean colours and corners"
    reason = _why_no_train_split(subject)
    if not reason and subject.split == "folds":
        reason = "it is fitted for one train split, and folds have several"
    if not reason and scored.about != "melanoma":
        reason = "it tells melanoma, and these figures are about malignancy"
    if reason:
        return Baseline(name=name, num_train=0, auroc=None, compared=None, reason=reason)
    train = subject.dataset.split("train")
    found = measure_shortcuts(pd.concat([train, subject.images.assign(split="test")], ignore_index=True))
    auroc = found.figures.get("melanoma_auroc")
    undefined = "" if auroc else found.reason or "the AUROC isn't defined for these images"
    return Baseline(name=name, num_train=found.num_train, auroc=auroc, compared=None, reason=undefined)


def _why_no_train_split(subject: Subject) -> str:
    """Return why nothing can be fitted on a train split of these data; empty: it can."""
    if subject.is_whole_collection:
        return "a collection without splits has no train split to fit it on"
    if subject.split == "train":
        return "it would be fitted on the images that it is asked about"
    if subject.split != "folds" and not (subject.dataset.index["split"] == "train").any():
        return "the dataset has no train split"
    return ""


def _folds(subject: Subject) -> Iterator[tuple[pd.DataFrame, Bool[np.ndarray, " image"]]]:
    """Yield the images to fit on, and which ones are asked about: once, or for each fold without it."""
    if subject.split != "folds":
        yield subject.dataset.split("train"), np.ones(len(subject.images), bool)
        return
    for fold in range(subject.dataset.info.config.split.num_folds):
        yield subject.dataset.with_fold(fold).split("train"), (subject.images["fold"] == fold).to_numpy(bool)
