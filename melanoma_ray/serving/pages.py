"""The pages for people: the upload page and /docs. They load nothing from outside this package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment

from melanoma_ray.api import DECISION_MEANINGS, DECISION_WORDS, DECISIONS, NOTICE
from melanoma_ray.serving.problems import PROBLEMS, TYPE_PREFIX

_FOLDER = files("melanoma_ray.serving") / "static"
_ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "share.js": "text/javascript"}


def _read(name: str) -> str:
    return _FOLDER.joinpath(name).read_text(encoding="utf-8")


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
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_read("docs.html"))
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
    words = {decision: [DECISION_WORDS[decision], DECISION_MEANINGS[decision]] for decision in DECISIONS}
    page = _read("page.html").replace("{{ notice }}", NOTICE).replace("{{ decisions }}", json.dumps(words))
    assets = {name: _read(name) for name in _ASSETS}

    async def show_page() -> HTMLResponse:
        return HTMLResponse(page)

    async def show_docs(request: Request) -> HTMLResponse:
        return HTMLResponse(render_docs(app.openapi(), str(request.base_url).rstrip("/")))

    def add_asset(name: str) -> None:
        async def send_asset() -> Response:
            return Response(assets[name], media_type=_ASSETS[name])

        app.get(f"/assets/{name}", include_in_schema=False)(send_asset)

    app.get("/", include_in_schema=False)(show_page)
    app.get("/docs", include_in_schema=False)(show_docs)
    for name in _ASSETS:
        add_asset(name)
