"""Evaluates a checkpoint on a prepared dataset; writes report.json, report.html and predictions.parquet.

predictions.parquet has the columns of ``inference/predictions.py`` (without error, because preparation has read these
images), followed by what the predictions are compared with: diagnosis, group_id and content_sha256.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.diagnoses import class_numbers
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.evaluation.figures import Figures, Scored, measure
from melanoma_ray.inference.predictions import PREDICTIONS, tabulate_predictions
from melanoma_ray.inference.predictor import Predictor, Scorer, decide
from melanoma_ray.inference.scoring import score_folds, score_split
from melanoma_ray.model.checkpoint import Manifest, find_checkpoint
from melanoma_ray.reports.evaluation import (
    EvaluationPage,
    GalleryImage,
    MetricRow,
    ThresholdRow,
    build_metric_row,
    render_evaluation,
)
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.runs.history import EpochRecord
from melanoma_ray.schema import Scope

_GALLERY_SIZE = 48
_COMPARED_WITH = ("diagnosis", "group_id", "content_sha256")
"""Columns that predictions.parquet takes from the index of the prepared dataset."""
_MEANINGS = {
    "accuracy": ("Accuracy", "Share of images whose most probable diagnosis is the true one.", "images"),
    "balanced_accuracy": (
        "Balanced accuracy",
        "Mean over the diagnoses of the share of a diagnosis's images that are recognised.",
        "images",
    ),
    "melanoma_auroc": (
        "Melanoma AUROC",
        "Probability that a melanoma is ranked above an image that is none; 0.5 is guessing.",
        "images",
    ),
    "sensitivity": ("Sensitivity", "Share of the melanomas that are referred.", "melanomas"),
    "specificity": ("Specificity", "Share of the other images that are not referred.", "other images"),
    "brier_score": ("Brier score", "Mean squared error of the melanoma probability; 0 is perfect.", "images"),
    "expected_calibration_error": (
        "Calibration error",
        "Expected calibration error: mean difference between the melanoma probability and the frequency of melanomas.",
        "images",
    ),
}


def evaluate(checkpoint: str, data: str, output: str, *, split: Scope, use_gpu: bool = False) -> dict[str, Any]:
    """Score a split, write the reports and each image's prediction, and return report.json's content.

    Args:
        checkpoint: Checkpoint directory, run directory or a sweep's best.json.
        data: Directory of the prepared dataset.
        output: Directory for the reports.
        split: Images to score; the thresholds are those of the checkpoint, chosen on val.
        use_gpu: Score on GPUs instead of CPUs.

    Raises:
        CheckpointError: The checkpoint can't be used.
        DataError: The dataset can't be used, has no images of the split, or was prepared with other image settings
            than the model's training data.
        ConfigError: The split is folds and the checkpoint isn't an ensemble over exactly this dataset's folds; or the
            split is val and the checkpoint is such an ensemble, since most of its networks were trained on val.
    """
    uri = find_checkpoint(storage.absolute(checkpoint))
    predictor = Predictor.load(uri, "cpu")
    dataset = open_dataset(data)
    if dataset.info.config.image != predictor.image:
        msg = (
            f"dataset {dataset.uri}: prepared with {dataset.info.config.image}, "
            f"the checkpoint expects {predictor.image}; prepare it with the same image settings"
        )
        raise DataError(msg)
    manifest = predictor.manifest
    _check_scope(manifest, dataset, split)
    if split == "folds":
        builds = [partial(_load_scorer, uri, member=fold) for fold in range(manifest.num_members)]
        images, logits = score_folds(dataset, builds, use_gpu=use_gpu)
    else:
        images, logits = score_split(dataset, split, partial(_load_scorer, uri), use_gpu=use_gpu)
    scored = Scored(
        predictions=decide(logits, manifest),
        target=class_numbers(images["diagnosis"], manifest.diagnoses),
        group=pd.factorize(images["group_id"])[0],
        diagnoses=manifest.diagnoses,
        referred=manifest.referred,
    )
    # In cross-validation a diagnosis counts if each fold can have a group of it.
    figures = measure(scored, min_groups=manifest.num_members if split == "folds" else 1)
    report = {
        "split": split,
        "data": dataset.uri,
        "data_fingerprint": dataset.info.fingerprint,
        "is_same_data_as_training": dataset.info.fingerprint == manifest.data_fingerprint,
        "is_synthetic": dataset.info.is_synthetic or manifest.is_synthetic,
        "model": predictor.describe(),
        "figures": figures.to_dict(),
    }
    run = RunDirectory.of_checkpoint(uri)
    history = [] if run is None else run.history()
    subject = _Subject(predictor=predictor, dataset=dataset, images=images, split=split, history=history)
    page = _build_page(subject, scored, figures)
    storage.write_bytes(storage.join(output, "report.html"), render_evaluation(page).encode())
    storage.write_table(storage.join(output, PREDICTIONS), _tabulate(images, scored))
    storage.write_json(storage.join(output, "report.json"), report)
    return report


def _tabulate(images: pd.DataFrame, scored: Scored) -> pa.Table:
    table = tabulate_predictions(list(images["image_id"]), list(images["path"]), scored.predictions, scored.diagnoses)
    for name in _COMPARED_WITH:
        table = table.append_column(name, pa.array(images[name]))
    return table.drop_columns(["error"])


def _load_scorer(checkpoint: str, *, member: int | None = None) -> Scorer:
    return Predictor.load(checkpoint, member=member).scorer


def _check_scope(manifest: Manifest, dataset: PreparedDataset, split: Scope) -> None:
    """Refuse images that some of an ensemble's networks were trained on."""
    # Manifests of the first ensembles, which were all over folds, don't have ``ensemble_over``.
    is_over_folds = manifest.num_members > 1 and manifest.ensemble_over != "seeds"
    knows_folds = is_over_folds and dataset.info.fingerprint == manifest.data_fingerprint
    if split == "val" and knows_folds:
        msg = "split='val': all but one of the checkpoint's networks were trained on it; give split folds or test"
        raise ConfigError(msg)
    num_folds = dataset.info.config.split.num_folds
    if split == "folds" and not (knows_folds and manifest.num_members == num_folds):
        runs = f"{manifest.num_members} {manifest.ensemble_over}" if manifest.ensemble_over else "a single run"
        msg = (
            f"split='folds': the checkpoint is of {runs}, and {dataset.uri} has {num_folds} folds; "
            "give the checkpoint that jobs.train --folds wrote, and the dataset that it was trained on"
        )
        raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """The model that is evaluated, and the images on which it is."""

    predictor: Predictor
    dataset: PreparedDataset
    images: pd.DataFrame
    split: Scope
    history: list[EpochRecord]


