"""A model's probabilities and threshold fitted anew on a part of a clinic's own images; its weights stay as they are.

The result is a checkpoint that names its parent. The images that it was fitted on are in its list of known images, so
an evaluation on the same collection leaves them out by itself.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
from jaxtyping import Bool

from melanoma_ray.errors import CheckpointError, DataError
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.inference.scorer import Outputs
from melanoma_ray.metrics.intervals import SPARSE_BELOW
from melanoma_ray.model.calibration import Calibration, fit_calibration
from melanoma_ray.model.checkpoint import DataOrigin, read_bank, read_known, read_weights, write_checkpoint
from melanoma_ray.model.known import tabulate_known
from melanoma_ray.wording import count


def recalibrate(subject: Subject, output: str, *, fraction: float, seed: int = 0, use_gpu: bool = False) -> Calibration:
    """Write a checkpoint with a calibration of its own for these images, and return that calibration.

    Args:
        subject: The model and the clinic's images, without those that the model knows.
        output: Directory of the new checkpoint.
        fraction: Share of the images to fit on, in (0, 1); whole groups, as large a share of those to be referred.
        seed: Seed of the choice.
        use_gpu: Score on GPUs instead of CPUs.

    Raises:
        CheckpointError: The checkpoint has no list of known images.
        DataError: There are fewer than two groups to be referred, or of others, to divide; or none of the chosen images
            has a diagnosis of the model.
        TrainingError: A logit isn't finite.
    """
    manifest = subject.manifest
    known = read_known(subject.uri, manifest)
    if known is None:
        msg = (
            f"checkpoint {subject.uri}: has no list of known images, so the images that it is fitted on couldn't be "
            "told from others later; train again, or give the checkpoint with its known.parquet"
        )
        raise CheckpointError(msg)
    outputs = subject.ask(use_gpu=use_gpu)
    scored = subject.judge(outputs)
    part = _choose(scored, fraction, seed)
    fitted = _fit(subject, scored, outputs, part)
    write_checkpoint(
        output,
        read_weights(subject.uri, manifest),
        experiment=manifest.experiment,
        calibration=fitted,
        origin=DataOrigin(
            fingerprint=manifest.data_fingerprint,
            is_synthetic=manifest.is_synthetic or subject.dataset.info.is_synthetic,
            diagnoses=manifest.diagnoses,
            taxonomy=manifest.taxonomy,
            image=manifest.image,
            known_images=_extend_known(subject, known, part),
            bank=read_bank(subject.uri, manifest),
            parent=subject.predictor.checkpoint_id,
        ),
        over=manifest.ensemble_over,
    )
    return fitted


def _fit(subject: Subject, scored: Scored, outputs: Outputs, part: Bool[np.ndarray, " image"]) -> Calibration:
    """Return the calibration of a part of the images, by those that have a diagnosis of the model."""
    manifest = subject.manifest
    target = scored.target
    is_fitted = part & (target >= 0)
    if not is_fitted.any():
        msg = f"{subject.dataset.uri}: none of the {int(part.sum())} chosen images has a diagnosis of the model"
        raise DataError(msg)
    referred = [manifest.diagnoses.index(name) for name in manifest.referred]
    asked = outputs[is_fitted]
    fitted = fit_calibration(
        asked.logits,
        target[is_fitted],
        referred=referred,
        config=manifest.experiment.decision,
        distance=asked.distance,
    )
    return replace(fitted, doubts=(*fitted.doubts, *list_doubts(scored.select(is_fitted))))


def _choose(scored: Scored, fraction: float, seed: int) -> Bool[np.ndarray, " image"]:
    """Return whole groups, chosen at random among those with an image to be referred and among the others."""
    random = np.random.default_rng(seed)
    is_graver = pd.Series(scored.is_melanoma).groupby(scored.group).any()
    chosen: list[int] = []
    kinds = {"to be referred": is_graver.index[is_graver], "others": is_graver.index[~is_graver]}
    for name, groups in kinds.items():
        if len(groups) < 2:
            msg = (
                f"recalibration: {len(groups)} of the lesions (or patients) that the model doesn't know are {name}; at "
                "least 2 are needed, one to fit on and one to evaluate on; give more images"
            )
            raise DataError(msg)
        number = min(max(1, round(fraction * len(groups))), len(groups) - 1)
        chosen += random.permutation(groups.to_numpy())[:number].tolist()
    return np.isin(scored.group, chosen)


def list_doubts(fitted: Scored) -> tuple[str, ...]:
    """Return what is doubtful about a fit on these images, one sentence each."""
    number, others = (len(np.unique(fitted.group[rows])) for rows in (fitted.is_melanoma, ~fitted.is_melanoma))
    said = []
    if number < SPARSE_BELOW:
        said.append(
            f"Fitted on images of {count(number, 'lesion')} (or patients) to be referred: too few to say how many the "
            "threshold finds."
        )
    if others < SPARSE_BELOW:
        said.append(
            f"Fitted on images of {count(others, 'other lesion')} (or patients): too few to say how many the threshold "
            "leaves to routine."
        )
    return tuple(said)


def _extend_known(subject: Subject, known: pa.Table, part: Bool[np.ndarray, " image"]) -> pa.Table:
    """Return the model's known images with those that it is calibrated on now."""
    new = tabulate_known(subject.images[part].assign(split="val"), over_folds=False)
    return pa.concat_tables([known, new])
