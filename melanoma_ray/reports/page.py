"""The frame of every report: one self-contained HTML file that loads nothing from the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from melanoma_ray.api import NOTICE, SYNTHETIC_NOTICE, describe_share
from melanoma_ray.reports.formatting import describe_decision

TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    template: str, *, title: str, is_synthetic: bool, context: Mapping[str, object], script: str | None = None
) -> str:
    """Return a whole HTML document, which contains its styles, images and plots, and runs no script but its own.

    Every value is escaped, since file names and error texts come from outside, except SVG that was marked as safe
    where it was made.

    Args:
        template: File name in ``templates/`` of a template that extends ``base.html``.
        title: Title of the browser's tab, and the first heading.
        is_synthetic: Show the banner that the figures say nothing about real lesions.
        context: Values of the template's variables.
        script: File name in ``templates/`` of the page's only script; none: the page has no script. The page's content
            security policy names its digest, so that a browser runs no other.

    Raises:
        jinja2.UndefinedError: The context lacks a variable of the template.
    """
    code = "" if script is None else (TEMPLATES / script).read_text()
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    frame = {
        "script": Markup(code),  # noqa: S704 - a file of ours
        "script_source": Markup(f"; script-src 'sha256-{digest}'") if code else "",  # noqa: S704 - a digest
        "title": title,
        "is_synthetic": is_synthetic,
        "notice": NOTICE,
        "synthetic_notice": SYNTHETIC_NOTICE,
    }
    return _environment().get_template(template).render({**context, **frame})


@cache
def _environment() -> Environment:
    """Return jinja's environment, made once, at the first page, so that importing this module reads no file."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["decision_words"] = describe_decision
    environment.filters["share"] = describe_share
    return environment
