"""The published schema of report.json is the one in the code."""

from __future__ import annotations

from pathlib import Path

import jsonschema

from melanoma_ray.documents.schema import Report, render_schema

PUBLISHED = Path(__file__).parents[3] / "docs" / "report.schema.json"


def test_the_published_schema_is_the_one_in_the_code() -> None:
    assert PUBLISHED.read_text() == render_schema()  # else: python -m melanoma_ray.documents.schema > docs/…


def test_it_is_a_json_schema_that_refuses_what_is_no_report() -> None:
    schema = Report.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    found = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors({"format_version": 1})]
    assert any("was expected" in message for message in found)
    assert any("'figures' is a required property" in message for message in found)
