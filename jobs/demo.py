"""All steps on one machine: make demo, or python -m jobs.demo [--images DIR]."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from melanoma_ray import storage
from melanoma_ray.client import Client
from melanoma_ray.cluster.front import Address
from melanoma_ray.config import AugmentationConfig, Experiment, ImageConfig, PrepareConfig
from melanoma_ray.dataset.prepared import DatasetInfo, open_dataset
from melanoma_ray.diagnoses import MELANOMA
from melanoma_ray.recipes import lite0
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.schema import SPLITS
from melanoma_ray.serving.lifecycle import start_service, stop_service
from melanoma_ray.sources.containers import read_encoded
from melanoma_ray.synthetic.collection import write_synthetic_collection
from melanoma_ray.triage.batch import TriageResult
from melanoma_ray.tuning.results import SweepResult

from . import answers, command_line, console, evaluate, predict, prepare, train, tune
from .steps import Steps

NUM_SYNTHETIC_IMAGES = 360
IMAGE_SIDE = 128
NUM_TRIALS, TRIAL_EPOCHS, NUM_EPOCHS = 3, 2, 8


@dataclass(frozen=True, kw_only=True)
class DemoArguments:
    """Prepare, tune, train, evaluate, predict, deploy and query; the service is stopped at the end."""

    output: str = "demo"
    """Directory for everything that is written."""
    images: str | None = None
    """Folder with a collection of images; by default a few hundred synthetic lesions are drawn."""
    port: int = 8000
    """Port of the service."""


def main(arguments: DemoArguments) -> None:
    """Run each step by calling the job that a user would run, then print the answers and the files to open."""
    started = time.monotonic()
    name = Path(arguments.images).name if arguments.images else "synthetic"
    root = storage.join(storage.absolute(arguments.output), name)
    data, report, triage = (storage.join(root, part) for part in ("prepared", "report", "worklist"))
    steps = Steps(Path(root) / "jobs.log")
    print(f"All steps, with their results in {root}", flush=True)
    console.connect()
    images = arguments.images or steps.run("draw", lambda: _draw(storage.join(root, "images")), _describe_drawn)
    steps.run("prepare", lambda: _prepare(images, data), _describe_prepared)
    best = steps.run("tune", lambda: _tune(data, root), _describe_tuned)
    run = steps.run("train", lambda: _train(best.best_json, data, root), _describe_trained)
    steps.run(
        "evaluate",
        lambda: evaluate.main(evaluate.EvaluateArguments(checkpoint=run.uri, data=data, output=report)),
        _describe_evaluated,
    )
    steps.run(
        "predict",
        lambda: predict.main(predict.PredictArguments(checkpoint=run.uri, images=images, output=triage)),
        _describe_predicted,
    )
    answers = steps.run("deploy", lambda: _ask(run.uri, data, arguments.port), lambda _: "answered, and was stopped")
    storage.write_json(storage.join(storage.absolute(arguments.output), "last.json"), {"checkpoint": run.uri})
    print(f"\nDone in {time.monotonic() - started:.0f} s. The service's answers for two test images:")
    print("\n".join(f"  {answer}" for answer in answers))
    print(_describe_results(report, triage, data, steps.log))


def _describe_results(report: str, triage: str, data: str, log: Path) -> str:
    lines = {
        "how good the model is": f"{report}/report.html",
        "whom to see first": f"{triage}/worklist.html",
        "findings in the images": f"{data}/audit.html",
        "output of the jobs": str(log),
        "page of the service": "make serve, then http://127.0.0.1:8000/",
    }
    return "\nOpen:\n" + "\n".join(f"  {what:24}{where}" for what, where in lines.items())


def _prepare(images: str, data: str) -> DatasetInfo:
    config = PrepareConfig(image=ImageConfig(side=IMAGE_SIDE))
    return prepare.main(prepare.PrepareArguments(images=(images,), output=data, config=config))


def _tune(data: str, root: str) -> SweepResult:
    experiment = _experiment(TRIAL_EPOCHS)
    return tune.main(
        tune.TuneArguments(experiment=experiment, data=data, storage=root, name="sweep", num_trials=NUM_TRIALS)
    )


def _train(best_json: str, data: str, root: str) -> RunDirectory:
    experiment = replace(command_line.read_experiment(best_json), num_epochs=NUM_EPOCHS)
    return train.main(train.TrainArguments(experiment=experiment, data=data, storage=root, name="run"))


def _describe_drawn(_: str) -> str:
    return f"{NUM_SYNTHETIC_IMAGES} synthetic lesions, with faults planted among them"


def _describe_prepared(info: DatasetInfo) -> str:
    counts = info.count_by_diagnosis().values()
    parts = [f"{sum(count[split] for count in counts)} for {split}" for split in SPLITS]
    left = sum(sum(counts.values()) for counts in (info.num_dropped, info.num_quarantined, info.num_left_out))
    return f"images: {', '.join(parts)}; {left} left out"


def _describe_tuned(sweep: SweepResult) -> str:
    return f"{len(sweep.trials)} trials of at most {TRIAL_EPOCHS} epochs; best: {sweep.trials[0].trial_id}"


def _describe_trained(run: RunDirectory) -> str:
    best = max(run.history(), key=lambda record: record.val_balanced_accuracy)
    return f"{NUM_EPOCHS} epochs with the best settings; balanced accuracy {best.val_balanced_accuracy:.2f} on val"


def _describe_evaluated(report: dict[str, Any]) -> str:
    figures = report["figures"]
    told = [f"{figures['num_images']} test images"]
    if auroc := figures.get("melanoma_auroc"):
        told.append(f"melanoma AUROC {auroc['value']:.3f} ({auroc['low']:.3f}–{auroc['high']:.3f})")
    if caught := figures.get("sensitivity"):
        told.append(f"{caught['numerator']} of {caught['denominator']} melanomas referred")
    if spared := figures.get("specificity"):
        told.append(f"{spared['denominator'] - spared['numerator']} of {spared['denominator']} others")
    return ", ".join(told)


def _describe_predicted(result: TriageResult) -> str:
    parts = [f"{count} {decision}" for decision, count in result.num_by_decision.items()]
    return "the same folder, as if it were new: " + ", ".join([*parts, f"{result.num_unreadable} unreadable"])


def _draw(root: str) -> str:
    print(write_synthetic_collection(root, num_images=NUM_SYNTHETIC_IMAGES, seed=0))
    return root


def _experiment(num_epochs: int) -> Experiment:
    """Return ``lite0`` with small images and frozen first stages, so that the demo takes minutes on two cores."""
    experiment = lite0()
    return replace(
        experiment,
        model=replace(experiment.model, image_side=IMAGE_SIDE, num_frozen_stages=3),
        augmentation=AugmentationConfig(max_zoom_fraction=0.25),
        initial_side_fraction=1.0,
        num_epochs=num_epochs,
    )


def _ask(checkpoint: str, data: str, port: int) -> list[str]:
    """Start the service, query it with the first melanoma and the first other image of the test split, stop it."""
    test = open_dataset(data).split("test")
    is_melanoma = test["diagnosis"] == MELANOMA
    start_service(checkpoint, address=Address(port=port))
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            return [
                answers.describe_answer(
                    f"{row.image_id} ({row.diagnosis})", client.predict(read_encoded(str(row.path)))
                )
                for row in [*test[is_melanoma].head(1).itertuples(), *test[~is_melanoma].head(1).itertuples()]
            ]
    finally:
        stop_service()


if __name__ == "__main__":
    console.run_job(main, DemoArguments)
