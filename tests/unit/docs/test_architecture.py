"""docs/architecture.md tells of every room, on the floor that pyproject.toml puts it."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.unit.docs.documents import PACKAGE, ROOT, is_path, list_quoted, occurs_in_package, read_document, read_table

TEXT = read_document("docs/architecture.md")
ROOMS = {row[1].strip("`/"): row for row in read_table(TEXT)}


def list_rooms() -> list[str]:
    """Return the packages and modules of melanoma_ray."""
    packages = [init.parent.name for init in PACKAGE.glob("*/__init__.py")]
    return sorted([*packages, *(file.stem for file in PACKAGE.glob("*.py") if file.stem != "__init__")])


def floors_of_pyproject() -> dict[str, int]:
    contracts = tomllib.loads(read_document("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract.get("exhaustive"))
    floors = {room: floor for floor, layer in enumerate(reversed(layers)) for room in layer.split(" | ")}
    return floors | {"jobs": len(layers)}


def test_every_room_is_in_the_table_once() -> None:
    assert sorted(ROOMS) == sorted([*list_rooms(), "jobs"])
    assert len(ROOMS) == len(read_table(TEXT))


@pytest.mark.parametrize(("room", "floor"), floors_of_pyproject().items())
def test_a_room_is_on_the_floor_that_pyproject_says(room: str, floor: int) -> None:
    assert ROOMS[room][0] == str(floor)


@pytest.mark.parametrize("room", ROOMS)
def test_the_table_says_which_rooms_import_ray(room: str) -> None:
    folder = ROOT / "jobs" if room == "jobs" else PACKAGE / room
    files = folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
    uses_ray = any(re.search(r"^\s*(import|from) ray\b", file.read_text(), re.MULTILINE) for file in files)
    assert ROOMS[room][3] == ("yes" if uses_ray else "no")


def test_ten_questions_are_answered_by_files_and_names_that_exist() -> None:
    section = TEXT.split("## Where to find what\n")[1].split("\n## ")[0]
    questions = read_table(section)
    assert len(questions) == 10
    for question, answer in questions:
        quoted = list_quoted(answer)
        assert question.endswith("?")
        assert any(is_path(one) for one in quoted)
        for one in quoted:
            assert (ROOT / one).is_file() if is_path(one) else occurs_in_package(one.rpartition(".")[2]), one
