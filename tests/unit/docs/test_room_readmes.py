"""A room's README has a line for each of its files, and names nothing that isn't there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.documents import PACKAGE, list_quoted

READMES = sorted(PACKAGE.glob("*/README.md"))


def list_files(text: str) -> set[str]:
    """Return the files and folders that begin the lines of a README's list."""
    heads = re.findall(r"^- ((?:`[^`]+`(?:, )?)+):", text, re.MULTILINE)
    return {name for head in heads for name in list_quoted(head)}


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.parent.name)
def test_each_file_of_a_room_has_its_line(readme: Path) -> None:
    room = readme.parent
    modules = {file.name for file in room.glob("*.py") if file.name != "__init__.py"}
    folders = {f"{folder.name}/" for folder in room.iterdir() if folder.is_dir() and folder.name != "__pycache__"}
    assert list_files(readme.read_text(encoding="utf-8")) == modules | folders, f"one line a file in {readme}"


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.parent.name)
def test_a_room_says_what_must_not_go_into_it_and_is_short(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# {readme.parent.name}: ")
    assert "\nNot here: " in text
    assert len(text.splitlines()) <= 30


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.parent.name)
def test_a_file_of_another_room_exists(readme: Path) -> None:
    for name in list_quoted(readme.read_text(encoding="utf-8")):
        if name.endswith((".py", "/", ".csv")):
            assert (PACKAGE / name).exists() or (readme.parent / name).exists() or name == "jobs/", name
