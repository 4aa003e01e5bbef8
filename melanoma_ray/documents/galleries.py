"""The images that the page shows: the gravest errors first."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_ray.documents.evidence import Evidence
from melanoma_ray.evaluation.probes.explanations import predictor_of
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.inference.explanation import explain
from melanoma_ray.reports.evaluation import Gallery, GalleryImage
from melanoma_ray.reports.thumbnails import thumbnail_data_uri

_GALLERY_SIZE = 12


def build_galleries(evidence: Evidence, words: Words) -> list[Gallery]:
    """Return the gravest errors, then the needless referrals, then a sample of all."""
    scored = evidence.scored
    score = np.nan_to_num(np.asarray(scored.predictions.melanoma_probability, np.float64), nan=-1.0)
    missed = np.flatnonzero(scored.is_melanoma & ~scored.is_referred)
    needless = np.flatnonzero(~scored.is_melanoma & ~scored.is_malignant & scored.is_referred)
    told = scored.tells_other_cancers
    spread = np.linspace(0, len(score) - 1, min(_GALLERY_SIZE, len(score))).round().astype(int)
    return [
        Gallery(
            title=f"{words.many.capitalize()} that were not referred",
            explanation=f"{_of(len(missed))} {words.many} that were not referred, those first which the model held for "
            "the least likely.",
            images=_show(evidence, missed[np.argsort(score[missed])][:_GALLERY_SIZE]),
        ),
        Gallery(
            title="Referred without need" if told else f"Referred, and no {words.one}",
            explanation=f"{_of(len(needless))} {'benign' if told else 'other'} images that were referred, those first "
            "of which the model was surest. "
            + ("Other cancers that were referred aren't among them." if told else "Other cancers may be among them."),
            images=_show(evidence, needless[np.argsort(-score[needless])][:_GALLERY_SIZE]),
        ),
        *_changed_sides(evidence),
        *_explained(evidence),
        Gallery(
            title="A sample of all",
            explanation="Images spread evenly over the evaluated ones, in the order of their paths.",
            images=_show(evidence, np.unique(spread)),
        ),
    ]


def _of(number: int) -> str:
    """Return how many of some images are shown."""
    return f"All {number:,}" if number <= _GALLERY_SIZE else f"{_GALLERY_SIZE} of {number:,}"


def _changed_sides(evidence: Evidence) -> list[Gallery]:
    if evidence.comparison is None:
        return []
    changed = evidence.comparison.changed
    return [
        Gallery(
            title="Changed sides",
            explanation=f"{_of(len(changed))} images that one of the two models refers and the other doesn't, with "
            "this model's answer.",
            images=_show(evidence, changed[:_GALLERY_SIZE]),
        )
    ]


def _explained(evidence: Evidence) -> list[Gallery]:
    """Return the explained images under their maps, errors and hits apart; empty: that wasn't asked for."""
    found = evidence.explanations
    if found is None:
        return []
    place = pd.Series(range(len(evidence.subject.images)), index=evidence.subject.images["path"])
    wrong, right = (
        place[[one.path for one in found.images if one.is_right == is_right]].to_numpy() for is_right in (False, True)
    )
    return [
        Gallery(
            title=f"Surest errors, by {found.method}",
            explanation=f"{len(wrong)} of {found.num_wrong:,} images whose predicted diagnosis is wrong, those first "
            "of which the model was surest. Bright is where the map is strongest.",
            images=_show(evidence, wrong, with_map=True),
        ),
        Gallery(
            title=f"A sample of hits, by {found.method}",
            explanation="Images whose predicted diagnosis is right, spread evenly over all of these.",
            images=_show(evidence, right, with_map=True),
        ),
    ]


def _lay_map(evidence: Evidence, row: int, crop: np.ndarray) -> np.ndarray:
    scored = evidence.scored
    return explain(predictor_of(evidence.subject, row), crop, scored.diagnoses[scored.predicted[row]])


def _show(evidence: Evidence, rows: np.ndarray, *, with_map: bool = False) -> list[GalleryImage]:
    if not len(rows):
        return []
    images, scored = evidence.subject.images.iloc[rows], evidence.scored
    crops = evidence.subject.dataset.load_pixels(list(images["path"]))
    return [
        GalleryImage(
            image_id=str(image_id),
            thumbnail=thumbnail_data_uri(_lay_map(evidence, int(row), crop) if with_map else crop),
            diagnosis=str(diagnosis),
            predicted=scored.diagnoses[scored.predicted[row]] if scored.predicted[row] >= 0 else "no answer",
            probability=float(scored.predictions.melanoma_probability[row]) if scored.predicted[row] >= 0 else None,
            decision=scored.predictions.decision[row],
        )
        for row, crop, image_id, diagnosis in zip(rows, crops, images["image_id"], images["diagnosis"], strict=True)
    ]
