"""Training's last step: calibrate the best weights on the validation split and write the checkpoint."""

from __future__ import annotations

from functools import partial

from safetensors.torch import load

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.data.dataset import PreparedDataset
from melanoma_ray.data.scoring import score_split
from melanoma_ray.diagnoses import MELANOMA
from melanoma_ray.errors import DataError
from melanoma_ray.model.calibration import fit_calibration
from melanoma_ray.model.checkpoint import DataOrigin, write_checkpoint
from melanoma_ray.model.predictor import Scorer, build_scorer
from melanoma_ray.reports.plots import plot_curves
from melanoma_ray.reports.svg import figure_to_png
from melanoma_ray.training.run import RunDirectory
from melanoma_ray.training.state import WEIGHTS


def finish_run(run: RunDirectory, experiment: Experiment, dataset: PreparedDataset, *, use_gpu: bool) -> None:
    """Write history, curves and the checkpoint of a run that has seen its whole plan."""
    progress = run.best_progress()
    if progress is None:
        msg = f"run {run.uri}: no epoch was finished, so there are no weights; run the same command again"
        raise DataError(msg)
    run.write_picture("curves.png", figure_to_png(plot_curves(run.write_history())))
    finish_checkpoint(progress, run.best, experiment, dataset, use_gpu=use_gpu)


def finish_checkpoint(
    progress: str, target: str, experiment: Experiment, dataset: PreparedDataset, *, use_gpu: bool
) -> None:
    """Calibrate a progress directory's weights on the validation split and write them as a checkpoint."""
    diagnoses = dataset.info.diagnoses
    build = partial(_load_scorer, progress, experiment, len(diagnoses), use_gpu=use_gpu)
    images, logits = score_split(dataset, "val", build, use_gpu=use_gpu)
    targets = dataset.targets(images)
    known = targets >= 0
    melanoma = diagnoses.index(MELANOMA) if MELANOMA in diagnoses else None
    calibration = fit_calibration(logits[known], targets[known], melanoma=melanoma, config=experiment.decision)
    info = dataset.info
    origin = DataOrigin(
        fingerprint=info.fingerprint, is_synthetic=info.is_synthetic, diagnoses=diagnoses, image=info.config.image
    )
    weights = load(storage.read_bytes(storage.join(progress, WEIGHTS)))
    write_checkpoint(target, weights, experiment=experiment, calibration=calibration, origin=origin)


def _load_scorer(progress: str, experiment: Experiment, num_diagnoses: int, *, use_gpu: bool) -> Scorer:
    weights = load(storage.read_bytes(storage.join(progress, WEIGHTS)))
    return build_scorer(weights, experiment, num_diagnoses, "cuda" if use_gpu else "cpu")
