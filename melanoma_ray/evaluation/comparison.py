"""Two comparisons: of two models on the same images, and of one model here with its own earlier report elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64

from melanoma_ray import storage
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.evaluation.attempts import Attempts
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.wording import describe_scope
from melanoma_ray.metrics.comparison import (
    Difference,
    McNemar,
    Reclassification,
    compare_auroc,
    compare_shares,
    mcnemar,
    net_reclassification,
)
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.model.checkpoint import Manifest

_COMPARED = ("accuracy", "balanced_accuracy", "melanoma_auroc", "sensitivity", "specificity")


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Another model (the first) and this one (the second) on the images that neither knows; undefined figures: none."""

    other: Mapping[str, object]
    """Description of the other model, as ``Predictor.describe`` gives it."""
    num_images: int
    num_left_out: int
    """Images of this model's evaluation that the other one isn't asked about, because it knows them."""
    num_learnt: int
    """Images among these that the other model learnt from, or others of their lesions or patients."""
    num_calibrated: int
    """Images among these that the other model was calibrated on."""
    num_shared: int
    """Images whose diagnosis both models have; accuracy and right are of these."""
    auroc: Difference | None
    accuracy: Difference | None
    right: McNemar | None
    """Images whose diagnosis exactly one of the two predicts rightly."""
    referral: Reclassification | None
    changed: Int64[np.ndarray, " image"]
    """Places of the images that one of the two refers and the other doesn't."""
    other_scored: Scored
    """The other model's answers, for the same images as this one's."""


def compare_models(subject: Subject, scored: Scored, other: Subject, *, use_gpu: bool) -> Comparison:
    """Score the images with another model too, and return how the two differ.

    Args:
        subject: This model and its images.
        scored: Its answers.
        other: The other model, on the same dataset and split.
        use_gpu: Score on GPUs instead of CPUs.

    Raises:
        DataError: There is no image that both are asked about.
    """
    place = other.images["path"].isin(subject.images["path"]).to_numpy(bool)
    both = subject.images["path"].isin(other.images["path"]).to_numpy(bool)
    if not both.any():
        msg = f"checkpoint {other.uri}: there is no image that neither of the two models knows"
        raise DataError(msg)
    theirs, ours = other.score(use_gpu=use_gpu).select(place), scored.select(both)
    answered = theirs.predictions.is_answered & ours.predictions.is_answered
    first, second = theirs.select(answered), ours.select(answered)
    attempt = Attempts().attempt
    is_shared = np.isin(ours.truth.astype(str), list({*ours.diagnoses} & {*theirs.diagnoses}))
    theirs_right, ours_right = ((one.truth == _names(one))[is_shared] for one in (theirs, ours))
    group = ours.group[is_shared]
    known = None if other.acquaintance is None else other.acquaintance.take(place)
    return Comparison(
        other=other.predictor.describe(),
        num_images=int(both.sum()),
        num_left_out=int((~both).sum()),
        num_learnt=0 if known is None else int(known.is_used("learnt").sum()),
        num_calibrated=0 if known is None else int(known.is_used("calibrated").sum()),
        num_shared=int(is_shared.sum()),
        auroc=attempt("auroc", lambda: compare_auroc(first.score, second.score, second.is_melanoma, second.group)),
        accuracy=attempt("accuracy", lambda: compare_shares(theirs_right, ours_right, group)),
        right=attempt("right", lambda: mcnemar(theirs_right, ours_right, group)),
        referral=attempt(
            "referral",
            lambda: net_reclassification(theirs.is_referred, ours.is_referred, ours.is_melanoma, ours.group),
        ),
        changed=np.flatnonzero(both)[theirs.is_referred != ours.is_referred],
        other_scored=theirs,
    )


def _names(scored: Scored) -> np.ndarray:
    """Return the predicted diagnosis of each image as a name; empty: there is no answer."""
    return np.asarray(np.array([*scored.diagnoses, ""], object)[scored.predicted])


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """A model's figures in an earlier report."""

    data: str
    """Dataset of the report."""
    scope: str
    """Which images of the dataset, such as ``test split of``."""
    num_images: int
    estimates: Mapping[str, Estimate]
    num_known: int
    """Images among these that the model learnt from or was calibrated on."""

    def drop_to(self, here: Mapping[str, Estimate]) -> dict[str, Estimate]:
        """Return each earlier figure minus the one here, with its interval; the sets are taken as independent."""
        return {name: _subtract(self.estimates[name], here[name]) for name in self.estimates if name in here}


def read_earlier(uri: str, subject: Subject) -> Earlier:
    """Return the figures of an earlier report of the same checkpoint, such as that of its own test split.

    Args:
        uri: Address of its report.json.
        subject: The model.

    Raises:
        DataError: The file is no such report, or of another checkpoint, or of the same images.
    """
    report: dict[str, Any] = storage.read_json(uri)
    try:
        checkpoint, figures = report["model"]["checkpoint_id"], report["figures"]
        earlier = Earlier(
            data=str(report["data"]),
            scope=describe_scope(str(report["split"]), is_whole=bool(report.get("is_whole_collection", False))),
            num_images=int(figures["num_images"]),
            estimates={name: Estimate(**figures[name]) for name in _COMPARED if name in figures},
            num_known=sum(int(report["known_images"].get(use) or 0) for use in ("learnt", "calibrated")),
        )
        about, images = report["about"], (report["data_fingerprint"], report["split"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"{uri}: not a report of jobs.evaluate ({error}); give its report.json"
        raise DataError(msg) from error
    if checkpoint != subject.predictor.checkpoint_id:
        msg = (
            f"{uri}: is of checkpoint {checkpoint}, and this is {subject.predictor.checkpoint_id}; give a report of "
            "the same checkpoint, or --compare the other checkpoint on these images"
        )
        raise DataError(msg)
    if images == (subject.dataset.info.fingerprint, subject.split):
        msg = f"{uri}: is of these images, so there is no drop to tell; give a report on others, or leave --beside out"
        raise DataError(msg)
    if about != subject.about:
        msg = f"{uri}: is about {about}, and these images can only tell {subject.about}; leave --beside out"
        raise DataError(msg)
    return earlier


def check_comparable(first: Manifest, second: Manifest) -> None:
    """Refuse two models that don't take the same crops.

    Raises:
        ConfigError: Their images were prepared by different settings.
    """
    if first.image != second.image:
        msg = (
            f"compare: one model takes crops by {first.image}, the other by {second.image}; only models that were "
            "trained on crops of the same settings can be compared on the same images"
        )
        raise ConfigError(msg)


def _subtract(first: Estimate, second: Estimate) -> Estimate:
    """Return the difference of two independent figures, by the square-and-add method (Newcombe 1998).

    The method recovers the variances from the two intervals: doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>
    3.0.CO;2-I.
    """
    value = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(
        value=value,
        low=max(value - down, -1.0),
        high=min(value + up, 1.0),
        numerator=None,
        denominator=min(first.denominator, second.denominator),
        is_sparse=first.is_sparse or second.is_sparse,
    )
