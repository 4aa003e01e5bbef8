"""What a sweep refuses before anything starts."""

from __future__ import annotations

import pandas as pd
import pytest

from melanoma_ray.cluster.resources import build_trial_scaling
from melanoma_ray.config import Experiment, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import DatasetInfo, PreparedDataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.tuning.concurrency import takes_of_trial
from melanoma_ray.tuning.confirmation import ConfirmationPlan
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.space import build_space
from melanoma_ray.tuning.sweep import SweepPlan, check_objective


def dataset_of(*diagnoses: str, num_folds: int = 0) -> PreparedDataset:
    """A prepared dataset whose validation split has these diagnoses."""
    info = DatasetInfo(
        format_version=1,
        inputs="",
        fingerprint="",
        is_synthetic=True,
        config=PrepareConfig(split=SplitConfig(num_folds=num_folds)),
        diagnoses=("melanoma", "nevus"),
        index="index.parquet",
        pixels="pixels",
        num_images={},
        num_dropped={},
        num_quarantined={},
        num_conflicts={},
        num_rows_without_file=0,
        num_files_without_row=0,
        num_left_out={},
    )
    index = pd.DataFrame({"diagnosis": list(diagnoses), "split": ["val"] * len(diagnoses)})
    return PreparedDataset(uri="data", info=info, index=index)


@pytest.mark.parametrize("diagnoses", [("nevus", "nevus"), ("melanoma", "melanoma")])
@pytest.mark.parametrize("objective", ["melanoma-auroc", "specificity"])
def test_an_objective_that_the_validation_split_can_t_measure_is_refused(
    diagnoses: tuple[str, ...], objective: str
) -> None:
    options = SearchOptions(objective=objective)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"images to refer among 2, and both kinds are needed; choose balanced"):
        check_objective(options, Experiment(), dataset_of(*diagnoses))
    check_objective(options, Experiment(), dataset_of("melanoma", "nevus"))
    check_objective(SearchOptions(), Experiment(), dataset_of(*diagnoses))


def test_a_confirmation_that_can_t_be_made_is_refused() -> None:
    scaling = build_trial_scaling(0, gpus_per_worker=0.0, cpus_per_worker=None)
    with pytest.raises(ConfigError, match=r"confirm=folds: data has none; prepare it with --split.num-folds 5"):
        ConfirmationPlan(over="folds", num_seeds=5, scaling=scaling).check(dataset_of("nevus"))
    ConfirmationPlan(over="folds", num_seeds=5, scaling=scaling).check(dataset_of("nevus", num_folds=5))
    with pytest.raises(ConfigError, match=r"confirm_seeds=1: expected 2 or more"):
        ConfirmationPlan(over="seeds", num_seeds=1, scaling=scaling).check(dataset_of("nevus"))


def test_a_sweep_without_trials_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_trials=0: expected 1 or more"):
        SweepPlan(experiment=Experiment(), space=build_space([], Experiment()), num_trials=0)


def test_four_trials_share_a_gpu_by_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")  # a cluster, which may have GPUs
    scaling = build_trial_scaling(0, gpus_per_worker=0.25, cpus_per_worker=None)
    assert takes_of_trial(scaling) == {"CPU": 1.0, "GPU": 0.25}
    with_worker = build_trial_scaling(1, gpus_per_worker=0.5, cpus_per_worker=2.0)
    assert takes_of_trial(with_worker)["GPU"] == 0.5
