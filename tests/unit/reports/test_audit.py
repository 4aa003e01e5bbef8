"""The audit of a collection: what it says."""

from __future__ import annotations

from dataclasses import replace

from melanoma_ray.reports.audit import render_audit
from tests.unit.reports.report_samples import (
    Reader,
    audit_page,
)


def test_the_audit_tells_what_was_found_and_what_was_done() -> None:
    words = Reader(render_audit(audit_page())).words()
    assert "Same image twice: 1,234 images" in words
    assert "What was done: One was kept." in words
    assert "a/b.jpg truncated half of it" in words


def test_an_audit_that_found_nothing_says_so() -> None:
    words = Reader(render_audit(replace(audit_page(), findings=[], unreadable=[]))).words()
    assert "Nothing was found." in words
    assert "Every image could be read." in words
