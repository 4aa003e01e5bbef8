"""The pages for people: the upload page and /docs. They load nothing from outside this package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment

from melanoma_ray.api import DECISION_MEANINGS, DECISION_WORDS, DECISIONS, NOTICE
from melanoma_ray.serving.problems import PROBLEMS, TYPE_PREFIX

_FOLDER = files("melanoma_ray.serving") / "static"
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "share.js": "text/javascript"}


def _read(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


def render_docs(openapi: dict[str, Any]) -> str:
    """Return an OpenAPI description as an HTML page without scripts."""
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_read("docs.html"))
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = {name: schema for name, schema in openapi["components"]["schemas"].items() if "Error" not in name}
    return template.render(
        info=openapi["info"], operations=operations, schemas=schemas, problems=PROBLEMS, type_prefix=TYPE_PREFIX
    )


def add_pages(app: FastAPI) -> None:
    """Add the routes of ``/``, ``/docs`` and the page's assets, whose files are read once, here."""
    words = {decision: [DECISION_WORDS[decision], DECISION_MEANINGS[decision]] for decision in DECISIONS}
    page = _read("page.html").replace("{{ notice }}", NOTICE).replace("{{ decisions }}", json.dumps(words))
    assets = {name: _read(name) for name in _ASSETS}

    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    async def show_docs() -> HTMLResponse:
        return HTMLResponse(render_docs(app.openapi()))

    def add_asset(name: str) -> None:
        async def send_asset() -> Response:
            return Response(assets[name], media_type=_ASSETS[name])

        app.get(f"/assets/{name}", include_in_schema=False)(send_asset)

    app.get("/", include_in_schema=False)(show_page)
    app.get("/docs", include_in_schema=False)(show_docs)
    for name in _ASSETS:
        add_asset(name)
