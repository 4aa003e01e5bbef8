"""Prediction sets, and the error that is left when doubtful images go to a person."""

from __future__ import annotations

from melanoma_ray.api import describe_share
from melanoma_ray.documents.sections.rows import HEADS, Row, estimate_row
from melanoma_ray.evaluation.uncertainty import PredictionSets
from melanoma_ray.metrics.conformal import least_images
from melanoma_ray.metrics.selective import RiskCoverage
from melanoma_ray.model.checkpoint import Manifest
from melanoma_ray.reports.evaluation import Plot, Section, Table
from melanoma_ray.reports.plots import plot_risk_coverage


def prediction_sets(sets: PredictionSets | None, manifest: Manifest) -> Section | None:
    """Return how often the sets of diagnoses hold the true one; none for an older checkpoint."""
    stated = manifest.calibration.set_coverage
    if sets is None or stated is None:
        return None
    always = manifest.always_in_set
    missed = [name for name, found in sets.coverage.items() if found.high < stated]
    rows: list[Row] = [
        estimate_row(
            name,
            "In every set: too few validation images." if name in always else "Share of its images whose set holds it.",
            found,
            f"images of {name}",
        )
        for name, found in sets.coverage.items()
    ]
    rows.append(estimate_row("Sets of one diagnosis", "The more, the more the sets say.", sets.single, "images"))
    rows.append(estimate_row("Empty sets", "No diagnosis fits the image.", sets.empty, "images"))
    return Section(
        anchor="sets",
        title="Which diagnoses are possible?",
        warnings=[
            f"Of {', '.join(missed)} the sets hold less than the {stated:.0%} they promise, by more than chance: "
            "these images differ from those of validation."
        ]
        if missed
        else [],
        paragraphs=[
            f"Each image has a set of possible diagnoses, made so that the sets hold {stated:.0%} of the images "
            "of each diagnosis (class-conditional conformal prediction, Vovk 2012). How frequent one is doesn't "
            "matter to that; images that look otherwise than those of validation do, and so do several images of one "
            f"lesion. The sets here have {sets.mean_size:.2f} of {len(manifest.diagnoses)} diagnoses on average."
        ],
        points=[
            f"Fewer than {least_images(stated)} validation images, so it is in every set: {name}." for name in always
        ],
        tables=[Table(caption="Share of sets that hold the true diagnosis", heads=HEADS, rows=rows)],
    )


def risk_coverage(curve: RiskCoverage | None) -> Section | None:
    """Return the error that is left when doubtful images go to a person; none where there are no answers."""
    if curve is None:
        return None
    half = curve.points[-1]
    sentence = (
        f"Error of the predicted diagnosis by the share of images that the model answers. Of all, "
        f"{describe_share(curve.points[0].error.value)} are wrong; of the surest {half.kept:.0%}, "
        f"{describe_share(half.error.value)}."
    )
    rows = [
        estimate_row(
            f"The surest {one.kept:.0%}" if one.kept < 1 else "All images",
            "Share of these whose predicted diagnosis is wrong.",
            one.error,
            "images",
        )
        for one in curve.points
    ]
    return Section(
        anchor="doubt",
        title="What if a person takes the doubtful images?",
        paragraphs=[
            "The doubtful images are those whose most probable diagnosis has the lowest probability. The area under "
            f"the curve is {curve.area:.3f}: {curve.area_if_random:.3f} would be that of doubt at random, "
            f"{curve.area_if_perfect:.3f} that of doubt about exactly the wrong answers ({curve.num_images:,} images)."
        ],
        plots=[Plot(figure=plot_risk_coverage(curve), alt=sentence, caption=sentence)],
        tables=[Table(caption="Error among the images that remain", heads=HEADS, rows=rows)],
    )
