"""The pages for people: the upload page and /docs. They load nothing from outside this package.

Every word of the upload page is in ``static/texts.json``, in each of its languages; the English words for decisions are
those of ``api``, which reports and consoles have, too.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment
from markupsafe import Markup

from melanoma_ray.api import DECISION_MEANINGS, DECISION_WORDS, DECISIONS, NOTICE
from melanoma_ray.serving.problems import PROBLEMS, TYPE_PREFIX

_FOLDER = files("melanoma_ray.serving") / "static"
_TYPES = {".css": "text/css", ".js": "text/javascript"}
_ENGLISH = "en"


def _read(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


def read_texts() -> dict[str, dict[str, Any]]:
    """Return the words of the upload page by language, English first; a word is found by the same keys in each."""
    texts: dict[str, dict[str, Any]] = json.loads(_read("texts.json"))
    texts[_ENGLISH] |= {
        "notice": NOTICE,
        "decisions": {
            decision: {"words": DECISION_WORDS[decision], "meaning": DECISION_MEANINGS[decision]}
            for decision in DECISIONS
        },
    }
    return texts


def choose_language(accepted: str, languages: list[str]) -> str:
    """Return the first language that an Accept-Language header prefers (RFC 9110, 12.5.4); English if there is none.

    >>> choose_language("fr, de-CH;q=0.9, en;q=0.3", ["en", "de"]), choose_language("", ["en", "de"])
    ('de', 'en')
    """
    ranges = [part.partition(";") for part in accepted.lower().split(",")]
    weighed = [(name.strip().partition("-")[0], weight.strip().removeprefix("q=")) for name, _, weight in ranges]
    preferred = sorted(weighed, key=lambda one: -_weight(one[1]))  # stable: among equals the first
    return next((name for name, weight in preferred if name in languages and _weight(weight) > 0), _ENGLISH)


def _weight(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0


def _build_environment() -> Environment:
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)


def _render_pages() -> dict[str, str]:
    """Return the upload page in each language; each has the words of all, so that it can change without a request."""
    texts = read_texts()
    everything = Markup(json.dumps(texts, ensure_ascii=False).replace("<", "\\u003c"))  # noqa: S704 - no tag is left
    template = _build_environment().from_string(_read("page.html"))
    return {
        language: template.render(language=language, texts=words, all_texts=everything)
        for language, words in texts.items()
    }


def describe_allowed(schema: dict[str, Any]) -> str:
    """Return what a parameter allows, from its JSON schema.

    >>> describe_allowed({"anyOf": [{"type": "number", "minimum": 0, "maximum": 130}, {"type": "null"}]})
    'a number from 0 to 130; left out: unknown'
    """
    kind = next((one for one in schema.get("anyOf", [schema]) if one["type"] != "null"), schema)
    if "enum" in kind:
        words = "one of " + ", ".join(kind["enum"])
    elif kind["type"] in {"number", "integer"}:
        words = f"a {kind['type']}" + (f" from {kind['minimum']} to {kind['maximum']}" if "minimum" in kind else "")
    else:
        words = "text"
    return f"{words}; left out: {schema.get('default', 'unknown')}"


def render_docs(openapi: dict[str, Any], address: str) -> str:
    """Return an OpenAPI description as an HTML page without scripts.

    Args:
        openapi: The description.
        address: Address at which the page was requested, for the examples.
    """
    template = _build_environment().from_string(_read("docs.html"))
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = {name: schema for name, schema in openapi["components"]["schemas"].items() if "Error" not in name}
    return template.render(
        info=openapi["info"],
        address=address,
        operations=operations,
        schemas=schemas,
        problems=PROBLEMS,
        type_prefix=TYPE_PREFIX,
        describe_allowed=describe_allowed,
    )


def add_pages(app: FastAPI) -> None:
    """Add the routes of ``/``, ``/docs`` and the page's assets, whose files are read once, here."""
    pages = _render_pages()

    async def show_page(request: Request, language: str | None = None) -> HTMLResponse:
        if language not in pages:
            language = choose_language(request.headers.get("accept-language", ""), list(pages))
        return HTMLResponse(pages[language], headers={"Content-Language": language, "Vary": "Accept-Language"})

    async def show_docs(request: Request) -> HTMLResponse:
        return HTMLResponse(render_docs(app.openapi(), str(request.base_url).rstrip("/")))

    app.get("/", include_in_schema=False)(show_page)
    app.get("/docs", include_in_schema=False)(show_docs)
    for file in _FOLDER.iterdir():
        kind = next((kind for ending, kind in _TYPES.items() if file.name.endswith(ending)), None)
        if kind is not None:
            _add_asset(app, file.name, kind)


def _add_asset(app: FastAPI, name: str, kind: str) -> None:
    content = _read(name)

    async def send_asset() -> Response:
        return Response(content, media_type=kind)

    app.get(f"/assets/{name}", include_in_schema=False)(send_asset)
