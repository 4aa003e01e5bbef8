"""The page as a person meets it: a real Chromium against the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from PIL import Image

from melanoma_ray.api import describe_share

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = playwright.expect

TITLES = ("Refer to a dermatologist", "Routine", "Can't be assessed: have a person look")


class Visit:
    """One open page, with what it asked for and complained about."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.requested: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requested.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "filechooser", lambda _: None
        )  # Chromium reports choosers from now on, not from some moment after a key
        page.on("console", lambda message: self._hear(message.type, message.text))

    def _hear(self, kind: str, text: str) -> None:
        """A refused image is an HTTP error, which Chromium writes to the console whatever the page does."""
        if kind in {"error", "warning"} and "responded with a status of 4" not in text:
            self.complaints.append(text)


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    page = browser.new_page()
    found = Visit(page, url)
    page.goto(url)
    expect(page.get_by_text("About the model")).to_be_visible()
    yield found
    assert found.complaints == []
    outside = [asked for asked in found.requested if not asked.startswith((url, "blob:", "data:"))]
    assert outside == []
    page.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 160, 3), np.uint8)
    path = tmp_path / "ISIC_0000001.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jpg"
    path.write_text("not an image")
    return path


def choose(page: Page, path: Path) -> None:
    page.get_by_label("Choose dermoscopic images").set_input_files(path)


def expect_answer(page: Page) -> None:
    heading = page.get_by_role("heading", level=2)
    expect(heading).to_be_visible()
    assert heading.inner_text() in TITLES


def test_it_says_what_it_is_before_anything_is_chosen(visit: Visit) -> None:
    expect(visit.page.get_by_text("not a medical device")).to_be_visible()
    expect(visit.page.get_by_text("They are not stored")).to_be_visible()
    expect(visit.page.get_by_role("note")).to_contain_text("drawn lesions")
    expect(visit.page.get_by_role("region")).to_be_hidden()


def test_an_image_gets_a_decision_its_reasons_and_all_probabilities(visit: Visit, image: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    expect(page.get_by_role("status")).to_contain_text("Melanoma probability")
    expect(page.get_by_text("Referred from 10.0 %", exact=True)).to_be_visible()
    expect(page.get_by_alt_text("The image you chose")).to_be_visible()
    expect(page.get_by_text("ISIC_0000001.png")).to_be_visible()
    rows = page.get_by_role("listitem").all_inner_texts()
    shares = [float(row.split()[-2]) for row in rows]
    assert len(rows) == 9
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=1)


def test_the_bars_are_as_long_as_their_numbers_say(visit: Visit, image: Path) -> None:
    """The widths are set from the script, which a Content-Security-Policy could forbid."""
    choose(visit.page, image)
    expect_answer(visit.page)
    lengths = visit.page.locator("li .fill").evaluate_all(
        "fills => fills.map(f => 100 * f.getBoundingClientRect().width / f.parentElement.clientWidth)"
    )
    shares = [float(row.split()[-2]) for row in visit.page.get_by_role("listitem").all_inner_texts()]
    assert lengths == pytest.approx(shares, abs=0.5)


