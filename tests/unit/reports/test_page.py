"""What holds for every HTML page: its notice, that it stands alone, and that anyone can read it."""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from jinja2 import UndefinedError

from melanoma_ray.api import NOTICE, SYNTHETIC_NOTICE
from melanoma_ray.reports.page import render_page
from tests.unit.reports.report_samples import (
    HOSTILE,
    Reader,
    audit,
    evaluation,
    sweep,
    worklist,
)

each_page = pytest.mark.parametrize("render", [evaluation, worklist, sweep, audit])


# every page


@each_page
def test_every_page_says_that_it_is_no_medical_device(render: Callable[..., str]) -> None:
    assert NOTICE == "Research and triage tool, not a medical device."
    assert Reader(render("Title", is_synthetic=False)).words().count(NOTICE) == 2


@each_page
def test_the_synthetic_banner_stands_on_pages_of_synthetic_images_only(render: Callable[..., str]) -> None:
    assert 'class="banner"' in render("Title", is_synthetic=True)
    assert SYNTHETIC_NOTICE in Reader(render("Title", is_synthetic=True)).words()
    assert SYNTHETIC_NOTICE not in Reader(render("Title", is_synthetic=False)).words()


@each_page
def test_a_page_refers_to_nothing_outside_itself_and_runs_no_script_but_its_own(render: Callable[..., str]) -> None:
    html = render("Title", is_synthetic=True)
    reader = Reader(html)
    targets = [
        value or ""
        for _, attributes in reader.elements
        for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "srcset", "data", "poster", "action"}
    ]
    assert [target for target in targets if not target.startswith(("data:", "#"))] == []
    assert not re.search(r"@import|url\((?!#|data:)", html)
    assert "default-src 'none'" in html
    scripts = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert [tag for tag, _ in reader.elements].count("script") == len(scripts) == (render is worklist)
    assert re.findall(r"script-src '([^']+)'", html) == [f"sha256-{digest}" for digest in digests]
    assert not re.search(r"fetch\(|XMLHttpRequest|WebSocket|import\(|eval\(", "".join(scripts))


@each_page
def test_a_title_from_outside_is_shown_as_text(render: Callable[..., str]) -> None:
    html = render(HOSTILE, is_synthetic=False)
    assert html.count("<script") == (render is worklist)
    assert HOSTILE in "".join(Reader(html).text)


@each_page
def test_a_page_is_well_formed_with_one_first_heading_and_unique_ids(render: Callable[..., str]) -> None:
    reader = Reader(render("Title", is_synthetic=True))
    assert (reader.unclosed, reader.open) == ([], [])
    tags = [tag for tag, _ in reader.elements]
    assert (tags.count("h1"), tags.count("main")) == (1, 1)
    ids = [attributes["id"] for _, attributes in reader.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labels = [attributes["aria-labelledby"] for _, attributes in reader.elements if "aria-labelledby" in attributes]
    assert set(labels) <= set(ids)
    assert dict(reader.elements)["html"]["lang"] == "en"


@each_page
def test_every_image_and_plot_has_a_text_and_every_header_a_scope(render: Callable[..., str]) -> None:
    for tag, attributes in Reader(render("Title", is_synthetic=True)).elements:
        assert tag != "img" or attributes["alt"]
        assert tag != "th" or attributes["scope"] in {"row", "col"}
        assert attributes.get("role") not in {"img", "region"} or attributes["aria-label"]


@each_page
def test_the_same_values_give_the_same_page_to_the_byte(render: Callable[..., str]) -> None:
    render_afresh = inspect.unwrap(render)  # the samples are cached
    assert render_afresh is not render
    assert render_afresh("Title", is_synthetic=True) == render("Title", is_synthetic=True)


def test_a_template_that_names_what_is_not_there_fails_loudly() -> None:
    with pytest.raises(UndefinedError):
        render_page("sweep.html", title="Title", is_synthetic=False, context={})


def test_importing_the_pages_reads_no_template_and_no_pyplot() -> None:
    code = (
        "import sys, melanoma_ray.reports.evaluation, melanoma_ray.reports.page as page;"
        "assert 'matplotlib.pyplot' not in sys.modules and 'ray' not in sys.modules;"
        "assert page._environment.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
