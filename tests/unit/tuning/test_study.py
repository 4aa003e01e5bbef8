"""The study: what it proposes depends on nothing but its seed and its history, and nothing in it is lost or doubled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from melanoma_ray.config import Experiment
from melanoma_ray.errors import DataError
from melanoma_ray.recipes import baseline
from melanoma_ray.runs.history import EpochRecord
from melanoma_ray.runs.progress import Progress
from melanoma_ray.tuning.coordination import Coordinator
from melanoma_ray.tuning.directory import TrialDirectory, name_trial
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.page import measure_importance
from melanoma_ray.tuning.space import SearchSpace, build_space
from melanoma_ray.tuning.study import SETTINGS, Study, best_value

EXPERIMENT = replace(baseline(), num_epochs=4)
RECORD = EpochRecord(
    epoch=1,
    step=10,
    train_loss=1.0,
    train_accuracy=0.5,
    val_loss=1.0,
    val_accuracy=0.5,
    val_balanced_accuracy=0.5,
    images_per_s=10.0,
    waiting_fraction=0.0,
    first_batch_s=0.0,
    ended_at=0.0,
)


def coordinate(
    uri: Path,
    *,
    num_trials: int = 12,
    space: SearchSpace | None = None,
    options: SearchOptions | None = None,
    experiment: Experiment = EXPERIMENT,
) -> Coordinator:
    """Open a sweep as a new process would."""
    chosen = options or SearchOptions()
    study = Study(str(uri), chosen, seed=experiment.seed, num_epochs=experiment.num_epochs)

    def directory_of(name: str) -> TrialDirectory:
        return TrialDirectory.of(str(uri), name, has_workers=False, metric=chosen.metric)

    searched = space or build_space([], experiment)
    return Coordinator(study, searched, experiment, num_trials=num_trials, directory_of=directory_of)


def result(epoch: int, value: float) -> dict[str, float]:
    return {"epoch": epoch, "train_loss": 1.0, "val_balanced_accuracy": value, "seconds": 2.0}


def value_of(settings: dict[str, object], epoch: int) -> float:
    """A made-up learning curve: best at a learning rate of 0.002 and much smoothing."""
    rate, smoothing = float(str(settings["optimizer.learning_rate"])), float(str(settings["loss.label_smoothing"]))
    return 0.5 - abs(rate - 0.002) * 100 + smoothing + 0.02 * epoch


def run_all(reopen: Callable[[], Coordinator], *, every: int | None = None) -> Coordinator:
    """Run all trials one after the other, in a new process after each ``every`` epochs."""
    coordinator, epochs = reopen(), 0
    while (proposal := coordinator.next()) is not None:
        done = coordinator.study.trial(proposal.number).intermediate_values
        for epoch in range(len(done) + 1, EXPERIMENT.num_epochs + 1):
            is_over = coordinator.hear(proposal.number, result(epoch, value_of(dict(proposal.settings), epoch)))
            epochs += 1
            if every is not None and epochs % every == 0:
                coordinator = reopen()
                break
            if is_over:
                break
    return coordinator


def rows(coordinator: Coordinator) -> list[tuple[object, ...]]:
    return [(trial.state, trial.user_attrs[SETTINGS], trial.intermediate_values) for trial in coordinator.study.trials]


@pytest.mark.parametrize("options", [SearchOptions(), SearchOptions(search="random", stopping="hyperband")])
@pytest.mark.parametrize("every", [1, 3])
def test_a_sweep_in_many_processes_is_the_sweep_in_one(tmp_path: Path, options: SearchOptions, every: int) -> None:
    whole = run_all(lambda: coordinate(tmp_path / "whole", options=options))
    parts = run_all(lambda: coordinate(tmp_path / "parts", options=options), every=every)
    assert rows(parts) == rows(whole)
    assert len(rows(whole)) == 12
    assert {trial.state for trial in whole.study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


def test_another_seed_proposes_other_settings(tmp_path: Path) -> None:
    first, other = coordinate(tmp_path / "a"), coordinate(tmp_path / "b", experiment=replace(EXPERIMENT, seed=1))
    proposals = [[one.next() for _ in range(2)] for one in (first, other)]
    assert proposals[0][0] == proposals[1][0]  # the experiment itself
    assert proposals[0][1] != proposals[1][1]


def test_the_first_trial_is_the_experiment_even_where_the_space_leaves_it_out(tmp_path: Path) -> None:
    space = build_space(["optimizer.learning-rate=log:0.1:1", "model.dropout=uniform:0:0.3"], EXPERIMENT)
    coordinator = coordinate(tmp_path, space=space)
    first, second = coordinator.next(), coordinator.next()
    assert first is not None
    assert second is not None
    assert first.settings == {"optimizer.learning_rate": 0.001, "model.dropout": 0.2}
    assert 0.1 <= second.settings["optimizer.learning_rate"] <= 1


def test_a_conditional_setting_keeps_the_experiment_s_value_elsewhere(tmp_path: Path) -> None:
    texts = ["loss.class-weighting=choice:none,sqrt", "loss.focal-gamma=uniform:1:3@loss.class-weighting=sqrt"]
    coordinator = coordinate(tmp_path, space=build_space(texts, EXPERIMENT), options=SearchOptions(search="random"))
    found = [proposal.settings for _ in range(12) if (proposal := coordinator.next()) is not None]
    weightings = {one["loss.class_weighting"] for one in found}
    assert weightings == {"none", "sqrt"}
    for one in found:
        assert (one["loss.focal_gamma"] == 0.0) == (one["loss.class_weighting"] == "none")


def test_settings_that_contradict_each_other_are_a_failed_trial_and_no_end(tmp_path: Path) -> None:
    space = build_space(["num-accumulations=int:1:3"], EXPERIMENT)  # 3 doesn't divide a batch of 32
    coordinator = coordinate(tmp_path, space=space, options=SearchOptions(search="random"), num_trials=20)
    while (proposal := coordinator.next()) is not None:
        assert proposal.settings["num_accumulations"] in (1, 2)
        coordinator.finish(proposal.number)
    failed = [trial for trial in coordinator.study.trials if trial.user_attrs[SETTINGS]["num_accumulations"] == 3]
    assert failed
    assert all("a divisor of the batch of 32" in trial.user_attrs["error"] for trial in failed)
    assert len(coordinator.study.trials) == 20


def test_asha_stops_those_that_fall_behind_and_none_stops_nobody(tmp_path: Path) -> None:
    stopped = run_all(lambda: coordinate(tmp_path / "asha"))
    states = [trial.state for trial in stopped.study.trials]
    assert 0 < states.count(TrialState.PRUNED) < 12
    assert all("asha" in one.user_attrs["why"] for one in stopped.study.trials if one.state is TrialState.PRUNED)
    alone = run_all(lambda: coordinate(tmp_path / "none", options=SearchOptions(stopping="none")))
    assert {trial.state for trial in alone.study.trials} == {TrialState.COMPLETE}


def test_a_sweep_that_nothing_improves_stops_early_and_goes_on_without_patience(tmp_path: Path) -> None:
    def reopen(patience: int | None) -> Coordinator:
        options = SearchOptions(stopping="none", patience=patience)
        return coordinate(tmp_path, options=options, num_trials=10)

    coordinator = reopen(3)
    while (proposal := coordinator.next()) is not None:
        for epoch in range(1, 5):
            coordinator.hear(proposal.number, result(epoch, 0.9 if proposal.number == 1 else 0.5))
    assert len(coordinator.study.trials) == 5  # the second is the best, and three after it are no better
    assert coordinator.num_left == 0
    assert reopen(None).num_left == 5


def test_a_trial_that_was_running_is_brought_up_to_its_progress(tmp_path: Path) -> None:
    coordinator = coordinate(tmp_path)
    proposal = coordinator.next()
    assert proposal is not None
    directory = coordinator.directory_of(proposal.name)
    local = tmp_path / "local"
    local.mkdir()
    history = [replace(RECORD, epoch=epoch, val_balanced_accuracy=epoch / 10) for epoch in (1, 2)]
    Progress(batch_index=20, history=history).write(local)  # the driver was killed before it heard of these epochs
    directory.save(local)
    again = coordinate(tmp_path)
    assert again.study.trial(0).intermediate_values == {1: 0.1, 2: 0.2}
    assert again.next() == proposal
    history += [replace(RECORD, epoch=epoch) for epoch in (3, 4)]
    Progress(batch_index=40, history=history).write(local)
    directory.save(local)
    finished = coordinate(tmp_path)
    assert finished.study.trial(0).state is TrialState.COMPLETE
    following = finished.next()
    assert following is not None
    assert following.number == 1


def test_a_study_killed_while_it_is_written_is_the_one_before(tmp_path: Path) -> None:
    coordinator = coordinate(tmp_path / "sweep")
    coordinator.next()
    whole = tmp_path / "sweep" / "study.log"
    shutil.copy(whole, tmp_path / "before.log")
    coordinator.next()
    shutil.copy(tmp_path / "before.log", whole)
    assert coordinate(tmp_path / "sweep").num_left == 12
    assert [file.name for file in (tmp_path / "sweep").iterdir()] == ["study.log"]


def test_optuna_reads_the_study(tmp_path: Path) -> None:
    run_all(lambda: coordinate(tmp_path))
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "study.log")))
    (summary,) = optuna.get_all_study_summaries(journal)
    study = optuna.load_study(study_name=summary.study_name, storage=journal)
    values = [value for trial in study.trials if (value := best_value(trial)) is not None]
    assert study.best_value == max(values)
    assert len(study.trials) == 12


def test_a_diverged_trial_has_failed_whatever_it_was_before(tmp_path: Path) -> None:
    coordinator = coordinate(tmp_path)
    proposal = coordinator.next()
    assert proposal is not None
    assert not coordinator.hear(proposal.number, result(1, 0.9))
    assert coordinator.hear(proposal.number, result(2, 0.9) | {"train_loss": float("nan")})
    trial = coordinator.study.trial(proposal.number)
    assert trial.state is TrialState.FAIL
    assert best_value(trial) is None
    assert "diverged" in trial.user_attrs["error"]


@pytest.mark.parametrize("objective", ["melanoma-auroc", "specificity"])
@pytest.mark.parametrize("is_late", [False, True])
def test_a_trial_whose_outputs_are_no_numbers_has_failed_whatever_the_objective(
    tmp_path: Path, objective: str, *, is_late: bool
) -> None:
    options = SearchOptions(objective=objective)  # type: ignore[arg-type]
    coordinator = coordinate(tmp_path, options=options)
    proposal = coordinator.next()
    assert proposal is not None
    if is_late:
        assert not coordinator.hear(proposal.number, {"epoch": 1, "train_loss": 1.0, options.metric: 0.9})
    undefined = {"epoch": 1 + is_late, "train_loss": float("nan"), options.metric: None}  # as the loop reports it
    assert coordinator.hear(proposal.number, undefined)
    assert coordinator.study.trial(proposal.number).state is TrialState.FAIL
    assert "diverged" in coordinator.study.trial(proposal.number).user_attrs["error"]


def test_a_smaller_number_of_trials_than_before_ends_those_that_were_running(tmp_path: Path) -> None:
    coordinator = coordinate(tmp_path, num_trials=6)
    proposals = [proposal for _ in range(6) if (proposal := coordinator.next()) is not None]
    for proposal in proposals[:4]:
        coordinator.fail(proposal.number, "a reason")
    fewer = coordinate(tmp_path, num_trials=4)
    assert fewer.num_left == 2
    assert [fewer.next(), fewer.next()] == proposals[4:]
    assert fewer.next() is None


def test_an_epoch_that_was_saved_but_never_reported_counts(tmp_path: Path) -> None:
    coordinator = coordinate(tmp_path)
    proposal = coordinator.next()
    assert proposal is not None
    assert not coordinator.hear(proposal.number, result(1, 0.1))
    local = tmp_path / "local"
    local.mkdir()
    history = [replace(RECORD, epoch=one, val_balanced_accuracy=one / 10, seconds=2.0) for one in (1, 2, 3, 4)]
    Progress(batch_index=40, history=history).write(local)
    coordinator.directory_of(proposal.name).save(local)  # the trial's process died before it reported these
    coordinator.finish(proposal.number)
    trial = coordinator.study.trial(proposal.number)
    assert trial.state is TrialState.COMPLETE
    assert trial.intermediate_values == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}
    assert trial.user_attrs["seconds"] == 8.0


def test_settings_that_are_right_only_together_are_tried_in_any_order(tmp_path: Path) -> None:
    space = build_space(["num-accumulations=choice:1,3", "global-batch-size=choice:32,48"], EXPERIMENT)
    coordinator = coordinate(tmp_path, space=space, options=SearchOptions(search="random"), num_trials=20)
    while (proposal := coordinator.next()) is not None:
        coordinator.fail(proposal.number, "began")
    errors = {
        (one.user_attrs[SETTINGS]["num_accumulations"], one.user_attrs[SETTINGS]["global_batch_size"]):
        one.user_attrs["error"] for one in coordinator.study.trials
    }  # fmt: skip
    assert errors.pop((3, 32)) == "num_accumulations=3: expected a divisor of the batch of 32"
    assert errors == {(1, 32): "began", (1, 48): "began", (3, 48): "began"}


def test_every_setting_has_an_importance_however_the_trials_came_to_it(tmp_path: Path) -> None:
    texts = ["optimizer.learning-rate=log:0.01:0.1", "loss.label-smoothing=uniform:0:0.2"]
    texts += ["loss.class-weighting=choice:none,sqrt", "loss.focal-gamma=uniform:1:3@loss.class-weighting=sqrt"]
    space = build_space(texts, EXPERIMENT)  # the experiment's own learning rate, 0.001, is outside
    coordinator = coordinate(tmp_path, space=space, options=SearchOptions(stopping="none"), num_trials=20)
    while (proposal := coordinator.next()) is not None:
        for epoch in range(1, 5):
            coordinator.hear(proposal.number, result(epoch, 0.5 + proposal.settings["loss.label_smoothing"]))
    importance = measure_importance(coordinator.study, space)
    assert set(importance) == {one.name for one in space.dimensions}
    assert max(importance, key=lambda name: importance[name]) == "loss.label_smoothing"


def test_settings_beyond_single_precision_have_no_importance_and_do_no_harm(tmp_path: Path) -> None:
    space = build_space(["default", "optimizer.max-gradient-norm=log:0.1:1e60"], EXPERIMENT)
    options = SearchOptions(stopping="none")
    coordinator = run_all(lambda: coordinate(tmp_path, num_trials=8, space=space, options=options))
    assert all(trial.state is TrialState.COMPLETE for trial in coordinator.study.trials)
    assert measure_importance(coordinator.study, space) == {}


@pytest.mark.parametrize("num_failed", [1, 8])
def test_without_enough_finished_trials_there_is_no_importance(tmp_path: Path, num_failed: int) -> None:
    coordinator = coordinate(tmp_path, num_trials=8)
    for _ in range(num_failed):
        proposal = coordinator.next()
        assert proposal is not None
        coordinator.fail(proposal.number, "it didn't train")
    assert measure_importance(coordinator.study, coordinator.space) == {}


@pytest.mark.parametrize("num_cut", [1, 2, 30])
def test_a_journal_that_was_cut_is_mended_or_refused_before_anything_is_added_to_it(
    tmp_path: Path, num_cut: int
) -> None:
    options = SearchOptions(stopping="none")
    run_all(lambda: coordinate(tmp_path, num_trials=2, options=options))
    whole = (tmp_path / "study.log").read_bytes()
    (tmp_path / "study.log").write_bytes(whole[:-num_cut])
    if num_cut > 1:
        with pytest.raises(DataError, match=r"study.log: damaged"):
            coordinate(tmp_path, num_trials=2, options=options)
        return
    # Only the last line's end was missing.
    again = run_all(lambda: coordinate(tmp_path, num_trials=3, options=options))
    assert [one.state for one in again.study.trials] == [TrialState.COMPLETE] * 3


def test_values_that_differ_by_chance_alone_have_no_importance_and_do_no_harm(tmp_path: Path) -> None:
    space = build_space(["loss.class-weighting=choice:none,sqrt", "model.dropout=choice:0.1,0.2"], EXPERIMENT)
    coordinator = coordinate(tmp_path, space=space, options=SearchOptions(search="random"), num_trials=12)
    same = coordinator.own
    while (proposal := coordinator.next()) is not None:
        if dict(proposal.settings) == same:
            for epoch in range(1, 5):
                coordinator.hear(proposal.number, result(epoch, 0.5 + 0.01 * proposal.number))
        else:
            coordinator.fail(proposal.number, "a reason")
    finished = [trial for trial in coordinator.study.trials if trial.state is TrialState.COMPLETE]
    assert len({trial.values[0] for trial in finished}) > 1
    assert measure_importance(coordinator.study, space) == {}


def test_a_trial_keeps_its_newest_and_its_best_progress(tmp_path: Path) -> None:
    directory = TrialDirectory(uri=str(tmp_path / "trial"), has_workers=False, metric="val_balanced_accuracy")
    local = tmp_path / "local"
    local.mkdir()
    history: list[EpochRecord] = []
    for epoch, value in enumerate((0.2, 0.6, 0.3, 0.4), start=1):
        history.append(replace(RECORD, epoch=epoch, val_balanced_accuracy=value))
        Progress(batch_index=epoch, history=history).write(local)
        (local / "model.safetensors").write_bytes(bytes([epoch]))
        directory.save(local)
    assert sorted(folder.name for folder in (tmp_path / "trial").iterdir()) == ["epoch-0002", "epoch-0004"]
    assert directory.best() == str(tmp_path / "trial" / "epoch-0002")
    assert directory.newest() == str(tmp_path / "trial" / "epoch-0004")
    (tmp_path / "trial" / "epoch-0005").mkdir()  # the process was killed before it wrote progress.json
    (tmp_path / "trial" / "epoch-0005" / "model.safetensors").write_bytes(b"5")
    assert directory.newest() == str(tmp_path / "trial" / "epoch-0004")


def test_a_name_has_the_number_and_the_settings_that_decide_most() -> None:
    own = build_space([], EXPERIMENT).own_values(EXPERIMENT)
    assert name_trial(1, own) == "01-lr-0.001-weighting-none"


def test_two_objectives_are_kept_and_no_trial_is_stopped(tmp_path: Path) -> None:
    options = SearchOptions(objective="balanced-accuracy-and-latency")
    coordinator = coordinate(tmp_path, options=options, num_trials=4)
    while (proposal := coordinator.next()) is not None:
        (tmp_path / "trials" / proposal.name).mkdir(parents=True)
        (tmp_path / "trials" / proposal.name / "latency.json").write_text('{"milliseconds": 12.5}')
        for epoch in range(1, 5):
            coordinator.hear(proposal.number, result(epoch, 0.5 - 0.1 * proposal.number))
    assert [trial.values for trial in coordinator.study.trials] == [
        [pytest.approx(0.5 - 0.1 * number), 12.5] for number in range(4)
    ]
    assert {trial.state for trial in coordinator.study.trials} == {TrialState.COMPLETE}
