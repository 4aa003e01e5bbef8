"""Directories on any filesystem that pyarrow can name, written whole or not at all.

A file that says "this directory is complete" (dataset.json, manifest.json …) is written last and in
one piece, so a reader that starts from it never sees half of anything, on a disk or in s3://.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from melanoma_ray.errors import DataError


def is_local(uri: str) -> bool:
    """Tell a path of this machine from an address such as s3://bucket/key."""
    return "://" not in uri


def absolute(uri: str) -> str:
    """Return a name that other processes, in other working directories, understand too."""
    return str(Path(uri).expanduser().absolute()) if is_local(uri) else uri.rstrip("/")


def join(uri: str, *names: str) -> str:
    """Return the address of something inside a directory."""
    return "/".join([uri.rstrip("/"), *names])


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return pyarrow's filesystem and the path on it.

    What follows the host or bucket is taken as it stands: spaces, ``%`` and ``?`` are letters of the name.

    Raises:
        DataError: The scheme is unknown to pyarrow, or its address is malformed.
    """
    if is_local(uri):
        return pafs.LocalFileSystem(), absolute(uri)
    scheme, _, rest = uri.partition("://")
    host, _, name = rest.partition("/")
    try:
        filesystem, root = _open_remote(f"{scheme}://{host}" if host else f"{scheme}:///")
    except (pa.ArrowInvalid, OSError) as error:
        msg = f"{uri}: {error}; expected a local path or an address such as s3://bucket/folder"
        raise DataError(msg) from error
    return filesystem, f"{root.rstrip('/')}/{name}" if name else root


@functools.cache  # a client finds its region and its credentials once, not once per image
def _open_remote(address: str) -> tuple[pafs.FileSystem, str]:
    filesystem, root = pafs.FileSystem.from_uri(address)
    return filesystem, root


def exists(uri: str) -> bool:
    """Tell whether there is a file or a directory."""
    filesystem, path = resolve(uri)
    return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """A file, as a listing tells of it."""

    path: str
    """As ``read_bytes`` takes it."""
    num_bytes: int
    modified_ns: int
    """Since 1970, nanoseconds."""


def list_infos(uri: str, *, recursive: bool = True) -> list[FileInfo]:
    """Return all files below, sorted by path; none where there is nothing."""
    filesystem, path = resolve(uri)
    infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=recursive, allow_not_found=True))
    prefix = "" if is_local(uri) else uri.split("://", 1)[0] + "://"
    files = [
        FileInfo(path=prefix + info.path, num_bytes=info.size, modified_ns=info.mtime_ns)
        for info in infos
        if info.type == pafs.FileType.File
    ]
    return sorted(files, key=lambda info: info.path)


def list_files(uri: str) -> list[str]:
    """Return the paths of all files below, sorted."""
    return [info.path for info in list_infos(uri)]


def is_file(uri: str) -> bool:
    """Tell whether there is a file."""
    filesystem, path = resolve(uri)
    return bool(filesystem.get_file_info(path).type == pafs.FileType.File)


def read_bytes(uri: str) -> bytes:
    """Return a file's content; a missing one raises FileNotFoundError."""
    filesystem, path = resolve(uri)
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def write_bytes(uri: str, content: bytes | memoryview) -> None:
    """Write a file in one piece: a reader sees the old content or the new, never a part."""
    filesystem, path = resolve(uri)
    parent = path.rsplit("/", 1)[0]
    filesystem.create_dir(parent, recursive=True)
    if not is_local(uri):  # an object appears when its upload is complete
        with filesystem.open_output_stream(path) as stream:
            stream.write(content)
        return
    handle, temporary = tempfile.mkstemp(dir=parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(uri: str) -> dict[str, Any]:
    """Return a JSON object.

    Raises:
        DataError: The file isn't there, or isn't a JSON object.
    """
    try:
        content = json.loads(read_bytes(uri))
    except FileNotFoundError as error:
        msg = f"{uri}: no such file"
        raise DataError(msg) from error
    except ValueError as error:
        msg = f"{uri}: not JSON ({error})"
        raise DataError(msg) from error
    if not isinstance(content, dict):
        msg = f"{uri}: expected a JSON object"
        raise DataError(msg)
    return content


def write_json(uri: str, content: Mapping[str, Any]) -> None:
    """Write a JSON object in one piece, for people too."""
    write_bytes(uri, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file, or all Parquet files of a directory, as one table."""
    filesystem, path = resolve(uri)
    return pq.read_table(path, columns=columns, filesystem=filesystem)


def write_table(uri: str, table: pa.Table) -> None:
    """Write one Parquet file in one piece."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(uri, memoryview(sink.getvalue()))


def delete_directory(uri: str) -> None:
    """Delete a directory and what is in it; nothing happens where there is none."""
    filesystem, path = resolve(uri)
    if filesystem.get_file_info(path).type == pafs.FileType.Directory:
        filesystem.delete_dir(path)


def delete_file(uri: str) -> None:
    """Delete one file."""
    filesystem, path = resolve(uri)
    filesystem.delete_file(path)
