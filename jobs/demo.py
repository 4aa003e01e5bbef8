"""All steps on one machine: make demo, or python -m jobs.demo [--images DIR]."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from melanoma_ray import storage
from melanoma_ray.client import Client
from melanoma_ray.config import AugmentationConfig, Experiment, ImageConfig, PrepareConfig
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.diagnoses import MELANOMA
from melanoma_ray.recipes import lite0
from melanoma_ray.serving.lifecycle import start_service, stop_service
from melanoma_ray.sources.containers import read_encoded
from melanoma_ray.synthetic.collection import write_synthetic_collection

from . import command_line, console, evaluate, formatting, predict, prepare, train, tune

NUM_SYNTHETIC_IMAGES = 360
IMAGE_SIDE = 128
NUM_TRIALS, TRIAL_EPOCHS, NUM_EPOCHS = 3, 2, 8
Result = TypeVar("Result")


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
    """Run each step by calling the job that a user would run."""
    console.connect()
    started = time.monotonic()
    name = Path(arguments.images).name if arguments.images else "synthetic"
    root = storage.join(storage.absolute(arguments.output), name)
    data, report, triage = (storage.join(root, part) for part in ("prepared", "report", "worklist"))
    images = arguments.images or _step("draw synthetic lesions", lambda: _draw(storage.join(root, "images")))
    config = PrepareConfig(image=ImageConfig(side=IMAGE_SIDE))
    _step(
        "prepare",
        lambda: prepare.main(prepare.PrepareArguments(images=(images,), output=data, config=config)),
    )
    best = _step(
        f"tune: {NUM_TRIALS} trials of at most {TRIAL_EPOCHS} epochs",
        lambda: tune.main(
            tune.TuneArguments(
                experiment=_experiment(TRIAL_EPOCHS), data=data, storage=root, name="sweep", num_trials=NUM_TRIALS
            )
        ),
    )
    experiment = replace(command_line.read_experiment(best.best_json), num_epochs=NUM_EPOCHS)
    run = _step(
        f"train: {NUM_EPOCHS} epochs with the best settings",
        lambda: train.main(train.TrainArguments(experiment=experiment, data=data, storage=root, name="run")),
    )
    _step(
        "evaluate",
        lambda: evaluate.main(evaluate.EvaluateArguments(checkpoint=run.uri, data=data, output=report)),
    )
    _step(
        "predict a folder (of the same images, so most were trained on)",
        lambda: predict.main(predict.PredictArguments(checkpoint=run.uri, images=images, output=triage)),
    )
    answers = _step("deploy and query", lambda: _ask(run.uri, data, arguments.port))
    storage.write_json(storage.join(storage.absolute(arguments.output), "last.json"), {"checkpoint": run.uri})
    print(f"\n== done in {time.monotonic() - started:.0f} s; the service answered and was stopped")
    print("\n".join(answers))
    print(
        f"open {report}/report.html\nopen {triage}/worklist.html\nmake serve   starts the service again, with its page"
    )


def _step(title: str, call: Callable[[], Result]) -> Result:
    print(f"\n== {title}", flush=True)
    return call()


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
    start_service(checkpoint, port=port)
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            return [
                formatting.describe_answer(
                    f"{row.image_id} ({row.diagnosis})", client.predict(read_encoded(str(row.path)))
                )
                for row in [*test[is_melanoma].head(1).itertuples(), *test[~is_melanoma].head(1).itertuples()]
            ]
    finally:
        stop_service()


if __name__ == "__main__":
    console.run_job(main, DemoArguments)
