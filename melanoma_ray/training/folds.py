"""Cross-validation: one run a fold, and one checkpoint of all of them."""

from __future__ import annotations

import logging
from dataclasses import replace

from ray.train import RunConfig, ScalingConfig

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.data.dataset import PreparedDataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.training.finishing import finish_ensemble
from melanoma_ray.training.run import RunDirectory
from melanoma_ray.training.trainer import Supervision, train

logger = logging.getLogger(__name__)


def train_folds(
    experiment: Experiment,
    dataset: PreparedDataset,
    *,
    scaling: ScalingConfig,
    run_config: RunConfig,
    supervision: Supervision,
) -> RunDirectory:
    """Train on all but each fold in turn and write the ensemble; what is finished isn't done again.

    The folds' runs lie in the run's directory, as ``fold-0`` and so on.

    Raises:
        ConfigError: The dataset has no folds.
    """
    num_folds = dataset.info.config.split.num_folds
    if not num_folds:
        msg = f"folds: {dataset.uri} has none; prepare it with --split.num-folds 5"
        raise ConfigError(msg)
    whole = RunDirectory(uri=storage.join(str(run_config.storage_path), str(run_config.name)))
    whole.claim(experiment, dataset)
    runs = []
    for fold in range(num_folds):
        logger.info("fold %d of %d", fold + 1, num_folds)
        config = replace(run_config, storage_path=whole.uri, name=f"fold-{fold}")
        runs.append(
            train(experiment, dataset.with_fold(fold), scaling=scaling, run_config=config, supervision=supervision)
        )
    if not whole.is_finished:
        finish_ensemble(runs, whole.best, experiment, dataset, use_gpu=scaling.use_gpu)
    return whole
