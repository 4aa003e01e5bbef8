"""A real service and a real Chromium for the browser tests."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from melanoma_ray.access.keys import SCOPES, create_key
from melanoma_ray.cluster.front import Address
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.serving.lifecycle import run_service, stop_service
from tests.checkpoints import build_checkpoint

if TYPE_CHECKING:
    from playwright.sync_api import Browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")

_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is on PATH")
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return draw_noise(tmp_path / "ISIC_0000001.png")


def draw_noise(path: Path, seed: int = 0, *, width: int = 160, height: int = 120) -> Path:
    """Write an image of random pixels, and return its path."""
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def url(browser: Browser, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Asks for the browser first: without one there is no need for a service.

    For one module only: a replica holds a CPU, and the tests after it need both.
    """
    with _running(str(tmp_path_factory.mktemp("checkpoint")), None) as url:
        yield url


@pytest.fixture(scope="module")
def guarded(browser: Browser, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A service that asks for keys, and its file of them."""
    folder = tmp_path_factory.mktemp("guarded")
    keys = str(folder / "keys.json")
    create_key(keys, "first", SCOPES, None)
    with _running(str(folder / "checkpoint"), keys) as url:
        yield url, keys


@pytest.fixture(scope="module")
def metadata_url(browser: Browser, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service whose model uses age, sex and site, has a high threshold, and finds every diagnosis as likely."""
    folder = str(tmp_path_factory.mktemp("metadata"))
    checkpoint = build_checkpoint(folder, uses_metadata=True, decision_threshold=0.6, temperature=50)
    with _running(folder, None, checkpoint) as url:
        yield url


@pytest.fixture(scope="module")
def canary_url(browser: Browser, local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service of two models, each of which answers half of the images: one refers all, one none; one knows age."""
    folder = tmp_path_factory.mktemp("canary")
    first = build_checkpoint(str(folder / "first"), decision_threshold=0.0)
    second = build_checkpoint(str(folder / "second"), decision_threshold=1.0, uses_metadata=True)
    with _running(str(folder), None, first, canary=second) as url:
        yield url


@contextmanager
def _running(
    folder: str, keys: str | None, checkpoint: str | None = None, *, canary: str | None = None
) -> Iterator[str]:
    checkpoint = checkpoint or build_checkpoint(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ServiceArguments(checkpoint=checkpoint, keys=keys, canary=canary, canary_fraction=0.5)
    run_service(arguments, Address(port=port))
    yield f"http://127.0.0.1:{port}"
    stop_service()
