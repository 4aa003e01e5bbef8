"""The page of a service with a canary: each answer has the threshold of the model that gave it, on paper, too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.browser.conftest import draw_noise

if TYPE_CHECKING:
    from playwright.sync_api import Browser

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = playwright.expect


def test_answers_of_two_models_are_told_with_their_own_thresholds(
    browser: Browser, canary_url: str, tmp_path: Path
) -> None:
    images = [draw_noise(tmp_path / f"{seed}.png", seed) for seed in range(8)]
    page = browser.new_page(locale="en-GB")
    page.goto(canary_url)
    expect(page.get_by_label("Age, years")).to_be_visible()  # which one of the two uses
    about = page.locator("#facts")
    expect(about).to_contain_text("answers 50.0 % of the images; refers from 100.0 %")
    page.locator("#file").set_input_files(images)
    summary = page.locator("#summary")
    page.emulate_media(media="print")
    expect(summary.locator("tbody tr")).to_have_count(8)
    with httpx.Client(base_url=canary_url, trust_env=False) as asking:
        answers = [asking.post("/v1/predict", content=path.read_bytes()).json() for path in images]
        card = asking.get("/v1/model").json()
    ids = [card["checkpoint_id"], card["canary"]["checkpoint_id"]]
    assert {answer["checkpoint_id"] for answer in answers} == set(ids)
    for checkpoint, threshold in zip(ids, ("0.0 %", "100.0 %"), strict=True):
        expect(page.locator("#summary-printed")).to_contain_text(f"checkpoint {checkpoint}; refers from {threshold}")
    for answer, path in zip(answers, images, strict=True):
        row = summary.locator("tbody tr").filter(has_text=path.name)
        threshold = "0.0 %" if answer["checkpoint_id"] == ids[0] else "100.0 %"
        expect(row).to_contain_text(f"({answer['checkpoint_id']}: Referred from {threshold})")
    page.close()
