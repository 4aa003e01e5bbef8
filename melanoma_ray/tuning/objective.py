"""Whether a split can measure what a sweep searches for."""

from __future__ import annotations

import numpy as np

from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset, referred_classes
from melanoma_ray.errors import ConfigError
from melanoma_ray.runs.history import BEST_METRIC
from melanoma_ray.tuning.options import SearchOptions


def check_objective(
    options: SearchOptions, experiment: Experiment, dataset: PreparedDataset, *, where: str = "the validation split"
) -> None:
    """Refuse an objective that the validation split can't measure.

    Args:
        options: How the sweep searches.
        experiment: Experiment that it starts from.
        dataset: Prepared dataset.
        where: Name of its validation split in the message.

    Raises:
        ConfigError: The split has none of the images to refer, or no others.
    """
    if options.metric == BEST_METRIC:
        return
    target = dataset.target(dataset.split("val"))
    is_referred = np.isin(target[target >= 0], referred_classes(dataset.info, experiment.decision))
    if is_referred.all() or not is_referred.any():
        msg = (
            f"objective={options.objective}: {where} of {dataset.uri} has {int(is_referred.sum())} images "
            f"to refer among {is_referred.size}, and both kinds are needed; choose balanced-accuracy"
        )
        raise ConfigError(msg)
