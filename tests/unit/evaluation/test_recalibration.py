"""A fit on few lesions of either kind says so."""

from __future__ import annotations

import numpy as np

from melanoma_ray.evaluation.recalibration import list_doubts
from tests.unit.evaluation.samples import draw_scored


def test_a_fit_on_few_lesions_says_of_which_kind_there_are_few() -> None:
    scored = draw_scored(400)
    assert list_doubts(scored) == ()
    first = scored.group[scored.is_melanoma][0]
    (few_melanomas,) = list_doubts(scored.select(~scored.is_melanoma | (scored.group == first)))
    assert few_melanomas.startswith("Fitted on images of 1 lesion (or patients) to be referred: too few to say")
    others = np.unique(scored.group[~scored.is_melanoma])[:7]
    (few_others,) = list_doubts(scored.select(scored.is_melanoma | np.isin(scored.group, others)))
    assert few_others.startswith("Fitted on images of 7 other lesions (or patients): too few to say")
