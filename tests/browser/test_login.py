"""The page of a service that asks for keys: a real Chromium, from the question for the key to the log-out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from melanoma_ray.access.keys import SCOPES, Key, create_key, revoke_key
from tests.browser.axe import violations
from tests.browser.conftest import draw_noise

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = playwright.expect


FIELD = "Your key for this service"


@pytest.fixture
def page(browser: Browser, guarded: tuple[str, str]) -> Iterator[Page]:
    page = browser.new_page(locale="en-GB")
    page.goto(guarded[0])
    yield page
    page.close()


def new_key(path: str) -> tuple[str, Key]:
    made = create_key(path, "dermatologist", SCOPES, None)
    time.sleep(1)  # the service looks at the file twice a second
    return made


def log_in(page: Page, key: str) -> None:
    page.get_by_label(FIELD).fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_text("About the model")).to_be_visible()


def test_a_person_logs_in_is_answered_and_logs_out(page: Page, guarded: tuple[str, str], image: Path) -> None:
    text, _ = new_key(guarded[1])
    field = page.get_by_label(FIELD)
    expect(field).to_be_focused()
    expect(page.get_by_role("alert")).to_be_empty()
    expect(page.get_by_text("Choose dermoscopic images")).to_be_hidden()

    field.fill("not a key")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("A key is needed")

    field.fill(text)
    page.keyboard.press("Enter")
    expect(page.get_by_text("About the model")).to_be_visible()
    assert field.input_value() == ""
    page.reload()  # the session is kept
    page.get_by_label("Choose dermoscopic images").set_input_files(image)
    expect(page.locator("#melanoma")).not_to_be_empty()
    assert text not in page.evaluate("document.cookie + JSON.stringify({...localStorage, ...sessionStorage})")

    page.get_by_role("button", name="Log out").click()
    expect(field).to_be_visible()
    expect(page.locator("#melanoma")).to_be_empty()


def test_a_session_ends_with_its_key_and_the_page_asks_for_another(
    page: Page, guarded: tuple[str, str], image: Path
) -> None:
    text, key = new_key(guarded[1])
    log_in(page, text)
    revoke_key(guarded[1], key.key_id)
    time.sleep(1)
    page.get_by_label("Choose dermoscopic images").set_input_files(image)
    expect(page.get_by_role("alert")).to_contain_text("log in again")
    expect(page.get_by_label(FIELD)).to_be_visible()


def test_an_image_that_was_refused_for_want_of_a_key_is_asked_about_again_after_the_login(
    page: Page, guarded: tuple[str, str], image: Path
) -> None:
    text, key = new_key(guarded[1])
    log_in(page, text)
    revoke_key(guarded[1], key.key_id)
    other, _ = new_key(guarded[1])
    page.get_by_label("Choose dermoscopic images").set_input_files(image)
    page.get_by_label(FIELD).fill(other)
    page.keyboard.press("Enter")
    expect(page.locator("#melanoma")).to_contain_text("%")
    expect(page.get_by_role("alert")).to_be_empty()


def test_twelve_images_are_ranked_by_their_melanoma_probability_behind_a_login(
    page: Page, guarded: tuple[str, str], tmp_path: Path
) -> None:
    text, _ = new_key(guarded[1])
    log_in(page, text)
    images = [draw_noise(tmp_path / f"{number:02}.png", number) for number in range(12)]
    page.get_by_label("Choose dermoscopic images").set_input_files(images)
    expect(page.get_by_role("status")).to_contain_text("Done, 12 images: 12 ×")
    rows = page.locator("#list li")
    assert sorted(rows.locator(".file").all_inner_texts()) == [path.name for path in images]
    shares = [float(text.split()[0]) for text in rows.locator(".number").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    expect(rows.first.get_by_role("button")).to_have_attribute("aria-pressed", "true")  # whom to see first
    assert page.evaluate("[...document.querySelectorAll('#list img')].filter(one => one.naturalWidth > 0).length") == 12


def test_axe_finds_nothing_on_the_login(page: Page) -> None:
    page.get_by_label(FIELD).fill("not a key")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).not_to_be_empty()
    assert violations(page) == []
