"""The items of CLAIM 2024 (Tejani 2024, doi:10.1148/ryai.240300) that neither TRIPOD+AI nor STARD-AI asks for."""

from __future__ import annotations

from melanoma_ray.documents.evidence import Evidence
from melanoma_ray.documents.guidelines.items import Guideline, Item
from melanoma_ray.documents.guidelines.stard import describe_software
from melanoma_ray.evaluation.wording import Words, describe_unseen, short
from melanoma_ray.wording import count


def _disjoint(evidence: Evidence) -> str:
    config = evidence.subject.dataset.info.config
    return (
        f"Division of the prepared dataset: {config.split.method}; near-duplicates: {config.near_duplicates}. "
        f"{describe_unseen(evidence.subject)[0]}"
    )


def _annotators(evidence: Evidence) -> str:
    pairs = evidence.readers.pairs if evidence.readers else ()
    return " ".join(
        f"Between {one.first} and {one.second}, of {one.num_images:,} images: kappa {short(one.kappa)}."
        for one in pairs
    )


def _architecture(evidence: Evidence) -> str:
    manifest = evidence.subject.manifest
    model = manifest.experiment.model
    name = "the TensorFlow tutorial's CNN" if model.network == "baseline" else f"timm's {model.network}"
    return (
        f"{name}, from {model.image_side}×{model.image_side} RGB pixels to {len(manifest.diagnoses)} logits; dropout "
        f"{model.dropout:g}."
    )


def _initialization(evidence: Evidence) -> str:
    model = evidence.subject.manifest.experiment.model
    if model.network == "baseline" or not model.pretrained:
        return "Random."
    frozen = f", the first {model.num_frozen_stages} stages kept as they were" if model.num_frozen_stages else ""
    return f"Pretrained weights of {model.network}{frozen}; a new last layer."


def _selection(_: Evidence) -> str:
    return "The epoch with the highest balanced accuracy on the validation images of its training."


def _ensemble(evidence: Evidence) -> str:
    manifest = evidence.subject.manifest
    if manifest.num_members == 1:
        return "A single network."
    return f"The mean logits of {manifest.num_members} networks, which differ by their {manifest.ensemble_over}."


def _robustness(evidence: Evidence) -> str:
    agreements = evidence.robustness.agreements if evidence.robustness else ()
    said = [f"All {one.over} share the decision for {short(one.share)} of the images." for one in agreements]
    said += [
        f"AUROC, {one.change}, less that of the unchanged images: {short(one.auroc.difference)}."
        for one in (evidence.shortcuts.altered if evidence.shortcuts else ())
        if one.auroc is not None
    ]
    return " ".join(said)


def _explanations(evidence: Evidence) -> str:
    found = evidence.explanations
    if found is None:
        return ""
    mean = found.mean
    return (
        f"{found.method} of {count(len(found.images), 'image')}: deletion {mean.deletion:.3f} (random order "
        f"{mean.deletion_at_random:.3f}), insertion {mean.insertion:.3f} ({mean.insertion_at_random:.3f})."
    )


def _failures(evidence: Evidence) -> str:
    scored = evidence.scored
    words = Words.of(scored.about)
    missed = int((scored.is_melanoma & ~scored.is_referred).sum())
    return (
        f"{count(missed, words.one, words.many)} not referred; report.html shows the gravest errors, needless "
        "referrals and the confusion of diagnoses."
    )


CLAIM = Guideline(
    name="CLAIM 2024",
    source="Tejani 2024, doi:10.1148/ryai.240300",
    note="Only those of its 44 items that ask for something which the items above don't.",
    items=(
        Item("CLAIM 11", "De-identification"),
        Item("CLAIM 18", "Variability between and within annotators", _annotators),
        Item("CLAIM 20", "Level at which partitions are disjoint", _disjoint),
        Item("CLAIM 22", "Architecture of the network", _architecture),
        Item("CLAIM 23", "Software, with versions", describe_software),
        Item("CLAIM 24", "Initial weights", _initialization),
        Item("CLAIM 26", "How the best model was chosen", _selection),
        Item("CLAIM 27", "Ensemble", _ensemble),
        Item("CLAIM 30", "Robustness", _robustness),
        Item("CLAIM 31", "Explanations, and whether they hold", _explanations),
        Item("CLAIM 39", "Failures", _failures),
    ),
)
"""Items that differ."""
