"""What a sweep refuses before anything starts."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from melanoma_ray import storage
from melanoma_ray.cluster.resources import build_trial_scaling
from melanoma_ray.config import Experiment, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import DatasetInfo, PreparedDataset
from melanoma_ray.errors import ConfigError, MelanomaRayError
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.tuning.concurrency import takes_of_trial
from melanoma_ray.tuning.confirmation import ConfirmationPlan
from melanoma_ray.tuning.objective import check_objective
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.space import build_space
from melanoma_ray.tuning.sweep import SweepPlan, sweep


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
    what = (Experiment(), SearchOptions())
    with pytest.raises(ConfigError, match=r"confirm=folds: data has none; prepare it with --split.num-folds 5"):
        ConfirmationPlan(over="folds", num_seeds=5, scaling=scaling).check(dataset_of("nevus"), *what)
    folds = dataset_of("nevus", num_folds=5)
    folds = replace(folds, index=folds.index.assign(fold=[0]))
    ConfirmationPlan(over="folds", num_seeds=5, scaling=scaling).check(folds, *what)
    with pytest.raises(ConfigError, match=r"confirm_seeds=1: expected 2 or more"):
        ConfirmationPlan(over="seeds", num_seeds=1, scaling=scaling).check(dataset_of("nevus"), *what)


def test_a_confirmation_on_folds_of_which_one_can_t_measure_the_objective_is_refused() -> None:
    data = dataset_of("melanoma", "nevus", "melanoma", "nevus", "nevus", num_folds=3)
    data = replace(data, index=data.index.assign(fold=[0, 0, 1, 1, 2]))
    scaling = build_trial_scaling(0, gpus_per_worker=0.0, cpus_per_worker=None)
    plan = ConfirmationPlan(over="folds", num_seeds=5, scaling=scaling)
    plan.check(data, Experiment(), SearchOptions())
    with pytest.raises(ConfigError, match=r"objective=melanoma-auroc: fold 2 of data has 0 images to refer among 1"):
        plan.check(data, Experiment(), SearchOptions(objective="melanoma-auroc"))


def test_a_run_and_a_sweep_of_one_name_leave_each_other_alone(tmp_path: Path) -> None:
    """Both may have their storage and name from one melanoma.toml."""
    run, plan = tmp_path / "run", SweepPlan(experiment=Experiment(), space=build_space([], Experiment()), num_trials=1)
    RunDirectory(uri=str(run)).claim(Experiment(), dataset_of("nevus"))
    refuse(run, r"sweep .*run: there is a trained run of this name; give another --name or --storage")
    storage.write_json(str(tmp_path / "sweep" / "sweep.json"), plan.origin(dataset_of("nevus")))
    with pytest.raises(ConfigError, match=r"run .*sweep: there is a sweep of this name; give another --name or --stor"):
        RunDirectory(uri=str(tmp_path / "sweep")).claim(Experiment(), dataset_of("nevus"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": "population", "stopping": "hyperband"}, "no trial is stopped early with search=population"),
        ({"search": "population", "patience": 2}, "a population has a given number of generations"),
        (
            {"objective": "balanced-accuracy-and-latency", "stopping": "hyperband"},
            "no trial is stopped early with objective=balanced-accuracy-and-latency",
        ),
    ],
)
def test_options_that_would_have_no_effect_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchOptions(**options)


def refuse(uri: Path, message: str, **changes: Any) -> None:  # noqa: ANN401 - fields of a plan
    plan = SweepPlan(experiment=Experiment(), space=build_space([], Experiment()), num_trials=1)
    with pytest.raises(MelanomaRayError, match=message):
        sweep(replace(plan, **changes), dataset_of("nevus"), str(uri))


def test_a_sweep_of_which_a_file_is_gone_or_damaged_isn_t_begun_anew_in_silence(tmp_path: Path) -> None:
    plan = SweepPlan(experiment=Experiment(), space=build_space([], Experiment()), num_trials=1)
    begun_with, study = tmp_path / "sweep.json", tmp_path / "study.log"
    storage.write_json(str(begun_with), plan.origin(dataset_of("nevus")))
    storage.write_json(str(tmp_path / "trials" / "01" / "run.json"), {})
    (tmp_path / "trials" / ".DS_Store").touch()
    refuse(tmp_path, r"study.log: is gone or damaged, for it lacks 1 trial of .*; put it back, or give another --name")
    study.write_text("")
    refuse(tmp_path, r"study.log: is gone or damaged")
    for garbage in (b'{"op_code": 0', b"\x00\xff garbage\n", b'{"op_code": 4}\n', b"[1]\n", b'{"a": 1}\n'):
        study.write_bytes(garbage)
        refuse(tmp_path, r"study.log: damaged \(.*\); put it back, or give another --name")
    study.unlink()
    shutil.rmtree(tmp_path / "trials")
    storage.write_json(str(tmp_path / "best.json"), {})
    refuse(tmp_path, r"study.log: is gone or empty, though there are results")
    study.write_text("")
    begun_with.write_text("{}")
    refuse(tmp_path, r"sweep.json: malformed \(it has no 'started_from'\); put it back, or give another --name")
    begun_with.unlink()
    refuse(tmp_path, r"sweep.json: is gone, which says what study.log was begun with")


def test_a_sweep_goes_on_with_workers_only_if_it_was_begun_with_some(tmp_path: Path) -> None:
    plan = SweepPlan(experiment=Experiment(), space=build_space([], Experiment()), num_trials=1)
    storage.write_json(str(tmp_path / "sweep.json"), plan.origin(dataset_of("nevus")))
    scaling = build_trial_scaling(1, gpus_per_worker=0.0, cpus_per_worker=1.0)
    refuse(tmp_path, r"was begun from num_workers=0; give the same to go on", scaling=scaling)


def test_a_sweep_without_trials_is_refused() -> None:
    with pytest.raises(ConfigError, match="num_trials=0: expected 1 or more"):
        SweepPlan(experiment=Experiment(), space=build_space([], Experiment()), num_trials=0)


def test_four_trials_share_a_gpu_by_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")  # a cluster, which may have GPUs
    scaling = build_trial_scaling(0, gpus_per_worker=0.25, cpus_per_worker=None)
    assert takes_of_trial(scaling) == {"CPU": 1.0, "GPU": 0.25}
    with_worker = build_trial_scaling(1, gpus_per_worker=0.5, cpus_per_worker=2.0)
    assert takes_of_trial(with_worker)["GPU"] == 0.5
