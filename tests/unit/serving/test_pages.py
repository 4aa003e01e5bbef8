"""The upload page's words: every one is there in every language, and the server chooses the right one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from fastapi.testclient import TestClient

from melanoma_ray.api import DECISION_WORDS, DECISIONS
from melanoma_ray.diagnoses import BENIGN_OR_MALIGNANT, DIAGNOSES, MELANOMA_OR_OTHER
from melanoma_ray.imaging.dicom import FileWarning
from melanoma_ray.imaging.quality import QualityWarning
from melanoma_ray.schema import SEXES, SITES
from melanoma_ray.serving.pages import choose_language, read_texts
from melanoma_ray.serving.problems import PROBLEMS
from melanoma_ray.serving.routes import build_http

STATIC = Path(__file__).parents[3] / "melanoma_ray" / "serving" / "static"
TEXTS = read_texts()
NAMES = {"diagnoses", "problems"}
"""What an English page calls as the model and the service do."""


def flatten(texts: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in texts.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def words(language: str) -> dict[str, str]:
    return dict(flatten({key: value for key, value in TEXTS[language].items() if key not in NAMES}))


def test_every_text_is_there_in_every_language_with_the_same_places() -> None:
    english = words("en")
    assert len(english) > 80
    for language in TEXTS:
        assert words(language).keys() == english.keys()
        for key, text in words(language).items():
            assert text.strip(), f"{language} {key}"
            if not key.startswith(("frequency", "high_threshold", "not.")):  # these name what is referred, each its way
                assert set(re.findall(r"{\w+}", text)) == set(re.findall(r"{\w+}", english[key])), f"{language} {key}"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("decisions", DECISIONS),
        ("diagnoses", [*DIAGNOSES, *(one.name for one in (*BENIGN_OR_MALIGNANT, *MELANOMA_OR_OTHER))]),
        ("problems", PROBLEMS),
        ("warnings", (*get_args(QualityWarning), *get_args(FileWarning))),
        ("sexes", SEXES),
        ("sites", SITES),
    ],
)
def test_what_the_service_names_has_a_german_word(kind: str, names: list[str]) -> None:
    assert set(names) - TEXTS["de"][kind].keys() == set(), f"add them to {kind} in serving/static/texts.json"


def test_english_decisions_are_those_of_reports_and_consoles() -> None:
    assert {name: TEXTS["en"]["decisions"][name]["words"] for name in DECISIONS} == DECISION_WORDS


def test_every_key_that_the_page_asks_for_is_a_text() -> None:
    scripts = "".join(file.read_text(encoding="utf-8") for file in STATIC.glob("*.js"))
    page = (STATIC / "page.html").read_text(encoding="utf-8")
    asked = set(re.findall(r'say\("([\w.]+)"', scripts)) | set(re.findall(r'data-(?:text|label)="([\w.]+)"', page))
    asked |= set(re.findall(r'words\("(\w+)"\)', page)) | set(re.findall(r'key: "(\w+)"', scripts))
    assert len(asked) > 60
    assert asked - words("en").keys() == set()


def test_every_text_is_asked_for() -> None:
    sources = "".join(
        file.read_text(encoding="utf-8") for ending in ("js", "html") for file in STATIC.glob(f"*.{ending}")
    )
    unused = {key for key in TEXTS["en"] if not re.search(rf"""["'`.]{key}["'`.]""", sources)}
    assert unused == set()


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", "en"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-US,en;q=0.9,de;q=0.8", "en"),
        ("fr-FR, fr;q=0.9", "en"),
        ("en;q=0.2, de;q=0.7", "de"),
        ("de;q=0", "en"),
        ("*;q=x, ;;,", "en"),
    ],
)
def test_the_page_comes_in_the_language_that_the_browser_prefers(accepted: str, chosen: str) -> None:
    assert choose_language(accepted, list(TEXTS)) == chosen
    response = TestClient(build_http()).get("/", headers={"Accept-Language": accepted})
    assert response.headers["Content-Language"] == chosen
    assert f'<html lang="{chosen}">' in response.text


def test_a_language_in_the_address_counts_before_the_browser_s() -> None:
    client = TestClient(build_http())
    german = client.get("/?language=de", headers={"Accept-Language": "en"})
    assert "<title>Melanom-Triage</title>" in german.text
    assert client.get("/?language=xx", headers={"Accept-Language": "de"}).headers["Content-Language"] == "de"


def test_the_texts_can_t_end_the_script_that_holds_them() -> None:
    page = TestClient(build_http()).get("/").text
    texts = page.split('id="texts">')[1].split("</script>")[0]
    assert "<" not in texts


def test_nothing_comes_from_elsewhere_and_nothing_is_kept() -> None:
    for file in STATIC.iterdir():
        source = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", source), file.name
        assert not re.search(r"localStorage|sessionStorage|indexedDB|innerHTML|document\.cookie", source), file.name
