"""axe-core (Deque, MPL-2.0), which axe-playwright-python brings: rules of accessibility, on an open page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python isn't installed")


def violations(page: Page) -> list[tuple[str, str]]:
    """Return the rule and the element of each thing that axe-core finds."""
    response: dict[str, Any] = axe.Axe().run(page).response
    assert len(response["passes"]) > 5  # it has looked
    return [(found["id"], node["html"]) for found in response["violations"] for node in found["nodes"]]
