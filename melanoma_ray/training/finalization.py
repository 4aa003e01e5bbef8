"""Finalisation of a run: calibrate the best weights on images they weren't trained on, and write the checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from melanoma_ray import storage
from melanoma_ray.cluster.resources import assigned_device
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset, referred_classes
from melanoma_ray.errors import TrainingError
from melanoma_ray.inference.measures import tabulate_measures
from melanoma_ray.inference.scorer import Outputs, Scorer, build_scorer
from melanoma_ray.inference.scoring import embed_sample, score_folds, score_split
from melanoma_ray.model.calibration import fit_calibration
from melanoma_ray.model.checkpoint import WEIGHTS, DataOrigin, EnsembleOver, write_checkpoint
from melanoma_ray.model.known import tabulate_known
from melanoma_ray.model.likeness import BANK_SIZE, FeatureBank, build_bank, fit_appearance, join_banks
from melanoma_ray.reports.plots import plot_curves
from melanoma_ray.reports.svg import figure_to_png
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.runs.progress import parse_tensors

logger = logging.getLogger(__name__)


def finalize_run(run: RunDirectory, experiment: Experiment, dataset: PreparedDataset, *, use_gpu: bool) -> None:
    """Write history, curves and checkpoint of a run whose training has ended.

    Args:
        run: Directory of the run.
        experiment: Experiment of the run.
        dataset: Prepared dataset that it was trained on.
        use_gpu: Score the validation split on a GPU.

    Raises:
        TrainingError: No epoch was finished.
    """
    progress = _best_progress([run])
    run.write_picture("curves.png", figure_to_png(plot_curves(run.write_history())))
    finalize_checkpoint(progress, run.best, experiment, dataset, use_gpu=use_gpu)


def finalize_seeds(
    runs: Sequence[RunDirectory], checkpoint: str, experiment: Experiment, dataset: PreparedDataset, *, use_gpu: bool
) -> None:
    """Write one checkpoint of the networks of several runs, which differ only by their seed.

    Args:
        runs: Directories of the runs.
        checkpoint: Directory of the checkpoint.
        experiment: Experiment of the runs.
        dataset: Prepared dataset that they were trained on.
        use_gpu: Score the validation split on GPUs.

    Raises:
        TrainingError: A run has finished no epoch.
    """
    finalize_checkpoint(_best_progress(runs), checkpoint, experiment, dataset, use_gpu=use_gpu)


def finalize_checkpoint(
    progress: Sequence[str], checkpoint: str, experiment: Experiment, dataset: PreparedDataset, *, use_gpu: bool
) -> None:
    """Write a checkpoint of the networks of progress directories, calibrated on the validation split.

    Which images are unlike those of training is learnt from a sample of the training images themselves, and its
    threshold from the validation split.

    Args:
        progress: Progress directories, one for each network.
        checkpoint: Directory of the checkpoint.
        experiment: Experiment of the networks.
        dataset: Prepared dataset that they were trained on.
        use_gpu: Score the validation split on GPUs.
    """
    build = partial(_load_scorer, progress, experiment, len(dataset.info.diagnoses))
    bank = _fill_bank(dataset, build, use_gpu=use_gpu)
    scored = score_split(dataset, "val", partial(build, bank), use_gpu=use_gpu)
    over: EnsembleOver | None = "seeds" if len(progress) > 1 else None
    _write(checkpoint, progress, experiment, dataset, (*scored, bank), over=over)


def finalize_folds(
    runs: Sequence[RunDirectory], checkpoint: str, experiment: Experiment, dataset: PreparedDataset, *, use_gpu: bool
) -> None:
    """Write one checkpoint of the networks of all folds.

    It is calibrated on every image of the folds, each scored by the one network that wasn't trained on it. The mean
    of all networks is more accurate than a single one, so the temperature is a little too high and the probabilities
    are too cautious. Both distances to training images, by features and by appearance, are means over its members, each
    with those of its own folds; they vary a little less than a single one, so a few images more count as assessable.

    Args:
        runs: Directories of the runs, in the order of the folds.
        checkpoint: Directory of the checkpoint.
        experiment: Experiment of the runs.
        dataset: Prepared dataset with these folds.
        use_gpu: Score the folds on GPUs.

    Raises:
        TrainingError: A run has finished no epoch.
    """
    progress = _best_progress(runs)
    num_diagnoses = len(dataset.info.diagnoses)
    builds = [partial(_load_scorer, [uri], experiment, num_diagnoses) for uri in progress]
    banks = [_fill_bank(dataset.with_fold(fold), build, use_gpu=use_gpu) for fold, build in enumerate(builds)]
    filled = [partial(build, bank) for build, bank in zip(builds, banks, strict=True)]
    scored = score_folds(dataset, filled, use_gpu=use_gpu)
    _write(checkpoint, progress, experiment, dataset, (*scored, join_banks(banks)), over="folds")


def _fill_bank(dataset: PreparedDataset, build: Callable[[], Scorer], *, use_gpu: bool) -> FeatureBank:
    """Return the bank of a scorer's networks, of the train split."""
    features, appearance = embed_sample(dataset, build, most=BANK_SIZE, use_gpu=use_gpu)
    return build_bank([torch.from_numpy(own) for own in features], fit_appearance(appearance))


def _best_progress(runs: Sequence[RunDirectory]) -> list[str]:
    found = []
    for run in runs:
        progress = run.best_progress()
        if progress is None:
            msg = f"run {run.uri}: no epoch was finished, so there are no weights; run the same command again"
            raise TrainingError(msg)
        found.append(progress)
    return found


def _write(
    checkpoint: str,
    progress: Sequence[str],
    experiment: Experiment,
    dataset: PreparedDataset,
    scored: tuple[pd.DataFrame, Outputs, FeatureBank],
    *,
    over: EnsembleOver | None,
) -> None:
    info = dataset.info
    images, outputs, bank = scored
    target = dataset.target(images)
    known = target >= 0
    referred = list(referred_classes(info, experiment.decision))
    asked = outputs[known]
    calibration = fit_calibration(
        asked.logits, target[known], referred=referred, config=experiment.decision, distance=asked.distance
    )
    for doubt in calibration.doubts:
        logger.warning("checkpoint %s: %s", checkpoint, doubt)
    origin = DataOrigin(
        fingerprint=info.fingerprint,
        is_synthetic=info.is_synthetic,
        diagnoses=info.diagnoses,
        taxonomy=info.taxonomy,
        image=info.config.image,
        known_images=tabulate_known(dataset.index, over_folds=over == "folds"),
        bank=bank,
        validation=tabulate_measures(asked, calibration, referred),
    )
    members = [_read_weights(uri) for uri in progress]
    write_checkpoint(checkpoint, members, experiment=experiment, calibration=calibration, origin=origin, over=over)


def _load_scorer(
    progress: Sequence[str], experiment: Experiment, num_diagnoses: int, bank: FeatureBank | None = None
) -> Scorer:
    members = [_read_weights(uri) for uri in progress]
    return build_scorer(members, experiment, num_diagnoses, assigned_device(), bank)


def _read_weights(progress: str) -> dict[str, Tensor]:
    return parse_tensors(storage.join(progress, WEIGHTS))
