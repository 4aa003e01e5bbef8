"""CHANGELOG.md keeps the form of Keep a Changelog."""

from __future__ import annotations

import re

from melanoma_ray import __version__
from tests.unit.docs.documents import read_document

TEXT = read_document("CHANGELOG.md")
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_the_versions_begin_with_what_is_not_released() -> None:
    versions = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d{2}-\d{2})?$", TEXT, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert len(versions) == TEXT.count("\n## ")
    assert __version__ in TEXT


def test_each_version_lists_its_changes_by_kind_in_the_usual_order() -> None:
    for version in TEXT.split("\n## ")[1:]:
        kinds = re.findall(r"^### (\w+)$", version, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds]
        assert all(part.lstrip().startswith("- ") for part in re.split(r"^### \w+\n", version, flags=re.MULTILINE)[1:])
