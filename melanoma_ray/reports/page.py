"""The frame around every report: one self-contained HTML file that asks nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from melanoma_ray.api import NOTICE, SYNTHETIC_NOTICE, describe_share
from melanoma_ray.reports.formatting import describe_decision

TEMPLATES = Path(__file__).parent / "templates"


def render_page(template: str, *, title: str, is_synthetic: bool, context: Mapping[str, object]) -> str:
    """Return a whole HTML document: styles, images and plots are inside it, there is no script.

    Every value is escaped, since file names and error texts come from outside; only SVG marked as
    safe by its maker isn't.

    Args:
        template: File name in ``templates/``; extends ``base.html``.
        title: Of the browser's tab and the first heading.
        is_synthetic: Show the banner that the figures say nothing about real lesions.
        context: What the template names.

    Raises:
        jinja2.UndefinedError: The template names something the context lacks.
    """
    frame = {
        "title": title,
        "is_synthetic": is_synthetic,
        "notice": NOTICE,
        "synthetic_notice": SYNTHETIC_NOTICE,
    }
    return _environment().get_template(template).render({**context, **frame})


@cache
def _environment() -> Environment:
    """Read no template before a page is wanted: importing is free."""
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