def test_it_shows_what_the_network_looked_at(visit: Visit, image: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    page.get_by_label("Evidence for").select_option("nevus")
    page.get_by_role("button", name="Show what the network looked at").click()
    overlay = page.get_by_alt_text("bright where it is evidence for nevus")
    expect(overlay).to_be_visible()
    page.wait_for_function("document.getElementById('overlay').naturalWidth > 0")


def test_the_keyboard_is_enough(visit: Visit, image: Path) -> None:
    page = visit.page
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose dermoscopic images")).to_be_focused()
    outline = page.locator("label[for=file]").evaluate("label => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(image)
    expect_answer(page)
    page.keyboard.press("Tab")
    expect(page.get_by_label("Evidence for")).to_be_focused()
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Show what the network looked at")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_alt_text("The image as the network gets it")).to_be_visible()
    expect(button).to_be_focused()


@pytest.fixture
def several(image: Path, text: Path, tmp_path: Path) -> list[Path]:
    """Two images, what is none, and a file that is too large to be sent."""
    other, huge = tmp_path / "second.png", tmp_path / "huge.png"
    Image.fromarray(np.full((90, 120, 3), 200, np.uint8)).save(other)
    huge.write_bytes(bytes(34_000_000))
    return [image, text, other, huge]


def test_several_files_are_all_answered_each_with_its_own_result(visit: Visit, several: list[Path]) -> None:
    page = visit.page
    page.get_by_label("Choose dermoscopic images").set_input_files(several)
    expect(page.get_by_role("status")).to_contain_text("Done, 4 images")
    expect(page.get_by_role("status")).to_contain_text("2 × Without an answer")
    rows = page.get_by_role("region", name="Your images").get_by_role("listitem")
    expect(rows).to_have_count(4)
    for row, path in zip(rows.all(), several, strict=True):
        expect(row).to_contain_text(path.name)
    expect(rows.nth(1)).to_contain_text("This is not an image")
    expect(rows.nth(3)).to_contain_text("at most 33.6 MB are allowed")
    expect(page.get_by_role("alert")).to_be_empty()
    for place in (0, 2):
        expect(rows.nth(place).get_by_role("button")).to_contain_text("%")
    expect(page.locator("figcaption#name")).to_contain_text(several[0].name)


def test_the_keyboard_moves_between_the_answers_of_several_files(visit: Visit, several: list[Path]) -> None:
    page = visit.page
    page.get_by_label("Choose dermoscopic images").set_input_files(several)
    expect(page.get_by_role("status")).to_contain_text("Done, 4 images")
    first, second = page.locator("#list button").all()
    expect(first).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Choose dermoscopic images").focus()
    page.keyboard.press("Tab")
    expect(first).to_be_focused()
    page.keyboard.press("Tab")
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(second).to_have_attribute("aria-pressed", "true")
    expect(first).to_have_attribute("aria-pressed", "false")
    expect(page.locator("figcaption#name")).to_contain_text("second.png")
    page.get_by_role("button", name="Show what the network looked at").click()
    expect(page.get_by_alt_text("The image as the network gets it")).to_be_visible()


def test_one_file_after_several_has_the_page_alone(visit: Visit, several: list[Path], image: Path) -> None:
    page = visit.page
    page.get_by_label("Choose dermoscopic images").set_input_files(several)
    choose(page, image)
    expect_answer(page)
    expect(page.get_by_role("region", name="Your images")).to_be_hidden()
    assert page.get_by_role("listitem").count() == 9


def test_the_page_writes_shares_as_python_does(visit: Visit) -> None:
    shares = [0.0, 2e-7, 0.001, 0.0625, 0.1005, 0.6321, 0.9985, 0.9999, 1.0, *(number / 800 for number in range(801))]
    ask = "shares => import('/assets/share.js').then(({ describeShare }) => shares.map(describeShare))"
    assert visit.page.evaluate(ask, shares) == [describe_share(share) for share in shares]


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_an_image_can_be_dropped_or_pasted(visit: Visit, image: Path, way: str) -> None:
    visit.page.evaluate(
        """([way, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "lesion.png", { type: "image/png" }));
            const event = way === "drop"
                ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
            document.querySelector("main").dispatchEvent(event);
        }""",
        [way, list(image.read_bytes())],
    )
    expect_answer(visit.page)


def test_a_bad_file_is_told_in_words_and_the_old_answer_goes(visit: Visit, image: Path, text: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    choose(page, text)
    expect(page.get_by_role("alert")).to_contain_text("This is not an image: the bytes are of no known image format.")
    expect(page.get_by_role("region")).to_be_hidden()
    choose(page, image)
    expect_answer(page)
    expect(page.get_by_role("alert")).to_be_empty()


def test_a_file_that_is_too_large_is_told_before_it_is_sent(visit: Visit, tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(bytes(34_000_000))
    num_requests = len(visit.requested)
    choose(visit.page, path)
    expect(visit.page.get_by_role("alert")).to_contain_text("34.0 MB, at most 33.6 MB are allowed")
    assert len(visit.requested) == num_requests


def test_a_service_that_is_gone_is_told_in_words(browser: Browser, url: str, image: Path) -> None:
    page = browser.new_page()
    page.goto(url)
    page.context.set_offline(True)
    choose(page, image)
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1200, "light")])
def test_nothing_is_cut_off_on_any_screen(
    browser: Browser, url: str, image: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    for path in ("/", "/docs"):
        page.goto(url + path)
        if path == "/":
            page.get_by_label("Choose dermoscopic images").set_input_files([image, image])
            expect(page.get_by_role("status")).to_contain_text("Done, 2 images")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_the_description_for_programs_works_offline_and_without_scripts(visit: Visit) -> None:
    page = visit.page
    page.get_by_role("link", name="HTTP interface for programs").click()
    expect(page.get_by_role("heading", name="HTTP interface")).to_be_visible()
    expect(page.get_by_text("/v1/predict").first).to_be_visible()
    assert page.locator("script").count() == 0
    expect(page.locator("pre")).to_contain_text(f"curl --data-binary @lesion.jpg {visit.url}/v1/predict")
    expect(page.get_by_text("Age of the patient, years. Optional: a number from 0 to 130")).to_be_visible()
    expect(page.get_by_text("Optional: one of female, male; left out: unknown")).to_be_visible()


def test_the_page_of_a_service_without_keys_asks_for_none(visit: Visit) -> None:
    expect(visit.page.get_by_label("Your key for this service")).to_be_hidden()
    expect(visit.page.get_by_role("button", name="Log out")).to_be_hidden()
