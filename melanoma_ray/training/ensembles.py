"""Ensembles: several runs, one for each fold or each seed, and one checkpoint with all of their networks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from ray.train import RunConfig, ScalingConfig

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.model.checkpoint import EnsembleOver, read_manifest
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.runs.lock import hold
from melanoma_ray.training.finalization import finalize_folds, finalize_seeds
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
    """Train one network for each fold, on the other folds, and write the ensemble; finished runs aren't repeated.

    The runs of the folds are in the run's directory, as ``fold-0`` and so on.

    Args:
        experiment: Settings that decide the weights.
        dataset: Prepared dataset with folds, from ``open_dataset``.
        scaling: Ray's number of workers, CPUs and GPUs.
        run_config: Ray's settings of the run, from ``build_run_config``.
        supervision: How the runs are saved, logged and displayed.

    Raises:
        ConfigError: The dataset has no folds, or the run was started with other settings.
    """
    num_folds = dataset.info.config.split.num_folds
    if not num_folds:
        msg = f"folds: {dataset.uri} has none; prepare it with --split.num-folds 5"
        raise ConfigError(msg)
    group = _Group(over="folds", scaling=scaling, run_config=run_config, supervision=supervision)
    with hold(group.whole.uri):
        group.whole.claim(experiment, dataset, over=group.over)
        runs = [group.train(f"fold-{fold}", experiment, dataset.with_fold(fold)) for fold in range(num_folds)]
        if not group.is_finished(num_folds):
            finalize_folds(runs, group.whole.best, experiment, dataset, use_gpu=scaling.use_gpu)
    return group.whole


def train_seeds(
    experiment: Experiment,
    dataset: PreparedDataset,
    *,
    num_seeds: int,
    scaling: ScalingConfig,
    run_config: RunConfig,
    supervision: Supervision,
) -> RunDirectory:
    """Train with the experiment's seed and those after it, and write the ensemble; finished runs aren't repeated.

    The runs of the seeds are in the run's directory, as ``seed-0`` and so on. A later call with a larger number trains
    only those that are missing.

    Args:
        experiment: Settings that decide the weights.
        dataset: Prepared dataset, from ``open_dataset``.
        num_seeds: Number of networks, 1 or more.
        scaling: Ray's number of workers, CPUs and GPUs.
        run_config: Ray's settings of the run, from ``build_run_config``.
        supervision: How the runs are saved, logged and displayed.

    Raises:
        ConfigError: The number is below 1, or the run was started with other settings.
    """
    if num_seeds < 1:
        msg = f"num_seeds={num_seeds}: expected 1 or more"
        raise ConfigError(msg)
    group = _Group(over="seeds", scaling=scaling, run_config=run_config, supervision=supervision)
    seeds = range(experiment.seed, experiment.seed + num_seeds)
    with hold(group.whole.uri):
        group.whole.claim(experiment, dataset, over=group.over)
        runs = [group.train(f"seed-{seed}", replace(experiment, seed=seed), dataset) for seed in seeds]
        if not group.is_finished(num_seeds):
            finalize_seeds(runs, group.whole.best, experiment, dataset, use_gpu=scaling.use_gpu)
    return group.whole


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """The runs of an ensemble, in the directory of the whole."""

    over: EnsembleOver
    scaling: ScalingConfig
    run_config: RunConfig
    supervision: Supervision

    @property
    def whole(self) -> RunDirectory:
        return RunDirectory(uri=storage.join(str(self.run_config.storage_path), str(self.run_config.name)))

    def train(self, name: str, experiment: Experiment, dataset: PreparedDataset) -> RunDirectory:
        logger.info("%s of %s", name, self.whole.uri)
        config = replace(self.run_config, storage_path=self.whole.uri, name=name)
        return train(experiment, dataset, scaling=self.scaling, run_config=config, supervision=self.supervision)

    def is_finished(self, num_members: int) -> bool:
        return self.whole.is_finished and read_manifest(self.whole.best).num_members == num_members
