"""Every file, module and link that a document names exists."""

from __future__ import annotations

import re
from importlib import import_module
from importlib.util import find_spec

import pytest

from tests.unit.docs.documents import PACKAGE, ROOT, list_documents, list_quoted, read_document

DOCUMENTS = list_documents()
OTHERS = [
    "Makefile",
    "cluster.yaml",
    ".ci/run",
    *(str(file.relative_to(ROOT)) for folder in ("deploy", "benchmarks") for file in (ROOT / folder).glob("*.[py]*")),
]
"""What isn't Markdown and names files of this repository, in comments and docstrings."""
_PATH = re.compile(r"(?<![\w./:-])(?:melanoma_ray|tests|jobs|docs|benchmarks|deploy)(?:/[\w.-]+)+/?")
_MODULE = re.compile(r"(?<![\w./-])(?:melanoma_ray|jobs|benchmarks)(?:\.[a-z_0-9]+)+")
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)")
_NO_MODULES = (".md", ".egg", ".toml", ".csv")


@pytest.mark.parametrize("name", [*DOCUMENTS, *OTHERS])
def test_a_path_exists(name: str) -> None:
    for path in _PATH.findall(read_document(name)):
        assert (ROOT / path.rstrip(".")).exists(), f"{name}: {path}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_module_s_file_that_is_named_by_its_room_exists(name: str) -> None:
    for path in list_quoted(read_document(name)):
        if re.fullmatch(r"\w+/\w+\.py", path):
            assert (PACKAGE / path).exists() or (ROOT / path).exists(), f"{name}: {path}"


@pytest.mark.parametrize("name", [*DOCUMENTS, *OTHERS])
def test_a_module_can_be_found(name: str) -> None:
    for module in _MODULE.findall(read_document(name)):
        assert module.endswith(_NO_MODULES) or is_there(module), f"{name}: {module}"


def is_there(name: str) -> bool:
    """Whether there is a module of this name, or a module that has something of its last part's name."""
    module, _, part = name.rpartition(".")
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # what stands before the last part is no package
        return hasattr(import_module(module), part)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_link_leads_to_a_file(name: str) -> None:
    for target in _LINK.findall(read_document(name)):
        assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"
