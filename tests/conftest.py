"""What tests share: one Ray of two CPUs for all that need it, and one small prepared dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from melanoma_ray.config import Experiment, ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.recipes import baseline
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.synthetic.collection import write_synthetic_collection

SIDE = 64
settings.register_profile("unhurried", deadline=None)  # a test machine may be busy
settings.load_profile("unhurried")
if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers of pytest-xdist share the cores


class OneRay(LoadScopeScheduling):
    """Keeps all tests that start a Ray on one worker of pytest-xdist; others go by files to whichever is free."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return file if file.startswith("tests/unit/") else "ray"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneRay:
    return OneRay(config, log)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    # With the dashboard: Ray Train asks its state API whether a stopped trial's workers may be cleaned up.
    ray.init(address="local", num_cpus=2, logging_level="warning")
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def collection(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of synthetic lesions by diagnosis, with planted faults."""
    root = str(tmp_path_factory.mktemp("collection") / "images")
    write_synthetic_collection(root, num_images=150, seed=3)
    return root


@pytest.fixture(scope="session")
def prepared(collection: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Directory of the same, prepared."""
    root = str(tmp_path_factory.mktemp("prepared") / "dataset")
    split = SplitConfig(val_fraction=0.25, test_fraction=0.25)
    prepare(read_collection(collection), root, PrepareConfig(image=ImageConfig(side=SIDE), split=split))
    return root


@pytest.fixture(scope="session")
def small_experiment() -> Experiment:
    """The baseline on small images, with everything that a checkpoint must carry: dropout and an average."""
    experiment = baseline()
    return replace(
        experiment,
        model=replace(experiment.model, image_side=SIDE),
        optimizer=replace(experiment.optimizer, ema_decay=0.9, schedule="cosine"),
        num_epochs=3,
        global_batch_size=16,
        precision="fp32",
    )


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The nine-class ISIC set, where it stands beside the project."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "isic9" / "Train"
    if not folder.is_dir():
        pytest.skip("the real images aren't here: ../shared/data/isic9; the synthetic ones are tested")
    return folder
