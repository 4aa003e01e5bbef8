"""What is evaluated: a model, the images that it is asked about, and how it knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64

from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.diagnoses import MELANOMA_OR_OTHER, ReferredFor, referred_diagnoses
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.unseen import Acquaintance, recognise
from melanoma_ray.inference.predictor import Predictor, decide
from melanoma_ray.inference.scorer import Outputs, Scorer
from melanoma_ray.inference.scoring import DEFAULT, Scoring, score_folds, score_split
from melanoma_ray.model.checkpoint import Manifest, read_known
from melanoma_ray.schema import Scope

KnownImages = Literal["refuse", "leave-out", "count"]
"""What is done with images that the model learnt from or was calibrated on.
refuse: the evaluation ends with their number; leave-out: only the others are scored, and the number is told; count:
all are scored, and the report says in bold that its figures praise the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model and the images that it is asked about."""

    uri: str
    """Checkpoint directory."""
    predictor: Predictor
    dataset: PreparedDataset
    split: Scope
    images: pd.DataFrame
    """Index rows of the images, sorted by path, without those that are left out."""
    acquaintance: Acquaintance | None
    """How the model knows these images; none: its checkpoint is older than the list of known images."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Number of images that are left out, by how the model knows them."""
    ids_are_shared: bool = True
    """Whether an equal id of a lesion or patient was taken for the same one."""

    @property
    def manifest(self) -> Manifest:
        """The model's manifest."""
        return self.predictor.manifest

    @property
    def is_whole_collection(self) -> bool:
        """Whether the images are a collection without splits, all of which are evaluated."""
        return self.dataset.info.config.split.method == "all-test"

    @property
    def about(self) -> ReferredFor:
        """What figures of these images are about: malignancy where their diagnoses don't tell melanoma."""
        return self._referred[0]

    @property
    def _referred(self) -> tuple[ReferredFor, tuple[str, ...]]:
        return referred_diagnoses(self.dataset.info.taxonomy, self.manifest.referred_for)

    def score(self, *, use_gpu: bool = False) -> Scored:
        """Return the predictions for the images, with what is true of them.

        Args:
            use_gpu: Score on GPUs instead of CPUs.
        """
        return self.judge(self.ask(use_gpu=use_gpu))

    def ask(self, how: Scoring = DEFAULT, *, use_gpu: bool = False) -> Outputs:
        """Return what the networks say about the images.

        Args:
            how: What is scored, and what is kept of it.
            use_gpu: Score on GPUs instead of CPUs.
        """
        if self.split == "folds":
            builds = [partial(_load_scorer, self.uri, member=fold) for fold in range(self.manifest.num_members)]
            rows, outputs = score_folds(self.dataset, builds, how=how, use_gpu=use_gpu)
        else:
            build = partial(_load_scorer, self.uri)
            rows, outputs = score_split(self.dataset, self.split, build, how=how, use_gpu=use_gpu)
        return outputs[pd.Index(rows["path"]).get_indexer(self.images["path"])]

    def judge(self, outputs: Outputs) -> Scored:
        """Return the predictions that follow from what the networks say, with what is true of the images."""
        dataset, manifest = self.dataset, self.manifest
        about, referred = self._referred
        malignant = {one.name for one in (*dataset.info.taxonomy, *manifest.taxonomy) if one.is_malignant}
        return Scored(
            predictions=decide(outputs, manifest),
            truth=self.images["diagnosis"].to_numpy(object),
            group=pd.factorize(self.images["group_id"])[0],
            diagnoses=manifest.diagnoses,
            referred=tuple(sorted({*referred, *manifest.referred})),
            malignant=tuple(sorted(malignant)),
            tells_other_cancers=dataset.info.taxonomy != MELANOMA_OR_OTHER,
            about=about,
        )


