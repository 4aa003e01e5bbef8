"""axe-core finds nothing on the page and on /docs in any state; on the login it is asked in test_login.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from tests.browser.axe import violations
from tests.browser.conftest import draw_noise

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = playwright.expect

LOOKS: list[tuple[int, Literal["light", "dark"], str]] = [(1280, "light", "en-GB"), (390, "dark", "de-DE")]


@pytest.fixture(params=LOOKS, ids=lambda look: "-".join(map(str, look)))
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme, locale = request.param
    page = browser.new_page(viewport={"width": width, "height": 844}, color_scheme=scheme, locale=locale)
    yield page
    page.close()


def test_nothing_is_found_on_the_page_empty_answered_explained_or_printed(
    page: Page, metadata_url: str, image: Path, tmp_path: Path
) -> None:
    page.goto(metadata_url)
    expect(page.locator("#patient")).to_be_visible()
    assert violations(page) == []
    (tmp_path / "notes.jpg").write_text("not an image")
    page.locator("#file").set_input_files([image, tmp_path / "notes.jpg", draw_noise(tmp_path / "b.png", 1)])
    expect(page.get_by_role("status")).to_contain_text("3 ")
    expect(page.locator("#result")).to_be_visible()
    page.locator("#explain").click()
    expect(page.locator("#overlay")).to_be_visible()
    page.locator("#age").fill("131")
    page.locator("#age").blur()
    expect(page.get_by_role("alert")).not_to_be_empty()
    page.locator("#about summary").click()
    assert violations(page) == []
    page.emulate_media(media="print")
    assert violations(page) == []


def test_nothing_is_found_on_the_description_for_programs(page: Page, metadata_url: str) -> None:
    page.goto(f"{metadata_url}/docs")
    assert violations(page) == []
