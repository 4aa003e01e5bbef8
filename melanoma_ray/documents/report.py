"""Evaluates a checkpoint on a prepared dataset; writes report.json and .html, model_card.md and predictions.parquet.

predictions.parquet has the columns of ``inference/predictions.py``, followed by what the predictions are compared
with: diagnosis, group_id, content_sha256, and known, which says how the model knows the image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.documents.evidence import Evidence
from melanoma_ray.documents.model_card import write_model_card
from melanoma_ray.documents.output import CARD, PAGE, REPORT
from melanoma_ray.documents.page import build_page
from melanoma_ray.documents.schema import FORMAT_VERSION
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.evaluation.comparison import Comparison, Earlier, check_comparable, compare_models, read_earlier
from melanoma_ray.evaluation.figures import Figures, measure
from melanoma_ray.evaluation.participants import count_participants
from melanoma_ray.evaluation.probes.explanations import explain_images
from melanoma_ray.evaluation.probes.robustness import measure_robustness
from melanoma_ray.evaluation.probes.shortcuts import measure_all
from melanoma_ray.evaluation.readers import measure_readers
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subgroups import measure_subgroups
from melanoma_ray.evaluation.subject import KnownImages, Subject, open_subject
from melanoma_ray.evaluation.thresholds import FixedThresholds, measure_thresholds
from melanoma_ray.inference.predictions import PREDICTIONS, tabulate_predictions, write_predictions
from melanoma_ray.inference.scoring import Scoring
from melanoma_ray.model.checkpoint import find_checkpoint, read_manifest
from melanoma_ray.model.known import USES
from melanoma_ray.reports.evaluation import render_evaluation
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.schema import Scope
from melanoma_ray.sources.readings import Reading

_COMPARED_WITH = ("diagnosis", "group_id", "content_sha256")
"""Columns that predictions.parquet takes from the index of the prepared dataset."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How an evaluation is done."""

    known_images: KnownImages = "refuse"
    """What is done with images that the model knows."""
    ids_are_shared: bool = True
    """Whether an equal id of a lesion or patient means the same one as in the model's training."""
    prevalence: float | None = None
    """Share of melanomas, in (0, 1), where the model shall be used; none: as among the images."""
    compare: str | None = None
    """Checkpoint of another model that answers for the same images."""
    beside: str | None = None
    """report.json of the same checkpoint on other images, such as its own test split."""
    statements: Mapping[str, str] = field(default_factory=dict)
    """The publisher's own words for items of the model card, by number, such as ``18a``."""
    shortcuts: bool = False
    """Whether to score each image again with its border cut off, hair removed, in grey, and its lesion masked out."""
    explain: bool = False
    """Whether to explain the surest errors and some hits, by maps and similar training cases."""
    readings: tuple[Reading, ...] | None = None
    """People's word for the same images; none: there is none."""
    use_gpu: bool = False
    """Whether to score on GPUs instead of CPUs."""


def evaluate(
    checkpoint: str, data: str, output: str, *, split: Scope, options: Options | None = None
) -> dict[str, Any]:
    """Score a split, write the reports and each image's prediction, and return report.json's content.

    Args:
        checkpoint: Checkpoint directory, run directory or a sweep's best.json.
        data: Directory of the prepared dataset.
        output: Directory for the reports.
        split: Images to score; the thresholds are those of the checkpoint, chosen on val.
        options: How it is done; by default images that the model knows are refused, and CPUs score.

    Raises:
        CheckpointError: The checkpoint can't be used.
        DataError: The dataset can't be used, has no images of the split, or was prepared with other image settings
            than the model's training data.
        ConfigError: The model learnt from some of the images, or was calibrated on them, and they are to be refused;
            the split is folds and the checkpoint isn't an ensemble over exactly this dataset's folds; or the split is
            val and the checkpoint is such an ensemble, since most of its networks were trained on val.
    """
    chosen = options or Options()
    subject = open_subject(
        find_checkpoint(storage.absolute(checkpoint)),
        open_dataset(data),
        split=split,
        known_images=chosen.known_images,
        ids_are_shared=chosen.ids_are_shared,
    )
    return report_on(subject, output, chosen)


