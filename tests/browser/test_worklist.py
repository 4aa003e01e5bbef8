"""The worklist as a reader uses it: a real Chromium on the file itself, from a disk."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from melanoma_ray.diagnoses import DIAGNOSES, load_taxonomy
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.reports.worklist import Worklist, WorklistRow, render_worklist
from melanoma_ray.sources.readings import read_readings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
expect = playwright.expect
NUM_IMAGES = 40


def build_rows() -> list[WorklistRow]:
    rows = []
    for place in range(NUM_IMAGES):
        colour = np.full((90, 90, 3), (200 - 4 * place, 120, 90), np.uint8)
        rows.append(
            WorklistRow(
                image_id=f"ISIC_{place:04d}",
                path=f"/clinic/ISIC_{place:04d}.jpg",
                melanoma_probability=0.95 - place / 50,
                decision="refer" if place < 20 else "unassessable" if place < 24 else "routine",
                top_diagnosis="melanoma" if place % 2 else "nevus",
                thumbnail=thumbnail_data_uri(colour),
                error=None,
                warnings=("blurred",) if place % 5 == 0 else (),
                patient_id=f"P{place // 4}" if place < 12 else None,
                lesion_id=f"L{place}" if place < 12 else None,
                is_ugly_duckling=place == 1,
                overlay=thumbnail_data_uri(255 - colour) if place < 3 else None,
            )
        )
    return rows


def write_page(folder: Path, **changes: object) -> Path:
    rows = build_rows()
    broken = replace(rows[0], image_id="broken", path="/clinic/broken.jpg", error="truncated")
    values: dict[str, object] = {
        "title": "Worklist",
        "is_synthetic": True,
        "decision_threshold": 0.3,
        "diagnoses": DIAGNOSES,
        "worklist_id": "0123",
        "num_by_decision": Counter(row.decision for row in rows if row.decision),
        "unreadable": [broken],
        "num_unreadable": 1,
    }
    target = folder / "worklist.html"
    target.write_text(render_worklist(Worklist(**values | changes), rows))  # type: ignore[arg-type]
    return target


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    page = context.new_page()
    complaints: list[str] = []
    outside: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: outside.append(request.url))
    page.goto(write_page(tmp_path).as_uri())
    yield page
    assert complaints == []
    assert [url for url in outside if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def shown(page: Page) -> list[str]:
    images: list[str] = page.locator(".case:visible").evaluate_all("all => all.map(one => one.dataset.image)")
    return images


def review_20(page: Page) -> None:
    """By keyboard alone, from the list's first image on: 12 agreed, 4 disagreed with a diagnosis, 4 unsure."""
    for place in range(20):
        if place % 5 == 3:
            page.keyboard.press("d")
            page.keyboard.type("seborrheic")  # the select is focused, and takes what is typed
            page.keyboard.press("Tab")
            page.keyboard.type('grey, "veil"')
            page.keyboard.press("Enter")
            page.keyboard.press("Escape")
        else:
            page.keyboard.press("u" if place % 5 == 4 else "a")


def export(page: Page, target: Path) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Export CSV").click()
    download.value.save_as(target)
    with target.open(newline="") as file:
        return list(csv.DictReader(file))


