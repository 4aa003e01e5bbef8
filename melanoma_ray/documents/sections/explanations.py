"""What the network looked at, how far that can be believed, and similar training cases."""

from __future__ import annotations

from melanoma_ray.documents.sections.rows import Row
from melanoma_ray.evaluation.probes.explanations import Explained, Explanations
from melanoma_ray.inference.faithfulness import Faithfulness
from melanoma_ray.reports.evaluation import Cell, Section, Table
from melanoma_ray.wording import count

_METHODS = {
    "Grad-CAM": "Grad-CAM over the last feature map, for the predicted diagnosis",
    "attention rollout": "the rollout of the attention, which is the same whatever the diagnosis",
}


def explanations(found: Explanations | None) -> Section | None:
    """Return the scores of the maps and the similar cases; none where that wasn't asked for."""
    if found is None:
        return None
    return Section(
        anchor="explanations",
        title="How far can the maps be believed?",
        paragraphs=[
            f"The maps above are {_METHODS[found.method]}. Deletion: the mean probability of the predicted diagnosis "
            "while the strongest parts of the map are blurred first; low if the network goes by them. Insertion: while "
            "they are put back first; high if it does. Each stands beside that of a random order of the same parts. "
            "A map shows where, not why, and says nothing about whether the network is right.",
            *_describe_cases(found),
        ],
        points=[_read_mean(found)],
        tables=[_scores(found), *([] if found.no_similar else [_similar(found)])],
    )


def _describe_cases(found: Explanations) -> list[str]:
    if found.no_similar:
        return [f"Similar training cases aren't shown: {found.no_similar}."]
    return [
        f"Similar training cases are those with the nearest features among {count(found.num_compared, 'image')} of "
        "the training, which were drawn at random, as many of each diagnosis as could be."
    ]


def _read_mean(found: Explanations) -> str:
    """Say whether the maps beat a random order on the explained images."""
    mean, number = found.mean, len(found.images)
    better = sum(_beats_chance(one.faithfulness) for one in found.images)
    return (
        f"Mean of {count(number, 'image')}: deletion {mean.deletion:.3f} (random order "
        f"{mean.deletion_at_random:.3f}), insertion {mean.insertion:.3f} (random order "
        f"{mean.insertion_at_random:.3f}). Both are better than the random order in {better} of {number}; so few "
        "images, chosen as they are, say nothing about all."
    )


def _beats_chance(one: Faithfulness) -> bool:
    return one.deletion < one.deletion_at_random and one.insertion > one.insertion_at_random


def _scores(found: Explanations) -> Table:
    return Table(
        caption="Deletion and insertion scores of the explained images",
        heads=("Image", "Predicted", "Deletion", "At random", "Insertion", "At random"),
        rows=[_score_row(one) for one in found.images],
    )


def _score_row(one: Explained) -> Row:
    scores = one.faithfulness
    values = (scores.deletion, scores.deletion_at_random, scores.insertion, scores.insertion_at_random)
    said = f"{one.predicted}, {'right' if one.is_right else 'wrong: ' + one.diagnosis}"
    return one.image_id, said, *(f"{value:.3f}" for value in values)


def _similar(found: Explanations) -> Table:
    return Table(
        caption="The nearest training images of the explained ones, with the cosine of their features",
        heads=("Image", "True diagnosis", "Nearest training images"),
        rows=[
            (
                one.image_id,
                one.diagnosis,
                Cell("; ".join(f"{near.image_id} ({near.diagnosis}, {near.similarity:.2f})" for near in one.similar)),
            )
            for one in found.images
        ],
        is_folded=True,
    )