def _build_page(subject: _Subject, scored: Scored, figures: Figures) -> EvaluationPage:
    predictor, dataset, split = subject.predictor, subject.dataset, subject.split
    manifest, estimates = predictor.manifest, figures.estimates
    has_operating_point = "sensitivity" in estimates and "specificity" in estimates
    return EvaluationPage(
        title="Evaluation by cross-validation" if split == "folds" else f"Evaluation on the {split} split",
        is_synthetic=dataset.info.is_synthetic or manifest.is_synthetic,
        split=split,
        facts=_facts(predictor, dataset, figures),
        metrics=_metric_rows(figures),
        undefined=[f"{name}: {reason}" for name, reason in figures.undefined.items()],
        thresholds=_threshold_rows(predictor),
        class_counts=dataset.info.count_by_diagnosis(),
        history=subject.history,
        diagnoses=manifest.diagnoses,
        confusion=figures.confusion,
        roc=figures.roc if has_operating_point else None,
        operating_point=(1 - estimates["specificity"].value, estimates["sensitivity"].value)
        if has_operating_point
        else (0.0, 0.0),
        gallery=_gallery(dataset, subject.images, scored),
    )


def _facts(predictor: Predictor, dataset: PreparedDataset, figures: Figures) -> dict[str, str]:
    manifest = predictor.manifest
    same = dataset.info.fingerprint == manifest.data_fingerprint
    return {
        "Network": manifest.experiment.model.network,
        **(
            {"Referred for": "malignancy: no class of this model is melanoma, so melanoma means malignant on this page"}
            if manifest.referred_for == "malignancy"
            else {}
        ),
        "Input": f"{manifest.experiment.model.image_side}×{manifest.experiment.model.image_side} pixels",
        "Checkpoint": predictor.checkpoint_id,
        "Trained": f"{manifest.created_at}, at most {manifest.experiment.num_epochs} epochs",
        "Data": f"{dataset.uri} ({'the same as' if same else 'not that'} of its training)",
        "Images": f"{figures.num_images:,}, split {dataset.info.config.split.method}, "
        f"duplicates: {dataset.info.config.duplicates}",
    }


def _metric_rows(figures: Figures) -> list[MetricRow]:
    rows = [build_metric_row(*_MEANINGS[n][:2], e, unit=_MEANINGS[n][2]) for n, e in figures.estimates.items()]
    rows += [
        build_metric_row(
            f"Recall of {name}",
            "Listed separately: it has fewer lesions than there are folds, so the balanced accuracy leaves it out.",
            figures.recall[name],
            unit=f"images of {name}",
        )
        for name in figures.apart
    ]
    for name, value in figures.calibration.items():
        title, meaning, unit = _MEANINGS[name]
        sample = f"{figures.num_images:,} {unit}"
        rows.append(MetricRow(name=title, meaning=meaning, value=value, interval=None, sample=sample))
    return rows


def _threshold_rows(predictor: Predictor) -> list[ThresholdRow]:
    calibration, decision = predictor.manifest.calibration, predictor.manifest.experiment.decision
    return [
        ThresholdRow(
            name="Melanoma probability",
            value=calibration.decision_threshold,
            meaning="An image with this probability or more is referred. Chosen to refer at least "
            f"{decision.target_sensitivity:.0%} of the {calibration.num_validation_melanomas} melanomas of the "
            "validation split.",
        ),
        ThresholdRow(
            name="Energy",
            value=calibration.out_of_distribution_threshold,
            meaning="An image with more energy is unlike those of training, so a person must look. Chosen so that "
            f"{decision.assessable_quantile:.1%} of the validation images count as assessable.",
        ),
        ThresholdRow(
            name="Temperature",
            value=calibration.temperature,
            meaning="The logits are divided by it, so that probabilities agree with observed frequencies.",
        ),
    ]


def _gallery(dataset: PreparedDataset, images: pd.DataFrame, scored: Scored) -> list[GalleryImage]:
    """Return images spread evenly over the split, which is sorted by path and therefore mostly by diagnosis."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(_GALLERY_SIZE, len(images))).round().astype(int))
    crops = dataset.load_pixels(list(images["path"].iloc[rows]))
    predicted = scored.predicted
    return [
        GalleryImage(
            image_id=str(images["image_id"].iloc[row]),
            thumbnail=thumbnail_data_uri(crop),
            diagnosis=str(images["diagnosis"].iloc[row]),
            predicted=scored.diagnoses[predicted[row]],
            melanoma_probability=float(scored.predictions.melanoma_probability[row]),
            decision=scored.predictions.decision[row],
        )
        for row, crop in zip(rows, crops, strict=True)
    ]
