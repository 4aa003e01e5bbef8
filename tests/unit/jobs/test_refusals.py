"""What a job refuses, it refuses in one line, while its command line is read or at least before Ray starts."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from jobs import console, deploy, evaluate, predict, prepare, train, tune
from jobs.command_line import parse, read_experiment
from melanoma_ray.errors import ConfigError, MelanomaRayError
from tests.unit.tuning.test_sweep import dataset_of

RUN = ["--data", "/none", "--storage", "/none", "--name", "run"]
PREDICT = ["--checkpoint", "/none", "--images", "/none", "--output", "/nowhere"]


@pytest.fixture(autouse=True)
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, no GPU, no settings of the user's, and no Ray: whoever starts one fails."""
    for name in ("RAY_ADDRESS", "MELANOMA_DATA", "MELANOMA_STORAGE", "MELANOMA_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr("melanoma_ray.cluster.resources.machine_gpus", lambda: 0)
    monkeypatch.setattr("melanoma_ray.cluster.resources.usable_cpus", lambda: 2)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))


def refusal(monkeypatch: pytest.MonkeyPatch, arguments: type[Any], main: Callable[[Any], object], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["job", *words])
    with pytest.raises(MelanomaRayError) as caught:
        main(parse(arguments))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-workers", "0"], "num_workers=0: expected 1 or more"),
        (["--min-workers", "0"], "min_workers=0: expected 1 or more"),
        (["--min-workers", "2"], "min_workers=2: expected at most num_workers=1"),
        (["--cpus-per-worker", "0"], "cpus_per_worker=0.0: expected more than 0"),
        (["--cpus-per-worker", "nan"], "cpus_per_worker=nan: expected more than 0"),
        (["--max-failures", "-1"], "max_failures=-1: expected 0 or more"),
        (["--num-seeds", "0"], "num_seeds=0: expected 1 or more"),
        (["--checkpoint-every-minutes", "-1"], "checkpoint_every_minutes=-1.0: expected 0 or more"),
        (["--wait-minutes", "0"], "wait_minutes=0.0: expected more than 0"),
        (["--name", "a/b"], "name='a/b': expected one word for a directory"),
        (["--name", ".."], "name='..': expected one word for a directory"),
        (["--use-gpu"], "asks for 1 GPU, and this machine has 0 GPUs; ask for less, or name a cluster in RAY_ADDRESS"),
        (
            ["--num-workers", "2", "--cpus-per-worker", "1"],
            "2 workers of 1 CPUs leave nothing of this machine's 2 CPUs",
        ),
        (["--model.network", "convnext_tinyy"], "close to it are convnext_tiny"),
        (["--model.network", "qqqqqq"], "model.network='qqqqqq': expected baseline or a network that timm knows"),
    ],
)
def test_training(monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    assert message in refusal(monkeypatch, train.TrainArguments, train.main, "lite0", *RUN, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-trials", "0"], "num_trials=0: expected 1 or more"),
        (["--num-trials", "-3"], "num_trials=-3: expected 1 or more"),
        (["--num-workers", "-1"], "num_workers=-1: expected 0 or more"),
        (["--use-gpu"], "--use-gpu: asks for 1 GPU, and this machine has 0 GPUs"),
        (["--space", "optimizer.learning-rat=log:1e-4:1e-2"], "did you mean optimizer.learning_rate?"),
        (["--space", "model.dropout=uniform:0:1"], "model.dropout=1.0: expected [0, 1)"),
        (["--space", "model.network=choice:tf_efficientnet_lite0,no-such-net"], "no-such-net"),
        (["--patience", "0"], "patience=0: expected 1 or more"),
        (["--num-workers", "2", "--use-gpu"], "--num-workers 2: asks for 2 GPUs, and this machine has 0 GPUs"),
        (["--name", "-x"], "name='-x': expected one word for a directory"),
        (["--num-workers", "7"], "7 workers can't share it evenly"),
    ],
)
def test_a_sweep(monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    words = [*words[:-2], f"{words[-2]}={words[-1]}"] if len(words) == 2 else words
    assert message in refusal(monkeypatch, tune.TuneArguments, tune.main, "lite0", *RUN, *words)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["--space", "global-batch-size=int:2:8"], 8),
        (["--space", "global-batch-size=choice:2,9,4"], 9),
        (["--space", "loss", "--global-batch-size", "10"], 10),
    ],
)
def test_a_sweep_of_batches_larger_than_all_that_a_trial_trains_on(
    monkeypatch: pytest.MonkeyPatch, words: list[str], size: int
) -> None:
    whole = dataset_of(*["nevus"] * 4)
    small = replace(whole, index=whole.index.assign(split=["train", "train", "train", "val"]))
    monkeypatch.setattr(tune, "open_dataset", lambda _: small)
    words = ["lite0", *RUN, "--num-epochs", "2", "--global-batch-size", "6", *words]
    message = refusal(monkeypatch, tune.TuneArguments, tune.main, *words)
    assert f"global_batch_size={size}: more than 3 training images in 2 epochs" in message


