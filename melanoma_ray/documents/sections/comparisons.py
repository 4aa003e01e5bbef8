"""This model beside another one, and beside itself on other images."""

from __future__ import annotations

from melanoma_ray.documents.sections.rows import Row, words_of
from melanoma_ray.evaluation.comparison import Comparison, Earlier
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.wording import SPARSE_NOTE, Words, describe_p, short
from melanoma_ray.reports.evaluation import Cell, Section, Table
from melanoma_ray.wording import count


def beside(earlier: Earlier, figures: Figures, words: Words) -> Section:
    """Return the figures of an earlier report beside those here."""
    rows: list[Row] = []
    for name, drop in earlier.drop_to(figures.estimates).items():
        title, meaning, _ = words_of(name, words)
        rows.append((Cell(title, meaning), short(earlier.estimates[name]), short(figures.estimates[name]), short(drop)))
    praised = [
        f"The model learnt from {earlier.num_known:,} of the earlier images, or was calibrated on them: the earlier "
        "figures praise it, and the drop is too large."
    ]
    return Section(
        anchor="beside",
        title="Beside an earlier report of this model",
        warnings=praised if earlier.num_known else [],
        paragraphs=[
            f"Earlier: {earlier.num_images:,} images, {earlier.scope} {earlier.data}. The two sets are taken as "
            "independent. A drop whose interval doesn't reach 0 is more than chance.",
            SPARSE_NOTE,
        ],
        tables=[Table(caption="Figures there and here", heads=("Figure", "Earlier", "Here", "Drop"), rows=rows)],
    )


def comparison(found: Comparison, words: Words) -> Section:
    """Return how another model does on the same images."""
    referral = found.referral
    named = (
        (f"{words.title} AUROC", found.auroc),
        ("Accuracy", found.accuracy),
        ("Sensitivity", None if referral is None else referral.melanomas),
        ("Specificity", None if referral is None else referral.others),
    )
    rows: list[Row] = [
        (name, f"{one.first:.3f}", f"{one.second:.3f}", short(one.difference), describe_p(one.p_value), one.test)
        for name, one in named
        if one is not None
    ]
    points = [f"{count(len(found.changed), 'image')} referred by one of the two models and not by the other."]
    if found.right is not None:
        points.append(
            f"Right by the other model alone: {count(found.right.num_only_first, 'diagnosis', 'diagnoses')}; by this "
            f"one alone: {found.right.num_only_second:,}."
        )
    left_out = (
        f" ({found.num_left_out:,} others are left out: the other model knows them)" if found.num_left_out else ""
    )
    return Section(
        anchor="comparison",
        title=f"Compared with checkpoint {found.other['checkpoint_id']} ({found.other['network']})",
        warnings=_warn(found, words),
        paragraphs=[
            f"On the same {found.num_images:,} images{left_out}, each model by its own threshold. Differences are this "
            "model's figure less the other's; intervals and p-values take images of one group as dependent.",
            "Each figure has one p-value, by the test that its row names: DeLong's of the AUROC by the variance that "
            "the interval is from, too; McNemar's of the others by the groups on which the models differ. So for these "
            "the interval may leave 0 out where p is just above 0.05, or hold it where p is just below: "
            "then neither shows a difference.",
            SPARSE_NOTE,
        ],
        points=points,
        tables=[
            Table(
                caption="Both models",
                heads=("Figure", "Other", "This", "Difference", "p", "Test over groups"),
                rows=rows,
            )
        ],
    )


def _warn(found: Comparison, words: Words) -> list[str]:
    """Say what makes the two models unlike to compare."""
    said = []
    if found.num_learnt or found.num_calibrated:
        said.append(
            f"The other model knows {found.num_learnt + found.num_calibrated:,} of these {found.num_images:,} images: "
            f"it learnt from {found.num_learnt:,} (or from others of their lesions or patients) and was calibrated on "
            f"{found.num_calibrated:,}. These figures praise it."
        )
    other = Words.of("malignancy" if found.other["referred_for"] == "malignancy" else "melanoma")
    if other.many != words.many:
        said.append(
            f"The other model refers {other.many}: its probability and its decisions are about these, and are measured "
            f"here by the {words.many} alone."
        )
    if found.num_shared < found.num_images:
        said.append(
            f"The two models have different diagnoses, so accuracy is of the {found.num_shared:,} images whose "
            "diagnosis both have."
            if found.num_shared
            else "The two models have no diagnosis of these images in common, so their accuracy can't be compared."
        )
    return said
