"""Ranking, calibration and net benefit, each with its curve."""

from __future__ import annotations

from collections.abc import Sequence

from melanoma_ray.api import describe_share
from melanoma_ray.documents.sections.rows import HEADS, Row, estimate_row, figure_row, words_of
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.metrics.tables import NetBenefit
from melanoma_ray.reports.evaluation import Cell, Plot, Section, Table
from melanoma_ray.reports.plots import (
    plot_net_benefit,
    plot_reliability,
    plot_roc,
)


def ranking(figures: Figures, words: Words, *, is_decided_by_it: bool) -> Section:
    """Return the ROC curve, with the operating point where the decisions are by the score that it ranks.

    Args:
        figures: The figures.
        words: What the images to be referred are called.
        is_decided_by_it: Whether the decisions are by the same probability as the curve.
    """
    point, roc = figures.details.point, figures.roc
    title = f"{words.title} against the rest"
    if roc is None or point is None:
        reason = figures.undefined.get("roc") or figures.undefined.get("operating_point", "")
        sentence = f"There is no ROC curve: {reason}."
        return Section(anchor="ranking", title=title, paragraphs=[sentence])
    found, needless = describe_share(point.sensitivity.value), describe_share(1 - point.specificity.value)
    sentence = f"{found} of the {words.many} and {needless} of the other images are referred"
    if not is_decided_by_it:
        sentence = "ROC curve of the summed probability of the malignant diagnoses; the decisions are by another one"
        plain = Plot(figure=plot_roc(roc.fpr, roc.tpr, None), alt=f"{sentence}.", caption=f"{sentence}.")
        return Section(anchor="ranking", title=title, plots=[plain])
    drawn = Plot(
        figure=plot_roc(roc.fpr, roc.tpr, (1 - point.specificity.value, point.sensitivity.value)),
        alt=f"ROC curve. At the decision threshold {sentence}.",
        caption=f"At the decision threshold (diamond) {sentence}.",
    )
    return Section(anchor="ranking", title=title, plots=[drawn])


def calibration(figures: Figures, words: Words) -> Section:
    """Return how far the probabilities can be believed."""
    details = figures.details
    error, line = details.calibration_error, details.calibration_line
    answered = f"{figures.num_images - figures.num_unanswered:,} images"
    rows: list[Row] = [figure_row("brier_score", details.brier_score, words)]
    if error is not None:
        title, meaning, _ = words_of("expected_calibration_error", words)
        chance = (
            f" A perfectly calibrated model would show {error.if_calibrated:.3f} on as many images, and more than "
            f"{error.if_calibrated_high:.3f} in one sample of forty."
        )
        rows.append((Cell(title, meaning + chance), f"{error.plug_in:.3f}", "see below", answered))
        rows.append(
            estimate_row(
                "Calibration error, debiased",
                "The same without most of what chance adds.",
                error.debiased,
                "images",
            )
        )
    if line is not None:
        below = "1 is perfect; below 1 the probabilities are too extreme."
        rows.append(estimate_row("Calibration slope", below, line.slope, "images"))
        below = "0 is perfect; below 0 the probabilities are too high on average."
        rows.append(estimate_row("Calibration in the large", below, line.intercept, "images"))
    plots = []
    if details.reliability:
        points = [(one.mean_probability, one.frequency.value) for one in details.reliability]
        worst = max(points, key=lambda pair: abs(pair[0] - pair[1]))
        sentence = (
            f"Frequency of {words.many} by predicted probability, with 95 % intervals. Farthest from the line: of the "
            f"images with {describe_share(worst[0])} on average, {describe_share(worst[1])} are {words.many}."
        )
        plots.append(Plot(figure=plot_reliability(details.reliability), alt=sentence, caption=sentence))
    return Section(
        anchor="calibration",
        title="Can the probabilities be believed?",
        plots=plots,
        tables=[Table(caption="Calibration", heads=HEADS, rows=rows)],
    )


def net_benefit(figures: Figures, words: Words) -> Section | None:
    """Return the decision curve; none where it isn't defined."""
    points = figures.details.decision_curve
    if not points:
        return None
    better = _list_runs(points)
    said = (
        f"Even the lower end of the interval is above both where a referral is thought worth its cost {better}."
        if better
        else "Nowhere is the lower end of the interval above both, so a benefit isn't shown by these images."
    )
    sentence = f"Net benefit of the model, of referring all and of referring nobody. {said}"
    return Section(
        anchor="benefit",
        title="Is it better than referring all or nobody?",
        paragraphs=[
            f"Net benefit: {words.many} found, less the needless referrals, weighed by the odds of the probability "
            "from which a reader would refer (Vickers & Elkin 2006). "
            f"Its interval takes the share of {words.many} among these images as known: where they are rarer, "
            "the benefit is smaller."
        ],
        plots=[Plot(figure=plot_net_benefit(points), alt=sentence, caption=sentence)],
    )


def _list_runs(points: Sequence[NetBenefit]) -> str:
    """Return the runs of neighbouring thresholds at which the model is better than both rules; empty: there is none."""
    ends: list[tuple[float, float]] = []
    was_better = False
    for one in points:
        is_better = one.model.low > max(one.refer_all, 0.0)
        if is_better:
            first = ends.pop()[0] if was_better else one.threshold
            ends.append((first, one.threshold))
        was_better = is_better
    told = [
        f"from {describe_share(first)} to {describe_share(last)}" if last > first else f"at {describe_share(first)}"
        for first, last in ends
    ]
    return " and ".join(told)
