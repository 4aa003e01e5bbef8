"""The shortcut baseline finds what a camera gives away, and nothing where there is nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from melanoma_ray.preparation.shortcuts import measure_shortcuts


def build_index(num_images: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "diagnosis": random.choice(["melanoma", "nevus"], num_images),
            "split": random.choice(["train", "val", "test"], num_images, p=[0.6, 0.2, 0.2]),
            "group_id": np.arange(num_images).astype(str),
            "width": 600,
            "height": 450,
            "image_bytes": random.integers(20_000, 90_000, num_images),
            **{name: random.uniform(50, 200, num_images) for name in ("red", "green", "blue")},
            "corner_brightness": random.uniform(0, 1, num_images),
            "border_fraction": 0.0,
        }
    )


def test_a_camera_that_saw_only_melanomas_is_found_out() -> None:
    index = build_index(600)
    index["width"] = np.where(index["diagnosis"] == "melanoma", 1024, 600)
    report = measure_shortcuts(index)
    assert report.figures["balanced_accuracy"].value == 1
    assert report.figures["melanoma_auroc"].value == 1
    assert next(iter(report.importance)) in {"width", "aspect", "bytes_per_pixel"}


def test_noise_predicts_nothing() -> None:
    report = measure_shortcuts(build_index(900))
    figure = report.figures["balanced_accuracy"]
    assert figure.low < 0.5 < figure.high
    assert report.chance_balanced_accuracy == 0.5
    assert report.num_train + report.num_test == 900


def test_one_diagnosis_or_no_test_image_is_told_and_not_measured() -> None:
    index = build_index(60)
    assert "two diagnoses" in (measure_shortcuts(index.assign(diagnosis="nevus")).reason or "")
    assert measure_shortcuts(index.assign(split="train")).figures == {}


def test_without_a_melanoma_there_is_no_auroc() -> None:
    index = build_index(300)
    index["diagnosis"] = index["diagnosis"].replace("melanoma", "dermatofibroma")
    assert set(measure_shortcuts(index).figures) == {"accuracy", "balanced_accuracy"}
