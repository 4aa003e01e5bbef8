"""The worklist in headless Chromium: how soon its first row is there, and how long a filter takes.

python -m benchmarks.worklist [--images 2000] [--output DIR]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.measuring import median, print_table
from melanoma_ray.api import Decision
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.reports.thumbnails import picture_side, thumbnail_data_uri
from melanoma_ray.reports.worklist import Worklist, WorklistRow, render_worklist
from melanoma_ray.synthetic.plan import draw_lesion

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_THRESHOLD = 0.3
_NUM_DRAWN = 40
_FIRST_ROW = """
new MutationObserver((_, observer) => {
  if (!document.querySelector(".case")) return;
  observer.disconnect();
  requestAnimationFrame(() => requestAnimationFrame(() => { window.firstRow = performance.now(); }));
}).observe(document, { childList: true, subtree: true });
"""
"""Keeps when the first row was painted, ms from the start of the navigation."""
_FILTER = """
([name, value]) => new Promise((done) => {
  const field = document.getElementById("tools").elements[name];
  const start = performance.now();
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})
"""
"""Sets a filter, and returns how long it took until the page was laid out and painted anew, ms."""
_FILTERS = (
    ("decision", "refer"),
    ("decision", ""),
    ("diagnosis", "nevus"),
    ("diagnosis", ""),
    ("probability", "50"),
    ("probability", ""),
    ("search", "patient"),
    ("search", ""),
    ("reading", "unread"),
    ("sort", "probability"),
    ("sort", "urgency"),
)


def draw_rows(num_images: int) -> list[WorklistRow]:
    """Return rows with drawn lesions, most urgent first; of each three two are of patients with four lesions."""
    random = np.random.default_rng(0)
    drawn = [
        draw_lesion(diagnosis=DIAGNOSES[i % len(DIAGNOSES)], lesion_seed=i, view_seed=i) for i in range(_NUM_DRAWN)
    ]
    side = picture_side(num_images)
    shares = np.sort(random.beta(0.5, 3, num_images))[::-1]
    rows = []
    for place, share in enumerate(shares):
        grain = random.normal(0, 5, drawn[0].shape)
        pixels = (drawn[place % _NUM_DRAWN] + grain).clip(0, 255).astype(np.uint8)
        decision: Decision = "refer" if share >= _THRESHOLD else "unassessable" if place % 40 == 7 else "routine"
        is_known = place // 4 % 3 < 2
        uri = thumbnail_data_uri(pixels, side)
        rows.append(
            WorklistRow(
                image_id=f"ISIC_{place:07d}",
                path=f"/data/clinic/2026-11/ISIC_{place:07d}.jpg",
                melanoma_probability=float(share),
                decision=decision,
                top_diagnosis=DIAGNOSES[place % len(DIAGNOSES)],
                thumbnail=uri,
                error=None,
                warnings=("blurred",) if place % 11 == 3 else (),
                patient_id=f"P{place // 4:04d}" if is_known else None,
                lesion_id=f"L{place:05d}" if is_known else None,
                is_ugly_duckling=is_known and place % 4 == 1,
                overlay=uri if place < 50 else None,
            )
        )
    return rows


def render(rows: list[WorklistRow]) -> str:
    """Return the page of these rows."""
    worklist = Worklist(
        title="Worklist",
        is_synthetic=True,
        decision_threshold=_THRESHOLD,
        diagnoses=DIAGNOSES,
        worklist_id="benchmark",
        num_by_decision=Counter(row.decision for row in rows if row.decision),
    )
    return render_worklist(worklist, rows)


def measure(browser: Browser, url: str) -> tuple[float, dict[tuple[str, str], float]]:
    """Return when the first row was there, ms, and how long each filter took, ms."""
    page: Page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.add_init_script(_FIRST_ROW)
    page.goto(url)
    page.wait_for_function("window.firstRow !== undefined")
    first = float(page.evaluate("window.firstRow"))
    filters = {one: float(page.evaluate(_FILTER, list(one))) for one in _FILTERS}
    page.close()
    return first, filters


def main() -> None:
    """Write a page, open it five times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=None)
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - only this benchmark needs it

    folder = arguments.output or Path(tempfile.mkdtemp(prefix="worklist-"))
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "worklist.html"
    target.write_text(render(draw_rows(arguments.images)))
    with sync_playwright() as started:
        executable = shutil.which("chromium") or shutil.which("google-chrome")
        browser = started.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        found = [measure(browser, target.as_uri()) for _ in range(5)]
        browser.close()
    firsts = [first for first, _ in found]
    rows = [["first row", f"{median(firsts):.0f}", f"{min(firsts):.0f}"]]
    for name, value in _FILTERS:
        times = [filters[name, value] for _, filters in found]
        rows.append([f"{name} = {value or 'all'}", f"{median(times):.0f}", f"{min(times):.0f}"])
    size = target.stat().st_size / 1e6
    print_table(f"{arguments.images} images, {size:.1f} MB, five visits", ["", "median, ms", "least, ms"], rows)


if __name__ == "__main__":
    main()
