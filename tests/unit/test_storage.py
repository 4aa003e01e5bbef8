"""Files are written whole, and what can't be read is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from melanoma_ray import storage
from melanoma_ray.errors import DataError


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    name = str(tmp_path / "a" / "b.json")
    storage.write_json(name, {"x": 1})
    with pytest.raises(TypeError):
        storage.write_json(name, {"x": object()})
    assert storage.read_json(name) == {"x": 1}
    assert storage.list_files(str(tmp_path)) == [name]
    (tmp_path / "bad.json").write_text("[1")
    with pytest.raises(DataError, match="not JSON"):
        storage.read_json(str(tmp_path / "bad.json"))
    with pytest.raises(DataError, match="expected a local path or an address"):
        storage.resolve("gopher://x/y")
