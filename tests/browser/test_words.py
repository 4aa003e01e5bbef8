"""What the page says and asks, in both languages, of a model that uses age, sex and site and has a high threshold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.conftest import draw_noise

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = playwright.expect

ANSWERED = {"en": "Done", "de": "Fertig"}


@pytest.fixture
def page(browser: Browser, metadata_url: str) -> Iterator[Page]:
    page = browser.new_page(locale="en-GB")
    page.goto(metadata_url)
    expect(page.get_by_label("Age, years")).to_be_visible()
    yield page
    page.close()


def choose(page: Page, *paths: Path) -> None:
    page.locator("#file").set_input_files(paths)
    expect(page.get_by_role("status")).to_contain_text(ANSWERED[page.locator("html").get_attribute("lang") or ""])


def asked(page: Page) -> list[dict[str, list[str]]]:
    """Return a list that gets the parameters of each request for a prediction from now on."""
    found: list[dict[str, list[str]]] = []
    page.on(
        "request",
        lambda request: found.append(parse_qs(urlsplit(request.url).query)) if "/v1/predict" in request.url else None,
    )
    return found


def test_age_sex_and_site_are_sent_and_a_change_asks_again(page: Page, image: Path, tmp_path: Path) -> None:
    found = asked(page)
    page.get_by_label("Age, years").fill("54.5")
    page.get_by_label("Age, years").blur()
    page.get_by_label("Sex").select_option("female")
    choose(page, image, draw_noise(tmp_path / "second.png", 1))
    assert found == [{"age": ["54.5"], "sex": ["female"]}] * 2
    number = page.locator("#melanoma").inner_text()
    page.get_by_label("Site of this lesion").select_option("palm or sole")
    expect(page.get_by_role("status")).to_contain_text("Done, 2 images")
    assert found[2:] == [{"age": ["54.5"], "sex": ["female"], "site": ["palms/soles"]}]
    page.get_by_label("Sex").select_option("unknown")
    expect(page.get_by_role("status")).to_contain_text("Done, 2 images")
    assert [one.get("sex") for one in found[3:]] == [None, None]
    assert {tuple(one.get("site", [])) for one in found[3:]} == {(), ("palms/soles",)}
    assert page.locator("#melanoma").inner_text() != "" != number


def test_an_impossible_age_is_told_and_not_sent(page: Page, image: Path) -> None:
    choose(page, image)
    found = asked(page)
    page.get_by_label("Age, years").fill("131")
    page.get_by_label("Age, years").blur()
    expect(page.get_by_role("alert")).to_have_text("Age 131: expected a number from 0 to 130, or nothing.")
    expect(page.get_by_label("Age, years")).to_have_attribute("aria-invalid", "true")
    assert found == []


def test_below_a_high_threshold_the_page_says_that_it_is_no_all_clear(page: Page, image: Path) -> None:
    choose(page, image)
    expect(page.locator("#decision")).to_have_text("Routine")
    share = page.locator("#melanoma").inner_text()
    assert 10 < float(share.split()[0]) < 60
    expect(page.locator("#no-all-clear")).to_contain_text(f"{share} isn't an all-clear.")
    expect(page.locator("#no-all-clear")).to_contain_text("refers only from 60.0 %")
    expect(page.locator("#reasons")).to_contain_text(f"about {round(float(share.split()[0]))} of 100 lesions")
    expect(page.locator("#reasons")).to_contain_text("Up to 10.0 % of such melanomas may therefore stand under routine")


def test_the_language_changes_without_a_request_and_keeps_the_answers(page: Page, image: Path) -> None:
    choose(page, image, image)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.get_by_role("link", name="Deutsch").click()
    expect(page.locator("html")).to_have_attribute("lang", "de")
    expect(page.get_by_role("heading", level=1)).to_have_text("Melanom-Triage")
    expect(page.get_by_role("status")).to_have_text("Fertig, 2 Bilder: 2 × Routine.")
    expect(page.locator("#no-all-clear")).to_contain_text("sind keine Entwarnung")
    expect(page.locator("#melanoma")).to_contain_text(",")
    expect(page.get_by_label("Hinweise auf")).to_contain_text("Basalzellkarzinom")
    expect(page.get_by_label("Körperstelle dieser Läsion")).to_contain_text("Rumpf")
    expect(page.locator("#list li")).to_have_count(2)
    assert requests == []
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Melanom-Triage")


def test_a_german_browser_gets_a_german_page_and_german_problems(
    browser: Browser, metadata_url: str, image: Path, tmp_path: Path
) -> None:
    page = browser.new_page(locale="de-AT")
    page.goto(metadata_url)
    expect(page.get_by_text("kein Medizinprodukt")).to_be_visible()
    (tmp_path / "notes.jpg").write_text("not an image")
    choose(page, image, tmp_path / "notes.jpg")
    expect(page.locator("#list li").first).to_contain_text("Das ist kein Bild (englisch: the bytes are of no known")
    expect(page.get_by_role("status")).to_contain_text("1 × Ohne Antwort")
    page.close()


def test_a_printed_summary_has_the_patient_and_the_warning(page: Page, image: Path) -> None:
    page.get_by_label("Age, years").fill("54")
    choose(page, image)
    page.get_by_label("Site of this lesion").select_option("torso")
    expect(page.get_by_role("status")).to_contain_text("Done")
    page.emulate_media(media="print")
    expect(page.locator("#summary-patient")).to_have_text("Patient: Age, years: 54.")
    row = page.locator("#summary-rows tr")
    expect(row).to_contain_text("torso.")
    expect(row).to_contain_text("isn't an all-clear")
    assert page.pdf().startswith(b"%PDF")


def test_a_phone_can_take_a_photograph(browser: Browser, metadata_url: str, image: Path) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True, locale="en-GB"
    )
    page = context.new_page()
    page.goto(metadata_url)
    camera = page.get_by_label("Take a photograph")
    expect(camera).to_be_visible()
    expect(camera).to_have_attribute("capture", "environment")
    camera.set_input_files(image)
    expect(page.get_by_role("status")).to_contain_text("Done")
    context.close()
