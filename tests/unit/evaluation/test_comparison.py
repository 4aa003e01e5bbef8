"""Two models are compared by what both can be asked, and an earlier report stands beside if it is of other images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from melanoma_ray.documents.sections.comparisons import beside, comparison
from melanoma_ray.errors import DataError
from melanoma_ray.evaluation.comparison import Comparison, compare_models, read_earlier
from melanoma_ray.evaluation.figures import measure
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.unseen import Acquaintance
from melanoma_ray.evaluation.wording import Words
from tests.unit.evaluation.samples import draw_scored

WORDS = Words.of("melanoma")
HERE = SimpleNamespace(info=SimpleNamespace(fingerprint="here"))


def subject_of(scored: Scored, *, first: int = 0, rank: Sequence[int] = (), **about: object) -> Subject:
    """Return as much of a subject as is compared: its images are those from the first one on."""
    paths = [f"{number:04}.jpg" for number in range(first, len(scored.truth))]
    seen = Acquaintance(rank=np.array(rank, np.uint8), reason=(None,) * len(rank)) if rank else None
    told = {"checkpoint_id": "b", "network": "baseline", "referred_for": "melanoma"} | about
    rows = np.arange(len(scored.truth)) >= first
    return cast(
        "Subject",
        SimpleNamespace(
            uri="other",
            images=pd.DataFrame({"path": paths}),
            acquaintance=seen,
            predictor=SimpleNamespace(describe=lambda: told, checkpoint_id="a"),
            score=lambda **_: scored.select(rows),
            dataset=HERE,
            split="test",
            about="melanoma",
        ),
    )


def compare(other: Subject, scored: Scored) -> Comparison:
    return compare_models(subject_of(scored), scored, other, use_gpu=False)


def test_models_of_the_same_diagnoses_are_compared_on_all_images_without_a_warning() -> None:
    found = compare(subject_of(draw_scored(100)), draw_scored(100))
    assert (found.num_images, found.num_shared, found.num_left_out) == (100, 100, 0)
    assert found.accuracy is not None
    assert found.accuracy.difference.value == 0
    assert not comparison(found, WORDS).warnings


def test_accuracy_is_compared_on_diagnoses_that_both_models_have() -> None:
    scored = draw_scored(100)
    coarse = replace(scored, diagnoses=("benign", "malignant", "nothing"))
    found = compare(subject_of(coarse, referred_for="malignancy"), scored)
    assert (found.num_shared, found.accuracy, found.right) == (0, None, None)
    assert found.referral is not None
    told = " ".join(comparison(found, WORDS).warnings)
    assert "no diagnosis of these images in common" in told
    assert "The other model refers malignant lesions" in told
    partly = compare(subject_of(replace(scored, diagnoses=("basal cell carcinoma", "melanoma", "mole"))), scored)
    assert partly.num_shared == np.isin(scored.truth.astype(str), ["basal cell carcinoma", "melanoma"]).sum()
    assert partly.accuracy is not None
    assert partly.accuracy.difference.denominator == partly.num_shared
    assert f"accuracy is of the {partly.num_shared} images" in " ".join(comparison(partly, WORDS).warnings)


def test_images_that_the_other_model_knows_are_told() -> None:
    scored = draw_scored(100)
    found = compare(subject_of(scored, first=10, rank=[0] * 5 + [1] * 3 + [3] * 82), scored)
    assert (found.num_images, found.num_left_out, found.num_learnt, found.num_calibrated) == (90, 10, 5, 3)
    section = comparison(found, WORDS)
    assert section.warnings[0].startswith("The other model knows 8 of these 90 images: it learnt from 5 (or")
    assert "10 others are left out: the other model knows them" in section.paragraphs[0]


def write_report(folder: Path, scored: Scored, **changes: object) -> str:
    report = {
        "model": {"checkpoint_id": "a"},
        "figures": measure(scored).to_dict(),
        "data": "/earlier",
        "data_fingerprint": "there",
        "split": "test",
        "about": "melanoma",
        "known_images": {"is_told": True, "learnt": 0, "calibrated": 0},
    }
    path = folder / "report.json"
    path.write_text(json.dumps(report | changes))
    return str(path)


def test_an_earlier_report_of_the_same_images_is_refused(tmp_path: Path) -> None:
    scored = draw_scored(60)
    assert read_earlier(write_report(tmp_path, scored), subject_of(scored)).num_known == 0
    with pytest.raises(DataError, match="is of these images, so there is no drop to tell"):
        read_earlier(write_report(tmp_path, scored, data_fingerprint="here"), subject_of(scored))
    read_earlier(write_report(tmp_path, scored, data_fingerprint="here", split="val"), subject_of(scored))


def test_an_earlier_report_that_praises_the_model_is_said_to(tmp_path: Path) -> None:
    scored = draw_scored(60)
    known = {"is_told": True, "learnt": 40, "calibrated": 2}
    earlier = read_earlier(write_report(tmp_path, scored, known_images=known), subject_of(scored))
    (warning,) = beside(earlier, measure(scored), WORDS).warnings
    assert warning.startswith("The model learnt from 42 of the earlier images, or was calibrated on them")
    told = read_earlier(write_report(tmp_path, scored, known_images={"is_told": False}), subject_of(scored))
    assert not beside(told, measure(scored), WORDS).warnings


@pytest.mark.parametrize("content", ['{"model": 1}', '{"model": {"checkpoint_id": "a"}, "figures": []}'])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match="not a report of jobs"):
        read_earlier(str(tmp_path / "report.json"), subject_of(draw_scored(10)))
