"""Whether views and networks agree about an image."""

from __future__ import annotations

from melanoma_ray.api import describe_share
from melanoma_ray.documents.sections.rows import HEADS, Row, estimate_row
from melanoma_ray.evaluation.probes.robustness import Agreement, Robustness
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.reports.evaluation import Section, Table

_MEANINGS = {
    "views": "Each of the {number} views, with the logits averaged over the networks.",
    "networks": "Each of the {number} networks, with the logits averaged over the views.",
    "views and networks": "Each of the {number} views of the networks by itself.",
}


def robustness(found: Robustness | None, words: Words, threshold: float) -> Section | None:
    """Return how views and networks agree; none where there is one of each.

    Args:
        found: The agreement.
        words: What the model refers for.
        threshold: Probability from which an image is referred.
    """
    if found is None:
        return None
    return Section(
        anchor="robustness",
        title="Does the decision hold when the image is turned, or another network asked?",
        paragraphs=[
            "The decision is by the mean of "
            f"{_name(found)}. Here each of these decides alone, with the threshold of the whole "
            f"({describe_share(threshold)}). An image whose decision they don't all share might as well have been "
            "decided otherwise."
        ],
        points=[
            f"Between its lowest and its highest {words.one} probability an image has "
            f"{100 * found.median_spread:.1f} percentage points in the median ({found.num_images:,} images)."
        ],
        tables=[
            Table(
                caption="Images that all parts refer, or none does",
                heads=HEADS,
                rows=[_agreement_row(one) for one in found.agreements],
            ),
            _most_disputed(found, words),
        ],
    )


def _name(found: Robustness) -> str:
    views, networks = f"{found.num_views} views", f"{found.num_networks} networks"
    if found.num_networks == 1:
        return f"{views} of the image (turned and mirrored)"
    return networks if found.num_views == 1 else f"{networks}, each over {views} of the image (turned and mirrored)"


def _agreement_row(one: Agreement) -> Row:
    meaning = _MEANINGS[one.over].format(number=one.num_parts)
    return estimate_row(f"Agreement of {one.over}", meaning, one.share, "images")


def _most_disputed(found: Robustness, words: Words) -> Table:
    return Table(
        caption=f"The {len(found.most_disputed)} images whose parts differ most",
        heads=("Image", "True diagnosis", f"Lowest {words.one} probability", "Highest", "Parts that refer it"),
        rows=[
            (
                one.image_id,
                one.diagnosis,
                describe_share(one.lowest),
                describe_share(one.highest),
                f"{one.num_referring} of {one.num_parts}",
            )
            for one in found.most_disputed
        ],
    )
