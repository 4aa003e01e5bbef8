"""What goes wrong with a disk or a store is told in one line: what, where, and a way out."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from melanoma_ray import storage
from melanoma_ray.errors import DataError, StorageError

WRITE_BEYOND_A_LIMIT = """
import resource, sys
from melanoma_ray import storage
from melanoma_ray.errors import StorageError
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    storage.write_bytes(sys.argv[1], b"x" * 2000)
except StorageError as error:
    print(error)
"""


def test_a_file_where_a_folder_is_meant(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for use in (storage.check_writable, lambda uri: storage.write_bytes(f"{uri}/a", b"")):
        with pytest.raises(StorageError, match=r"a file stands where a folder is meant; give another path$") as caught:
            use(str(tmp_path / "file"))
        assert str(tmp_path / "file") in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_folder_where_a_file_is_meant(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="a folder stands where a file is meant"):
        storage.write_bytes(str(tmp_path), b"")
    with pytest.raises(StorageError, match=str(tmp_path)):
        storage.read_bytes(str(tmp_path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Permission denied; change its permissions"):
        storage.check_writable(str(tmp_path / "closed" / "out"))


def test_a_place_that_nobody_may_write(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="/proc/out: "):
        storage.check_writable("/proc/out")


def test_a_file_larger_than_allowed_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "large"
    command = [sys.executable, "-c", WRITE_BEYOND_A_LIMIT, str(target)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"{target}: File too large; this process may not write larger files (ulimit -f)\n"
    assert not list(tmp_path.iterdir())


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError, match="No space left on device; free some space, or give a directory on another"):
        storage.write_table(str(tmp_path / "table"), pa.table({"a": [1]}))


def test_a_missing_file_stays_what_callers_look_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(str(tmp_path / "none"))
    with pytest.raises(DataError, match="no such file"):
        storage.read_json(str(tmp_path / "none"))


def test_what_pyarrow_says_of_a_store_becomes_one_line_with_a_way_out() -> None:
    said = "When getting information for bucket 'gone':\nAWS Error NO_SUCH_BUCKET during HeadBucket operation: none"
    line = storage.explain(OSError(said), "s3://gone/runs")
    assert line.startswith("s3://gone/runs: When getting")
    assert line.endswith("; there is no such bucket; check its name, or make it")
    assert "\n" not in line
    assert storage.explain(OSError("[Errno 28] Error writing bytes to file")) == (
        "No space left on device; free some space, or give a directory on another disk"
    )


def test_it_is_an_os_error_too_and_travels() -> None:
    error = pickle.loads(pickle.dumps(StorageError("a: b; c")))
    assert isinstance(error, OSError)
    assert isinstance(error, DataError)
    assert (str(error), storage.explain(error)) == ("a: b; c", "a: b; c")
