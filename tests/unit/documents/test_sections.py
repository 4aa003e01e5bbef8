"""The sections of the report say what was computed, and nothing that wasn't."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd

from melanoma_ray.documents.sections import curves, decisions, groups, overview
from melanoma_ray.evaluation.figures import measure
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.wording import Words, of_a_hundred, short, value_cells
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.tables import NetBenefit
from melanoma_ray.reports.evaluation import Cell, Section
from tests.unit.evaluation.samples import draw_scored

WORDS = Words.of("melanoma")
SHARE = Estimate(value=0.75, low=0.6, high=0.85, numerator=30, denominator=40)


def texts(section: Section) -> str:
    cells = [value for table in section.tables for row in table.rows for value in row]
    told = [value if isinstance(value, str) else f"{value.text} {value.meaning}" for value in cells]
    return " | ".join([*section.warnings, *section.paragraphs, *section.points, *told])


def test_a_figure_is_given_with_its_interval_and_its_images() -> None:
    assert value_cells(SHARE, "melanomas") == ("0.750", "0.600 to 0.850", "30 of 40 melanomas")
    assert value_cells(None, "melanomas") == ("–", "not defined", "")
    few = Estimate(value=1.0, low=0.3, high=1.0, numerator=2, denominator=2, is_sparse=True)
    assert value_cells(few, "melanomas")[2] == "2 of 2 melanomas; too few to say"
    assert short(few) == "1.000 (0.300–1.000) *"
    drop = Estimate(value=-0.1, low=-0.2, high=0.05, numerator=None, denominator=2)
    assert short(drop) == "-0.100 (-0.200 to 0.050)"
    assert of_a_hundred(SHARE) == "75 of 100 (95 % interval 60 to 85)"


def test_a_figure_without_numerator_names_its_images_only() -> None:
    estimate = Estimate(value=0.9, low=0.8, high=0.95, numerator=None, denominator=1234)
    assert value_cells(estimate, "images")[2] == "1,234 images"


def test_every_section_is_made_of_finite_numbers() -> None:
    scored = draw_scored(400)
    figures = measure(scored)
    built = [
        overview.main_figures(figures, WORDS, measure(draw_scored(50))),
        decisions.decisions(scored, figures, WORDS),
        curves.ranking(figures, WORDS, is_decided_by_it=True),
        curves.calibration(figures, WORDS),
        curves.net_benefit(figures, WORDS),
        groups.by_diagnosis(figures),
        groups.confusion(figures, scored.diagnoses),
    ]
    assert all(section is not None for section in built)
    told = " ".join(texts(section) for section in built if section is not None)
    assert not re.search(r"\bnan\b|\binf\b|None", told)
    assert "Sensitivity for any cancer" in told
    assert "melanoma" in told


def test_the_operating_point_is_said_in_words() -> None:
    scored = draw_scored(400)
    figures = measure(scored)
    (plot,) = curves.ranking(figures, WORDS, is_decided_by_it=True).plots
    found = 100 * (scored.is_referred & scored.is_melanoma).sum() / scored.is_melanoma.sum()
    assert plot.caption.startswith(f"At the decision threshold (diamond) {found:.1f} % of the melanomas and ")


def test_without_melanomas_the_page_says_so_in_place_of_a_curve() -> None:
    scored = draw_scored(40)
    figures = measure(scored.select(~scored.is_melanoma))
    section = curves.ranking(figures, WORDS, is_decided_by_it=True)
    assert not section.plots
    assert section.paragraphs[0] == "There is no ROC curve: the figure is undefined: no positive images among 30."
    assert curves.net_benefit(figures, WORDS) is None
    assert "Not defined for these images: melanoma_auroc" in texts(overview.main_figures(figures, WORDS, None))


def test_what_refers_for_malignancy_never_says_melanoma() -> None:
    words = Words.of("malignancy")
    figures = measure(draw_scored(200))
    for section in (overview.main_figures(figures, words, None), curves.calibration(figures, words)):
        assert "elanoma" not in texts(section).replace("melanoma_auroc", "")


def test_the_rows_of_decisions_are_every_true_diagnosis_with_cancers_marked() -> None:
    scored = draw_scored(200)
    table = decisions.decisions(scored, measure(scored), WORDS).tables[0]
    assert [row[0] for row in table.rows] == ["melanoma (malignant)", "basal cell carcinoma (malignant)", "nevus"]
    total = sum(int(str(value).replace(",", "")) for row in table.rows for value in row[1:])
    assert total == 200
    assert all(isinstance(value, str | Cell) for row in table.rows for value in row)


def test_a_balanced_accuracy_over_a_rare_diagnosis_is_starred_and_the_diagnosis_named() -> None:
    scored = draw_scored(400)
    is_kept = scored.truth != "nevus"
    is_kept[np.flatnonzero(~is_kept)[:6]] = True
    figures = measure(scored.select(is_kept))
    assert figures.estimates["balanced_accuracy"].is_sparse
    number = len(set(scored.group[is_kept & (scored.truth == "nevus")]))
    section = overview.main_figures(figures, WORDS, None)
    assert section.points[0].endswith(f"fewer than 20 lesions (or patients): nevus ({number}).")
    assert not overview.main_figures(measure(scored), WORDS, None).points


def test_what_the_balanced_accuracy_leaves_out_is_said() -> None:
    scored = draw_scored(200)
    scored = replace(scored, truth=np.where(scored.truth == "nevus", "mole", scored.truth))
    number = int((scored.truth == "mole").sum())
    (first, *_) = overview.main_figures(measure(scored), WORDS, None).points
    assert first.startswith(f"{number} images have a diagnosis that the model doesn't have: wrong in the accuracy, and")
    assert first.endswith("which is of 2 diagnoses here.")


def benefit(threshold: float, low: float) -> NetBenefit:
    model = Estimate(value=low + 0.1, low=low, high=low + 0.2, numerator=None, denominator=9)
    return NetBenefit(threshold=threshold, model=model, refer_all=0.1)


def test_each_run_of_thresholds_with_a_benefit_is_named_and_no_gap_between_them() -> None:
    figures = measure(draw_scored(50))
    points = tuple(benefit(*one) for one in ((0.01, 0.2), (0.02, 0.2), (0.05, 0.0), (0.1, 0.3), (0.2, 0.1)))
    section = curves.net_benefit(replace(figures, details=replace(figures.details, decision_curve=points)), WORDS)
    assert section is not None
    assert section.plots[0].caption.endswith("worth its cost from 1.0 % to 2.0 % and at 10.0 %.")


def test_the_flow_of_images_has_what_preparation_noticed_and_rows_without_an_image() -> None:
    info = SimpleNamespace(
        num_images={"nevus": {"test": 5}},
        num_files_without_row=4,
        num_left_out={},
        num_quarantined={},
        num_dropped={},
        num_rows_without_file=2,
        notes=("m.csv: 4 rows have a word for the lesion that is unknown",),
    )
    images = pd.DataFrame({"group_id": list("aabbc")})
    subject = SimpleNamespace(dataset=SimpleNamespace(info=info), images=images, left_out={})
    section = overview.participants(cast("Subject", subject))
    assert section.points == [*info.notes, "Rows of the tables without an image: 2"]
    counted = {row[0].text: row[1] for row in section.tables[0].rows if isinstance(row[0], Cell)}
    assert (counted["Images found"], counted["Left out: no known word tells the diagnosis"]) == ("9", "4")
    assert (counted["Evaluated"], counted["In groups"]) == ("5", "3")
