"""Population based training: who goes on from whom, decided from the trials before alone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState
from safetensors.torch import load_file

from melanoma_ray.config import AugmentationConfig, OptimizerConfig
from melanoma_ray.errors import ConfigError
from melanoma_ray.runs.progress import Progress
from melanoma_ray.settings import with_settings
from melanoma_ray.training.loop import TrainingJob, Worker
from melanoma_ray.tuning.coordination import Coordinator, Proposal
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.population import can_change, newest_value, vary
from melanoma_ray.tuning.space import build_space
from tests.unit.training.local_backend import EXPERIMENT as SMALL
from tests.unit.training.local_backend import LocalBackend, build_job
from tests.unit.tuning.test_study import EXPERIMENT, RECORD, coordinate, result

POPULATION = SearchOptions(search="population")
SPACE = build_space(["optimizer.learning-rate=log:1e-4:1e-2", "loss.class-weighting=choice:none,sqrt"], EXPERIMENT)


def reopen(uri: Path) -> Coordinator:
    return coordinate(uri, num_trials=4, space=SPACE, options=POPULATION)


def train(coordinator: Coordinator, proposal: Proposal, epoch: int, value: float, uri: Path) -> bool:
    """Leave the progress of an epoch, as a trial does, and report it."""
    local = uri / "local"
    local.mkdir(exist_ok=True)
    history = [replace(RECORD, epoch=one, val_balanced_accuracy=value) for one in range(1, epoch + 1)]
    Progress(batch_index=epoch, history=history).write(local)
    coordinator.directory_of(proposal.name).save(local)
    return coordinator.hear(proposal.number, result(epoch, value))


def test_the_worst_member_goes_on_from_the_best_one_with_other_settings(tmp_path: Path) -> None:
    coordinator = reopen(tmp_path)
    values = [0.5, 0.2, 0.9, 0.4]
    first = []
    for value in values:
        proposal = coordinator.next()
        assert proposal is not None
        assert proposal.starts_from is None
        first.append(proposal)
        assert train(coordinator, proposal, 1, value, tmp_path)  # a generation has one epoch
    second = [proposal for _ in range(4) if (proposal := coordinator.next()) is not None]
    parents = [coordinator.study.trial(one.number).user_attrs["parent"] for one in second]
    assert parents == [0, 2, 2, 3]
    assert [one.settings for one in (second[0], second[2], second[3])] == [
        one.settings for one in (first[0], first[2], first[3])
    ]
    assert second[1].settings != first[2].settings
    assert 1e-4 <= second[1].settings["optimizer.learning_rate"] <= 1e-2
    assert [one.starts_from for one in second] == [
        coordinator.directory_of(first[parent].name).newest() for parent in parents
    ]
    assert None not in [one.starts_from for one in second]


def test_a_generation_waits_for_the_one_before(tmp_path: Path) -> None:
    coordinator = reopen(tmp_path)
    first = [proposal for _ in range(4) if (proposal := coordinator.next()) is not None]
    assert coordinator.next() is None
    assert not coordinator.is_over()
    for proposal in first:
        train(coordinator, proposal, 1, 0.5, tmp_path)
    assert coordinator.next() is not None


def test_a_killed_population_goes_on_as_an_undisturbed_one(tmp_path: Path) -> None:
    found = []
    for is_disturbed in (False, True):
        uri = tmp_path / str(is_disturbed)
        uri.mkdir()
        coordinator = reopen(uri)
        while (proposal := coordinator.next()) is not None:
            if is_disturbed:
                coordinator = reopen(uri)
                again = coordinator.next()
                assert again == proposal
            epoch = coordinator.last_epoch(proposal.number)
            train(coordinator, proposal, epoch, proposal.number % 7 / 10, uri)
        assert coordinator.is_over()
        found.append([trial.user_attrs["settings"] for trial in coordinator.study.trials])
    assert found[0] == found[1]
    assert len(found[0]) == 16  # four members for four epochs


def test_a_member_that_fails_is_replaced(tmp_path: Path) -> None:
    coordinator = reopen(tmp_path)
    for number in range(4):
        proposal = coordinator.next()
        assert proposal is not None
        if number == 1:
            coordinator.fail(proposal.number, "the disk is full")
        else:
            train(coordinator, proposal, 1, 0.1 * (number + 1), tmp_path)
    second = [proposal for _ in range(4) if (proposal := coordinator.next()) is not None]
    assert [coordinator.study.trial(one.number).user_attrs["parent"] for one in second] == [0, 3, 2, 3]


def test_a_setting_whose_condition_isn_t_met_has_the_experiment_s_value(tmp_path: Path) -> None:
    space = build_space(
        ["loss.class-weighting=choice:none,sqrt", "loss.focal-gamma=uniform:1:3@loss.class-weighting=none"], EXPERIMENT
    )
    coordinator = coordinate(tmp_path, num_trials=6, space=space, options=POPULATION)
    while (proposal := coordinator.next()) is not None:
        train(coordinator, proposal, coordinator.last_epoch(proposal.number), proposal.number % 7 / 10, tmp_path)
    settings = [trial.user_attrs["settings"] for trial in coordinator.study.trials]
    gammas = {weighting: [one["loss.focal_gamma"] for one in settings if one["loss.class_weighting"] == weighting]
              for weighting in ("none", "sqrt")}  # fmt: skip
    assert set(gammas["sqrt"]) == {EXPERIMENT.loss.focal_gamma}
    assert all(1 <= gamma <= 3 for gamma in gammas["none"][1:])  # the first is the experiment itself


def test_a_value_that_is_varied_is_near_or_anew_and_zero_doesn_t_stay(tmp_path: Path) -> None:
    (dimension,) = build_space(["loss.label-smoothing=uniform:0:0.4"], EXPERIMENT).dimensions
    random = np.random.default_rng(0)
    near = [vary(dimension, 0.2, random) for _ in range(200)]
    factors = [value / 0.2 for value in near]
    assert 0.6 < np.mean([any(factor == pytest.approx(one) for one in (0.8, 1.2)) for factor in factors]) < 0.9
    assert all(0 <= value <= 0.4 for value in near)
    assert all(vary(dimension, 0.0, random) > 0 for _ in range(20))


def test_a_population_of_a_single_generation_is_refused(tmp_path: Path) -> None:
    options = replace(POPULATION, generation_epochs=EXPERIMENT.num_epochs)
    with pytest.raises(ConfigError, match=r"expected fewer than the 4 epochs of all generations together"):
        coordinate(tmp_path, num_trials=4, space=SPACE, options=options)


@pytest.mark.parametrize("setting", ["model.image-side=int:64:128", "global-batch-size=int:8:32"])
def test_settings_with_which_weights_can_t_be_exchanged_are_refused(tmp_path: Path, setting: str) -> None:
    with pytest.raises(ConfigError, match="can't change while a network is trained"):
        coordinate(tmp_path, space=build_space([setting], EXPERIMENT), options=POPULATION)


def test_members_that_could_end_by_themselves_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="patience_epochs=2: the members of a population end together; leave it out"):
        coordinate(
            tmp_path, num_trials=4, space=SPACE, options=POPULATION, experiment=replace(EXPERIMENT, patience_epochs=2)
        )


def test_a_named_space_is_searched_but_for_what_can_t_change(tmp_path: Path) -> None:
    whole, taken = build_space(["loss"], EXPERIMENT), build_space(["loss"], EXPERIMENT, is_taken=can_change)
    assert {one.name for one in whole.dimensions} - {one.name for one in taken.dimensions} == {"sampling"}
    coordinate(tmp_path, num_trials=4, space=taken, options=POPULATION)


def test_a_member_whose_parent_s_progress_is_gone_doesn_t_begin_anew_in_silence(tmp_path: Path) -> None:
    coordinator = reopen(tmp_path)
    for number in range(4):
        proposal = coordinator.next()
        assert proposal is not None
        train(coordinator, proposal, 1, 0.1 * (number + 1), tmp_path)
    gone = coordinator.study.trial(2).user_attrs["name"]
    shutil.rmtree(tmp_path / "trials" / gone)
    again = reopen(tmp_path)
    begun = [proposal.number for _ in range(4) if (proposal := again.next()) is not None]
    failed = [trial for trial in again.study.trials if trial.state is TrialState.FAIL]
    assert [trial.user_attrs["parent"] for trial in failed] == [2]
    assert failed[0].user_attrs["error"] == f"trial {gone}, from which it would go on, has lost its progress"
    assert failed[0].number not in begun


def test_a_population_has_members_and_one_objective(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_trials=1: expected 2 or more"):
        coordinate(tmp_path, num_trials=1, space=SPACE, options=POPULATION)
    with pytest.raises(ConfigError, match="a population is ranked by one figure"):
        SearchOptions(search="population", objective="balanced-accuracy-and-latency")


class Stopped(Exception):  # noqa: N818 - an end, not an error
    """Ends a trial, as Ray Tune does when the study says so."""


class Member(LocalBackend):
    """A trial of a population in this process, with the directory and the reports of a real one."""

    def __init__(self, coordinator: Coordinator, proposal: Proposal, job: TrainingJob) -> None:
        super().__init__(job, Path())
        self.coordinator, self.proposal = coordinator, proposal
        self.trial = coordinator.directory_of(proposal.name)

    def latest(self) -> Path | None:
        newest = self.trial.newest()
        return Path(newest) if newest else None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        assert progress is not None
        self.trial.save(progress)
        if self.coordinator.hear(self.proposal.number, metrics):
            raise Stopped


def test_a_population_clones_weights_and_beats_its_own_first_generation(tmp_path: Path) -> None:
    plain = replace(SMALL, augmentation=AugmentationConfig(), optimizer=OptimizerConfig(), num_epochs=4)
    space = build_space(["optimizer.learning-rate=log:1e-5:3e-3"], plain)
    coordinator = coordinate(tmp_path, num_trials=4, space=space, options=POPULATION, experiment=plain)
    begun_with: dict[int, dict[str, torch.Tensor]] = {}
    while (proposal := coordinator.next()) is not None:
        job = replace(build_job(with_settings(plain, proposal.settings)), starts_from=proposal.starts_from)
        worker = Worker(job, Member(coordinator, proposal, job))
        begun_with[proposal.number] = {k: v.clone() for k, v in worker.state.classifier.state_dict().items()}
        with pytest.raises(Stopped):
            worker.train()
    trials = coordinator.study.trials
    generations = [trials[start : start + 4] for start in range(0, 16, 4)]
    best = [max(newest_value(trial) for trial in generation) for generation in generations]
    assert best[-1] > best[0]
    clones = [trial for trial in trials if trial.user_attrs.get("is_clone")]
    assert len(clones) == 3  # the worst of four, after each generation but the last
    for clone in clones:
        parent = trials[clone.user_attrs["parent"]]
        newest = coordinator.directory_of(parent.user_attrs["name"]).newest()
        assert newest is not None
        kept = load_file(f"{newest}/progress.safetensors")
        mine = begun_with[clone.number]
        assert all(torch.equal(mine[name], kept[f"network.{name}"]) for name in mine)
        assert clone.user_attrs["settings"] != parent.user_attrs["settings"]
