"""The page as a person meets it: a real Chromium against the real service."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest
from PIL import Image

from melanoma_ray.api import describe_share
from tests.browser.conftest import draw_noise

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

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
    page = browser.new_page(locale="en-GB")
    found = Visit(page, url)
    page.goto(url)
    expect(page.get_by_text("About the model")).to_be_visible()
    yield found
    assert found.complaints == []
    outside = [asked for asked in found.requested if not asked.startswith((url, "blob:", "data:"))]
    assert outside == []
    page.close()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jpg"
    path.write_text("not an image")
    return path


def choose(page: Page, path: Path) -> None:
    page.get_by_label("Choose dermoscopic images").set_input_files(path)


def expect_answer(page: Page) -> None:
    heading = page.locator("h2#decision")
    expect(heading).to_be_visible()
    assert heading.inner_text() in TITLES


def test_it_says_what_it_is_before_anything_is_chosen(visit: Visit) -> None:
    expect(visit.page.get_by_text("not a medical device")).to_be_visible()
    expect(visit.page.get_by_text("They are not stored")).to_be_visible()
    expect(visit.page.get_by_text("when you close it, they are gone")).to_be_visible()
    expect(visit.page.get_by_role("note")).to_contain_text("drawn lesions")
    expect(visit.page.get_by_role("region")).to_be_hidden()


def test_an_image_gets_a_decision_its_reasons_and_all_probabilities(visit: Visit, image: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    expect(page.get_by_role("status")).to_contain_text("Melanoma probability")
    expect(page.get_by_text("Referred from 10.0 %", exact=True)).to_be_visible()
    expect(page.get_by_alt_text("The image that is shown: ISIC_0000001.png")).to_be_visible()
    expect(page.locator("figcaption#name")).to_have_text("ISIC_0000001.png")
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


def test_it_shows_what_the_network_looked_at_over_the_picture_itself(visit: Visit, image: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    page.get_by_label("Evidence for").select_option("nevus")
    button = page.get_by_role("button", name="Show what the network looked at")
    button.click()
    overlay = page.get_by_alt_text("bright where it is evidence for nevus")
    expect(overlay).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.wait_for_function("document.getElementById('overlay').naturalWidth > 0")
    # The middle square of 160 × 120 pixels is what the network gets.
    left, width = page.evaluate(
        """() => {
            const boxOf = (id) => document.getElementById(id).getBoundingClientRect();
            const [over, whole] = [boxOf("overlay"), boxOf("preview")];
            return [(over.left - whole.left) / whole.width, over.width / whole.width];
        }"""
    )
    assert (left, width) == (pytest.approx(20 / 160, abs=0.01), pytest.approx(120 / 160, abs=0.01))
    slider = page.get_by_label("How strong the overlay is")
    for strength in ("0", "40"):
        slider.fill(strength)
        assert float(overlay.evaluate("one => getComputedStyle(one).opacity")) == int(strength) / 100
        expect(slider).to_have_attribute("aria-valuetext", f"{strength} %")
    button.click()
    expect(overlay).to_be_hidden()
    expect(button).to_have_attribute("aria-pressed", "false")


def test_an_explanation_that_was_seen_is_not_asked_for_again(visit: Visit, image: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    button = page.get_by_role("button", name="Show what the network looked at")
    for pressed in ("true", "false", "true"):
        button.click()
        expect(button).to_have_attribute("aria-pressed", pressed)
    assert sum("/v1/explain" in asked for asked in visit.requested) == 1


def test_the_keyboard_is_enough(visit: Visit, image: Path) -> None:
    page = visit.page
    for name in ("English", "Deutsch"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name=name)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Choose dermoscopic images")).to_be_focused()
    outline = page.locator("label[for=file]").evaluate("label => getComputedStyle(label).outlineStyle")
    assert outline == "solid"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(image)
    expect_answer(page)
    for name in ("Print a summary", "Remove all images"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_label("Evidence for")).to_be_focused()
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="Show what the network looked at")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_alt_text("The image as the network gets it")).to_be_visible()
    expect(button).to_be_focused()
    page.keyboard.press("Tab")
    slider = page.get_by_label("How strong the overlay is")
    expect(slider).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("65")


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
    expect(rows.nth(0)).to_contain_text("notes.jpg")
    expect(rows.nth(0)).to_contain_text("This is not an image")
    expect(rows.nth(1)).to_contain_text("huge.png")
    expect(rows.nth(1)).to_contain_text("at most 33.6 MB are allowed")
    expect(page.get_by_role("alert")).to_be_empty()
    answered = [rows.nth(place).get_by_role("button") for place in (2, 3)]
    shares = [float(row.locator(".number").inner_text().split()[0]) for row in answered]
    assert shares == sorted(shares, reverse=True)
    assert {row.locator(".file").inner_text() for row in answered} == {several[0].name, several[2].name}


def test_the_keyboard_moves_between_the_answers_of_several_files(visit: Visit, several: list[Path]) -> None:
    page = visit.page
    page.get_by_label("Choose dermoscopic images").set_input_files(several)
    expect(page.get_by_role("status")).to_contain_text("Done, 4 images")
    first, second = page.locator("#list button").all()
    names = [button.locator(".file").inner_text() for button in (first, second)]
    page.get_by_role("button", name="Remove all images").focus()
    for button, name in ((first, names[0]), (second, names[1])):
        page.keyboard.press("Tab")
        expect(button).to_be_focused()
        page.keyboard.press("Enter")
        expect(button).to_have_attribute("aria-pressed", "true")
        expect(page.locator("figcaption#name")).to_have_text(name)
    expect(first).to_have_attribute("aria-pressed", "false")
    page.get_by_role("button", name="Show what the network looked at").click()
    expect(page.get_by_alt_text("The image as the network gets it")).to_be_visible()


def test_images_that_are_chosen_later_join_those_that_are_there(visit: Visit, image: Path, tmp_path: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    choose(page, draw_noise(tmp_path / "later.png", 1))
    expect(page.get_by_role("status")).to_contain_text("Done, 2 images")
    expect(page.locator("#list li")).to_have_count(2)
    expect(page.locator("figcaption#name")).to_have_text(image.name)  # what a person looks at stays


def test_what_is_removed_is_gone_from_the_page(visit: Visit, several: list[Path]) -> None:
    page = visit.page
    page.get_by_label("Choose dermoscopic images").set_input_files(several)
    expect(page.get_by_role("status")).to_contain_text("Done, 4 images")
    name = page.locator("figcaption#name").inner_text()
    page.get_by_role("button", name="Remove this image").click()
    expect(page.locator("#list li")).to_have_count(3)
    assert name not in page.locator("body").inner_text()
    page.get_by_role("button", name="Remove all images").click()
    expect(page.get_by_role("status")).to_have_text("Removed. There are no images.")
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#list li")).to_have_count(0)
    assert page.evaluate("document.getElementById('preview').getAttribute('src')") is None


def test_images_and_answers_are_kept_in_memory_alone(visit: Visit, image: Path) -> None:
    page = visit.page
    choose(page, image)
    expect_answer(page)
    kept = """async () => [localStorage.length, sessionStorage.length, (await indexedDB.databases()).length,
                           document.cookie, (await navigator.serviceWorker?.getRegistrations() ?? []).length]"""
    assert page.evaluate(kept) == [0, 0, 0, "", 0]
    page.reload()
    expect(page.get_by_text("About the model")).to_be_visible()
    expect(page.locator("#result")).to_be_hidden()
    assert image.name not in page.content()


def test_a_busy_service_is_asked_again_after_the_time_that_it_names(visit: Visit, image: Path) -> None:
    refused: list[float] = []

    def refuse_once(route: Route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(time.monotonic())
            route.fulfill(status=429, headers={"Retry-After": "1"}, body="Request dropped")

    visit.page.route("**/v1/predict", refuse_once)
    choose(visit.page, image)
    expect_answer(visit.page)
    assert time.monotonic() - refused[0] > 1


@pytest.mark.parametrize(
    "attempt", ["document.body.innerHTML = '<b>x</b>'", "document.createElement('script').text = '1'"]
)
def test_no_text_can_become_markup_or_script(visit: Visit, attempt: str) -> None:
    ended = visit.page.evaluate(f"() => {{ try {{ {attempt}; return 'done' }} catch (error) {{ return error.name }} }}")
    assert ended == "TypeError"
    visit.complaints.clear()  # Chromium writes each attempt to the console


def test_a_printed_summary_has_every_image_and_what_its_decision_means(visit: Visit, several: list[Path]) -> None:
    page = visit.page
    page.get_by_label("Choose dermoscopic images").set_input_files(several)
    expect(page.get_by_role("status")).to_contain_text("Done, 4 images")
    summary = page.locator("#summary")
    expect(summary).to_be_hidden()
    page.emulate_media(media="print")
    expect(summary).to_be_visible()
    expect(page.locator("#form")).to_be_hidden()
    expect(page.locator("#work")).to_be_hidden()
    expect(page.get_by_text("not a medical device")).to_be_visible()
    expect(summary.locator("tbody tr")).to_have_count(4)
    for path in several:
        expect(summary).to_contain_text(path.name)
    shown = [title for title in TITLES if page.locator("#list .verdict", has_text=title).count()]
    for title in shown:
        expect(page.locator("#summary-meanings")).to_contain_text(f"{title}.")


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


def test_a_bad_file_is_told_in_words_and_goes_with_the_list(visit: Visit, image: Path, text: Path) -> None:
    page = visit.page
    choose(page, text)
    expect(page.get_by_role("alert")).to_contain_text("This is not an image: the bytes are of no known image format.")
    expect(page.get_by_role("region")).to_be_hidden()
    page.get_by_role("button", name="Remove all images").click()
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
    page = browser.new_page(locale="en-GB")
    page.goto(url)
    expect(page.get_by_text("About the model")).to_be_visible()
    page.context.set_offline(True)
    choose(page, image)
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer")
    page.close()


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (390, "dark"), (1200, "light")])
def test_nothing_is_cut_off_on_any_screen(
    browser: Browser, url: str, image: Path, width: int, scheme: Literal["light", "dark"]
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme, locale="en-GB")
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
    for text in (
        "Age of the patient, years. Optional: a number from 0 to 130",
        "one of female, male; left out: unknown",
    ):
        expect(page.get_by_text(text)).to_have_count(3)  # of one image, of several, and of an explanation
        expect(page.get_by_text(text).first).to_be_visible()


def test_the_page_of_a_service_without_keys_asks_for_none(visit: Visit) -> None:
    expect(visit.page.get_by_label("Your key for this service")).to_be_hidden()
    expect(visit.page.get_by_role("button", name="Log out")).to_be_hidden()