def open_subject(
    checkpoint: str, dataset: PreparedDataset, *, split: Scope, known_images: KnownImages, ids_are_shared: bool = True
) -> Subject:
    """Return what is to be evaluated, after every check that needs no scoring.

    Args:
        checkpoint: Checkpoint directory.
        dataset: Prepared dataset.
        split: Images to score.
        known_images: What is done with images that the model learnt from or was calibrated on.
        ids_are_shared: An equal id of a lesion or patient means the same one as in the model's training.

    Raises:
        CheckpointError: The checkpoint can't be used.
        DataError: There are no such images, or they were prepared with other image settings.
        ConfigError: The split doesn't fit the checkpoint, or the model knows images and is to refuse them.
    """
    predictor = Predictor.load(checkpoint, "cpu", runtime="reference")
    if dataset.info.config.image != predictor.image:
        msg = (
            f"dataset {dataset.uri}: prepared with {dataset.info.config.image}, "
            f"the checkpoint expects {predictor.image}; prepare it with the same image settings"
        )
        raise DataError(msg)
    _check_scope(predictor.manifest, dataset, split)
    images = _list_images(dataset, split)
    acquaintance = _recognise(checkpoint, predictor.manifest, images, split=split, ids_are_shared=ids_are_shared)
    subject = partial(
        Subject, uri=checkpoint, predictor=predictor, dataset=dataset, split=split, ids_are_shared=ids_are_shared
    )
    if acquaintance is None:
        return subject(images=images, acquaintance=None)
    is_unwanted = _unwanted(acquaintance, split)
    if known_images == "count" or not is_unwanted.any():
        return subject(images=images, acquaintance=acquaintance)
    if known_images == "refuse":
        raise ConfigError(_refusal(acquaintance, images, is_unwanted))
    if is_unwanted.all():
        msg = f"{dataset.uri}: the model knows all {len(images)} images, so none is left to evaluate it on"
        raise DataError(msg)
    return subject(
        images=images[~is_unwanted].reset_index(drop=True),
        acquaintance=acquaintance.take(~is_unwanted),
        left_out=acquaintance.take(is_unwanted).count_reasons(),
    )


def _load_scorer(checkpoint: str, *, member: int | None = None) -> Scorer:
    return Predictor.load(checkpoint, member=member).scorer


def _list_images(dataset: PreparedDataset, split: Scope) -> pd.DataFrame:
    if split != "folds":
        return dataset.split(split)
    return dataset.index[dataset.index["fold"].notna()].reset_index(drop=True)


def _recognise(
    checkpoint: str, manifest: Manifest, images: pd.DataFrame, *, split: Scope, ids_are_shared: bool
) -> Acquaintance | None:
    known = read_known(checkpoint, manifest)
    if known is None:
        return None
    scored_by: Int64[np.ndarray, " image"] | None = images["fold"].to_numpy(np.int64) if split == "folds" else None
    return recognise(images, known, scored_by=scored_by, ids_are_shared=ids_are_shared)


def _unwanted(acquaintance: Acquaintance, split: Scope) -> Bool[np.ndarray, " image"]:
    """Return the images that must not be scored unless that is asked for.

    Who asks for val or folds asks for images that the model was calibrated on; the report says so.
    """
    if split in {"val", "folds"}:
        return acquaintance.is_used("learnt")
    return acquaintance.is_seen


def _refusal(acquaintance: Acquaintance, images: pd.DataFrame, is_unwanted: Bool[np.ndarray, " image"]) -> str:
    unwanted = acquaintance.take(is_unwanted)
    counts, reasons = unwanted.count(), unwanted.count_reasons()
    how = ", ".join(f"{number:,} {reason}" for reason, number in reasons.items())
    first = images["path"][is_unwanted].iloc[0]
    return (
        f"the model knows {int(is_unwanted.sum()):,} of these {len(images):,} images: it learnt from "
        f"{counts['learnt']:,} and was calibrated on {counts['calibrated']:,} (recognised by: {how}; the first: "
        f"{first}); give other images, --known-images leave-out to score the others only, or --known-images count"
    )


def _check_scope(manifest: Manifest, dataset: PreparedDataset, split: Scope) -> None:
    """Refuse a split that doesn't fit an ensemble over folds."""
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
