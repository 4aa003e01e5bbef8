"""Each example of docs/layouts.md is written to disk, and read as the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.sources.listing import IMAGE_ENDINGS
from melanoma_ray.sources.taxonomies import open_taxonomy

PAGE = (Path(__file__).parents[3] / "docs" / "layouts.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
BLOCKS = [
    (title, number, block)
    for title, text in SECTIONS.items()
    for number, block in enumerate(re.findall(r"```\n(.*?)```", text, re.DOTALL))
    if "/" in block and not any(word in block for word in ("…", "hdf5", "parquet", "name,diagnosis"))
]


def write_example(block: str, folder: Path) -> int:
    """Write the files of an example, tables with the lines beside them, and return the number of images."""
    tables: dict[Path, list[str]] = {}
    images = set()
    for line in block.splitlines():
        found = re.match(r"^(\S.*?)(?:\s{2,}(.*))?$", line)
        if found is None:
            tables[next(reversed(tables))].append(line.strip())
            continue
        path = folder / found[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in IMAGE_ENDINGS:
            path.write_bytes(b"x")
            images.add(path)
        else:
            tables[path] = [found[2]]
    for path, lines in tables.items():
        path.write_text("\n".join(lines).replace("→", "\t") + "\n")
    return len(images)


@pytest.mark.parametrize(("title", "number", "block"), BLOCKS, ids=[f"{title}-{number}" for title, number, _ in BLOCKS])
def test_the_example_of_a_layout_is_read(title: str, number: int, block: str, tmp_path: Path) -> None:
    num_images = write_example(block, tmp_path)
    found = re.search(r"--columns ((?:\w+=\w+ ?)+)`", SECTIONS[title]) if title == "Anything else" else None
    columns = found[1].split() if found else ()
    taxonomy = open_taxonomy("melanoma-other") if title == "SIIM-ISIC 2020" else None  # its image has no finer word
    named = re.search(r"`--metadata (\S+\.json)`", SECTIONS[title])
    metadata = str(tmp_path / named[1]) if named else ()
    collection = read_collection(str(tmp_path), metadata, taxonomy, columns)
    assert collection.table.num_rows == num_images
    assert num_images > 0


def test_most_layouts_have_an_example() -> None:
    assert len(BLOCKS) >= 16