def report_on(subject: Subject, output: str, options: Options) -> dict[str, Any]:
    """Score the images of a subject, write the reports and each image's prediction, and return report.json's content.

    Args:
        subject: The model and the images.
        output: Directory for the reports.
        options: How it is done.
    """
    other = None if options.compare is None else _open_other(options.compare, subject, options)
    earlier = None if options.beside is None else read_earlier(options.beside, subject)
    outputs = subject.ask(Scoring(keep_parts=True), use_gpu=options.use_gpu)
    scored = subject.judge(outputs)
    # In cross-validation a diagnosis counts if each fold can have a group of it.
    min_groups = subject.manifest.num_members if subject.split == "folds" else 1
    figures = measure(scored, min_groups=min_groups)
    subgroups = measure_subgroups(scored, subject.images)
    thresholds = measure_thresholds(scored, subject, options.prevalence)
    comparison = None if other is None else compare_models(subject, scored, other, use_gpu=options.use_gpu)
    unseen = _measure_unseen(scored, subject)
    robustness = measure_robustness(outputs, subject.images, scored.group, subject.manifest)
    shortcuts = measure_all(subject, scored, use_gpu=options.use_gpu) if options.shortcuts else None
    explanations = explain_images(subject, scored) if options.explain else None
    readers = None if options.readings is None else measure_readers(options.readings, subject.images, scored)
    report = _to_dict(subject, scored, figures, thresholds, unseen) | {
        "subgroups": [asdict(one) for one in subgroups],
        "comparison": None if comparison is None else _describe_comparison(comparison),
        "beside": None if earlier is None else _describe_drop(earlier, figures),
        "robustness": None if robustness is None else robustness.to_dict(),
        "shortcuts": None if shortcuts is None else shortcuts.to_dict(),
        "readers": None if readers is None else readers.to_dict(),
        "explanations": None if explanations is None else explanations.to_dict(),
    }
    written: dict[str, Any] = json.loads(json.dumps(report))  # as it is read again: lists, no tuples
    run = RunDirectory.of_checkpoint(subject.uri)
    evidence = Evidence(
        subject=subject,
        scored=scored,
        figures=figures,
        unseen=unseen,
        thresholds=thresholds,
        subgroups=subgroups,
        comparison=comparison,
        earlier=earlier,
        robustness=robustness,
        shortcuts=shortcuts,
        explanations=explanations,
        readers=readers,
        history=[] if run is None else run.history(),
    )
    storage.write_bytes(storage.join(output, PAGE), render_evaluation(build_page(evidence)).encode())
    card = write_model_card(evidence, options.statements)
    storage.write_bytes(storage.join(output, CARD), card.encode())
    answers = _tabulate(subject, scored)
    write_predictions(storage.join(output, PREDICTIONS), answers, subject.predictor.checkpoint_id)
    storage.write_json(storage.join(output, REPORT), written)
    return written


def _open_other(checkpoint: str, subject: Subject, options: Options) -> Subject:
    """Return the other model with the same images, each without those that it knows itself."""
    uri = find_checkpoint(storage.absolute(checkpoint))
    check_comparable(subject.manifest, read_manifest(uri))
    try:
        return open_subject(
            uri,
            subject.dataset,
            split=subject.split,
            known_images=options.known_images,
            ids_are_shared=options.ids_are_shared,
        )
    except (ConfigError, DataError) as error:  # which say "the model", of which there are two here
        msg = f"compare {uri}: {error}"
        raise type(error)(msg) from error


def _describe_drop(earlier: Earlier, figures: Figures) -> dict[str, Any]:
    """Return the earlier figures and the drop to those here, as plain values."""
    drop = {name: estimate.to_dict() for name, estimate in earlier.drop_to(figures.estimates).items()}
    return asdict(earlier) | {"drop": drop}


def _describe_comparison(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain values, without the other model's single answers."""
    parts = {name: getattr(comparison, name) for name in ("auroc", "accuracy", "right", "referral")}
    return {
        "other": dict(comparison.other),
        "num_images": comparison.num_images,
        "num_changed": len(comparison.changed),
        **{name: getattr(comparison, name) for name in ("num_left_out", "num_learnt", "num_calibrated", "num_shared")},
        **{name: None if part is None else asdict(part) for name, part in parts.items()},
    }


def _measure_unseen(scored: Scored, subject: Subject) -> Figures | None:
    """Return the figures of the images that the model doesn't know; none: it knows all of them, or none."""
    if subject.acquaintance is None:
        return None
    is_seen = subject.acquaintance.is_seen
    return measure(scored.select(~is_seen)) if is_seen.any() and not is_seen.all() else None


def _to_dict(
    subject: Subject, scored: Scored, figures: Figures, thresholds: FixedThresholds, unseen: Figures | None
) -> dict[str, Any]:
    dataset, manifest, known = subject.dataset, subject.manifest, subject.acquaintance
    return {
        "format_version": FORMAT_VERSION,
        "split": subject.split,
        "is_whole_collection": subject.is_whole_collection,
        "about": subject.about,
        "data": dataset.uri,
        "data_fingerprint": dataset.info.fingerprint,
        "is_same_data_as_training": dataset.info.fingerprint == manifest.data_fingerprint,
        "is_synthetic": dataset.info.is_synthetic or manifest.is_synthetic,
        "model": subject.predictor.describe() | {"runtime": scored.predictions.runtime},
        "known_images": _describe_known(subject.left_out)
        if known is None
        else {
            "is_told": True,
            **known.count(),
            "reasons": known.count_reasons(),
            "left_out": dict(subject.left_out),
            "ids_are_shared": subject.ids_are_shared,
        },
        "participants": count_participants(subject),
        "figures": figures.to_dict(),
        "figures_of_unseen_images": None if unseen is None else unseen.to_dict(),
        "thresholds_fixed_on_validation": [asdict(row) for row in thresholds.rows],
        "thresholds_on_one_kind": [asdict(row) for row in thresholds.one_way],
        "thresholds_undefined": thresholds.reason or None,
    }


def _describe_known(left_out: Mapping[str, int]) -> dict[str, Any]:
    """Return what can be said of a checkpoint without a list of known images."""
    return {"is_told": False, "left_out": dict(left_out)}


def _tabulate(subject: Subject, scored: Scored) -> pa.Table:
    images, known = subject.images, subject.acquaintance
    table = tabulate_predictions(list(images["image_id"]), list(images["path"]), scored.predictions, scored.diagnoses)
    for name in _COMPARED_WITH:
        table = table.append_column(name, pa.array(images[name]))
    words = [None] * len(images) if known is None else [(*USES, "new")[rank] for rank in known.rank]
    return table.append_column("known", pa.array(words, pa.string()))