def focus_first_image(page: Page) -> None:
    """Tab through the page until the list's only tab stop has the focus."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "picture":
            return
    pytest.fail("the list can't be reached by the keyboard")


def test_filters_search_and_sort_show_what_they_say(page: Page) -> None:
    expect(page.get_by_role("status")).to_contain_text(f"{NUM_IMAGES} of {NUM_IMAGES} images shown")
    page.get_by_label("Decision").select_option("unassessable")
    assert shown(page) == [f"ISIC_{place:04d}" for place in range(20, 24)]
    page.get_by_label("Decision").select_option("")
    page.locator("#tools [name=diagnosis]").select_option("melanoma")
    page.get_by_label("Probability from").fill("90")
    assert shown(page) == ["ISIC_0001"]
    page.locator("#tools [name=diagnosis]").select_option("")
    page.get_by_label("Probability from").fill("")
    page.get_by_label("Search").fill("P2 nevus")
    assert shown(page) == ["ISIC_0008", "ISIC_0010"]
    assert page.locator(".patient:visible").all_inner_texts() == ["Patient P2: 4 images of 4 lesions"]
    page.get_by_label("Search").fill("no such thing")
    expect(page.get_by_text("No image meets these filters")).to_be_visible()
    page.get_by_label("Search").fill("")
    page.get_by_label("Sort").select_option("diagnosis")
    assert shown(page)[:2] == ["ISIC_0001", "ISIC_0003"]
    assert page.locator(".patient:visible").count() == 0
    page.get_by_label("Sort").select_option("urgency")
    assert shown(page) == [f"ISIC_{place:04d}" for place in range(NUM_IMAGES)]


def test_twenty_images_are_reviewed_by_keyboard_kept_exported_and_taken_again(page: Page, tmp_path: Path) -> None:
    page.get_by_label("Your name").fill("Dr. Ada")
    focus_first_image(page)
    review_20(page)
    expect(page.get_by_role("status")).to_contain_text("20 read by Dr. Ada")
    page.reload()
    expect(page.get_by_role("status")).to_contain_text("20 read by Dr. Ada")
    expect(page.locator(".reading").nth(3)).to_have_text('Disagree: seborrheic keratosis (grey, "veil")')
    page.get_by_label("Reading").select_option("unread")
    assert shown(page) == [f"ISIC_{place:04d}" for place in range(20, NUM_IMAGES)]
    rows = export(page, tmp_path / "reviewed.csv")
    assert Counter(row["verdict"] for row in rows) == {"agree": 12, "disagree": 4, "unsure": 4}
    assert [row["image"] for row in rows] == [f"/clinic/ISIC_{place:04d}.jpg" for place in range(20)]
    assert {row["diagnosis"] for row in rows if row["verdict"] == "agree"} == {"melanoma", "nevus"}
    readings = read_readings(str(tmp_path / "reviewed.csv"), load_taxonomy())
    assert {one.reader for one in readings} == {"Dr. Ada"}
    assert all(one.read_at is not None for one in readings)
    page.evaluate("localStorage.clear()")
    page.reload()
    expect(page.get_by_role("status")).to_contain_text("0 read by you (no name is given yet)")
    page.locator("#import").set_input_files(tmp_path / "reviewed.csv")
    expect(page.get_by_role("alert")).to_have_text("reviewed.csv: took 20 of 20 readings.")
    page.get_by_label("Your name").fill("Dr. Ada")
    expect(page.get_by_role("status")).to_contain_text("20 read by Dr. Ada")
    assert export(page, tmp_path / "again.csv") == rows


def test_an_enlarged_image_shows_its_map_on_demand_and_escape_leads_back(page: Page) -> None:
    focus_first_image(page)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    plain = page.get_by_alt_text("ISIC_0000, enlarged").get_attribute("src")
    page.keyboard.press("o")
    expect(page.get_by_role("dialog")).to_contain_text("no proof that it looked at the right thing")
    assert page.get_by_alt_text("ISIC_0000, enlarged").get_attribute("src") not in {plain, None}
    for _ in range(3):
        page.keyboard.press("j")
    expect(page.get_by_role("dialog")).to_contain_text("What the network went by wasn't computed")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.closest('.case').dataset.image") == "ISIC_0003"


def test_no_key_can_judge_another_image_while_the_enlarged_one_closes(page: Page) -> None:
    focus_first_image(page)
    page.keyboard.press("Enter")
    page.keyboard.press("j")
    page.evaluate("""document.getElementById("viewer").addEventListener("cancel", () => {
        window.focusedAtOnce = document.activeElement.closest(".case")?.dataset.image;
    })""")
    page.keyboard.press("Escape")
    assert page.evaluate("window.focusedAtOnce") == "ISIC_0001"
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_two_readers_in_one_browser_keep_a_reading_each(page: Page, tmp_path: Path) -> None:
    for name, key in (("Ada", "a"), ("Ben", "u")):
        page.get_by_label("Your name").fill(name)
        page.locator(".picture").first.focus()
        page.keyboard.press(key)
        expect(page.get_by_role("status")).to_contain_text(f"1 read by {name}")
    rows = export(page, tmp_path / "reviewed.csv")
    assert [(row["reader"], row["verdict"]) for row in rows] == [("Ada", "agree"), ("Ben", "unsure")]


def test_readings_before_a_name_was_given_become_the_reader_s(page: Page, tmp_path: Path) -> None:
    page.locator(".picture").first.focus()
    page.keyboard.press("a")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Your name").blur()
    expect(page.get_by_role("status")).to_contain_text("1 read by Ada")
    assert [row["reader"] for row in export(page, tmp_path / "reviewed.csv")] == ["Ada"]


def test_a_file_that_is_no_review_is_refused_in_one_line(page: Page, tmp_path: Path) -> None:
    wrong, foreign = tmp_path / "wrong.csv", tmp_path / "foreign.csv"
    wrong.write_text("name,age\nx,3\n")
    foreign.write_text("image;verdict\n/elsewhere/x.jpg;agree\nISIC_0002;agree\n")
    page.locator("#import").set_input_files(wrong)
    expect(page.get_by_role("alert")).to_contain_text("wrong.csv: expected a CSV with the columns image, verdict")
    page.locator("#import").set_input_files(foreign)
    expect(page.get_by_role("alert")).to_have_text(
        "foreign.csv: took 1 of 2 readings; 1 are of images that aren't in this worklist."
    )


def test_a_browser_that_keeps_nothing_says_so(browser: Browser, tmp_path: Path) -> None:
    page = browser.new_page()
    page.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } })")
    page.goto(write_page(tmp_path).as_uri())
    page.locator(".picture").first.focus()
    page.keyboard.press("a")
    expect(page.get_by_role("alert")).to_contain_text("This browser keeps nothing")
    assert [row["verdict"] for row in export(page, tmp_path / "reviewed.csv")] == ["agree"]
    page.close()


def test_decision_and_probability_of_every_row_are_in_view_on_a_phone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for part in (".mark", ".share"):
        edges = page.locator(f".case .answer {part}").evaluate_all(
            "all => all.map(one => one.getBoundingClientRect()).map(box => [box.left, box.right, box.width])"
        )
        assert len(edges) == NUM_IMAGES
        assert all(left >= 0 and right <= 390 and width > 0 for left, right, width in edges)


def test_without_scripts_the_list_is_there_and_says_what_is_missing(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(write_page(tmp_path).as_uri())
    assert page.locator(".case").count() == NUM_IMAGES
    expect(page.get_by_text("This viewer runs no scripts")).to_be_visible()
    expect(page.get_by_role("button", name="Export CSV")).to_be_hidden()
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_list_and_in_the_enlarged_image(page: Page, width: int, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 844})
    page.locator("#keys summary").click()
    page.locator(".picture").first.focus()
    page.keyboard.press("a")
    found = axe.run(page).response["violations"]
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    found += axe.run(page).response["violations"]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"]][:3]) for one in found] == []