def test_a_sweep_of_batches_larger_than_all_that_a_fold_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = dataset_of(*["nevus"] * 8, num_folds=2)
    index = whole.index.assign(split=["train"] * 6 + ["val"] * 2, fold=[0] * 4 + [1] * 4)  # it trains on four
    monkeypatch.setattr(tune, "open_dataset", lambda _: replace(whole, index=index))
    words = ["lite0", *RUN, "--num-epochs", "1", "--global-batch-size", "6", "--space", "loss"]
    message = refusal(monkeypatch, tune.TuneArguments, tune.main, *words, "--confirm", "folds")
    assert "global_batch_size=6: more than 4 training images in 1 epoch" in message


def test_prediction_and_evaluation_on_a_gpu_that_isn_t_there(monkeypatch: pytest.MonkeyPatch) -> None:
    message = "--use-gpu: asks for 1 GPU, and this machine has 0 GPUs"
    assert message in refusal(monkeypatch, predict.PredictArguments, predict.main, *PREDICT, "--use-gpu")
    of = ["--checkpoint", "/none", "--data", "/none", "--output", "/none", "--use-gpu"]
    assert message in refusal(monkeypatch, evaluate.EvaluateArguments, evaluate.main, *of)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "expected either --data (a prepared dataset) or --images"),
        (["--data", "/none", "--images", "/none"], "expected either --data (a prepared dataset) or --images"),
        (["--images", "/none", "--split", "val"], "split='val': --images have no splits"),
        (["--data", "/none", "--prevalence", "1.5"], "prevalence=1.5: expected (0, 1)"),
    ],
)
def test_evaluation(monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    of = ["--checkpoint", "/none", "--output", "/none"]
    assert message in refusal(monkeypatch, evaluate.EvaluateArguments, evaluate.main, *of, *words)


def test_settings_of_alerts_that_can_t_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "alerts.toml"
    file.write_text("outbox = 3\n")
    message = f"{file}: outbox=3: input should be a valid string"
    words = ["--alerts", str(file)]
    assert message in refusal(monkeypatch, deploy.DeployArguments, deploy.main, "--checkpoint", "/none", *words)
    assert message in refusal(monkeypatch, predict.PredictArguments, predict.main, *PREDICT, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num-replicas", "9"], "--num-replicas 9: asks for 9 CPUs, and this machine has 2 CPUs"),
        (["--num-gpus", "0.5"], "asks for 0.5 GPUs, and this machine has 0 GPUs"),
        (["--port", "70000"], "port=70000: expected [1, 65535]"),
        (["--num-replicas", "0"], "num_replicas=0: expected 1 or more"),
    ],
)
def test_a_service(monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    of = ["--checkpoint", "/none", *words]
    assert message in refusal(monkeypatch, deploy.DeployArguments, deploy.main, *of)


def test_a_cluster_may_have_what_this_machine_hasn_t(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    words = ["lite0", *RUN, "--use-gpu", "--num-workers", "4"]
    assert "/none" in refusal(monkeypatch, train.TrainArguments, train.main, *words)  # only the data is missing


def test_an_ensemble_is_over_folds_or_over_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job", "lite0", *RUN, "--folds", "--num-seeds", "2"])
    with pytest.raises(ConfigError, match="over folds or over seeds"):
        parse(train.TrainArguments)


@pytest.mark.parametrize("content", ["5", "null", "[]", '"x"', '{"experiment": 5}', '{"experiment": null}'])
def test_a_file_that_holds_no_experiment_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(MelanomaRayError, match=r"expected a JSON object|expected fields and their values"):
        read_experiment(str(tmp_path / "e.json"))


def test_the_folder_of_the_images_is_refused_as_output_before_ray_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nevus").mkdir()
    (tmp_path / "nevus" / "a.jpg").write_bytes(b"x")
    words = ["--images", str(tmp_path), "--output", str(tmp_path)]
    message = refusal(monkeypatch, prepare.PrepareArguments, prepare.main, *words)
    assert "holds other files such as" in message


def test_a_sigterm_that_ray_took_while_it_started_ends_the_job_as_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["job", "lite0", *RUN])
    monkeypatch.setattr(
        console, "_fall_silent", lambda: None
    )  # which is for the rest of a process, and this one goes on

    def end(_: object) -> None:
        sys.exit(signal.SIGTERM)  # as the handler does that Ray sets

    ending = console._run(end, tune.TuneArguments, None)
    assert ending == (143, "interrupted; the same command goes on")
