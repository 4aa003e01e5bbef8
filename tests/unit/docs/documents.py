"""The documentation as text, and what it names."""

from __future__ import annotations

import re
from functools import cache
from itertools import dropwhile, takewhile
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "melanoma_ray"
_FOLDERS = (".", "docs", "deploy", "jobs", "benchmarks", "melanoma_ray", "melanoma_ray/*", "tests", "tests/*")


def list_documents() -> list[str]:
    """Return the paths of all .md files, from the repository's root."""
    return sorted({str(file.relative_to(ROOT)) for folder in _FOLDERS for file in ROOT.glob(f"{folder}/*.md")})


def read_document(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def read_table(text: str) -> list[list[str]]:
    """Return the cells of the first table's rows, without its head."""
    lines = dropwhile(lambda line: not line.startswith("|"), text.splitlines())
    rows = list(takewhile(lambda line: line.startswith("|"), lines))
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def list_quoted(text: str) -> list[str]:
    """Return what stands in backticks outside of fenced code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def is_path(quoted: str) -> bool:
    """Tell the name of a file or folder of this repository."""
    return re.fullmatch(r"[\w.\-]+(/[\w.\-]*)*", quoted) is not None and (
        "/" in quoted or (ROOT / quoted).exists() or quoted.endswith((".md", ".toml"))
    )


@cache
def read_package() -> str:
    """Return the source of the whole package."""
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py")))


def occurs_in_package(name: str) -> bool:
    """Tell whether a name stands in the package's source as a word of its own."""
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", read_package()) is not None
