"""Files and directories on any filesystem of pyarrow, local or remote.

A directory counts as complete when it has its last file (dataset.json, manifest.json …), which is written in one
piece, so a reader that starts from that file never sees half of a directory, on a disk or in s3://.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from melanoma_ray.errors import DataError, StorageError

_WAYS_OUT = {
    errno.ENOSPC: "free some space, or give a directory on another disk",
    errno.EDQUOT: "free some space, or give a directory on another disk",
    errno.EFBIG: "this process may not write larger files (ulimit -f)",
    errno.EACCES: "change its permissions, or give another path",
    errno.EPERM: "change its permissions, or give another path",
    errno.EROFS: "give a directory on a disk that can be written",
    errno.ENOTDIR: "a file stands where a folder is meant; give another path",
    errno.EEXIST: "a file stands where a folder is meant; give another path",
    errno.EISDIR: "a folder stands where a file is meant; give another path",
    errno.ENOENT: "it is not there, or gone; check the path",
    errno.EIO: "the disk, or the way to it, fails",
    errno.ESTALE: "the network disk is gone; mount it again",
    errno.ENAMETOOLONG: "give a shorter name",
}
"""What to do about an error of the system, by its number."""
DISK_FAULTS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE})
"""Numbers of errors for which a disk is to blame, whatever was to be written."""
_REMOTE_WAYS_OUT = {
    "NO_SUCH_BUCKET": "there is no such bucket; check its name, or make it",
    "ACCESS_DENIED": "the keys in use aren't allowed to; check AWS_ACCESS_KEY_ID or the role",
    "NETWORK_CONNECTION": "the store can't be reached; check the network and AWS_ENDPOINT_URL",
}
"""What to do about an error of a remote store, by a word in pyarrow's message."""


def explain(error: OSError, uri: str | None = None) -> str:
    """Return in one line what failed, where, and what to do.

    Args:
        error: Error of the system or of pyarrow.
        uri: File or directory that was to be read or written, if the error may not have it.
    """
    if isinstance(error, StorageError):
        return str(error)
    said = " ".join(str(error).split())
    number = error.errno
    if number is None:  # some errors of pyarrow have the number only in their text
        number = next((one for one in _WAYS_OUT if f"[errno {one}]" in said.lower()), None)
    remote = next((way for word, way in _REMOTE_WAYS_OUT.items() if word in said), None)
    reason = os.strerror(number) if number else said or type(error).__name__
    way_out = remote or _WAYS_OUT.get(number or 0)
    name = uri or error.filename
    return (f"{name}: " if name else "") + reason + (f"; {way_out}" if way_out else "")


@contextmanager
def _explained(uri: str) -> Iterator[None]:
    """Turn errors of the system into StorageError, except FileNotFoundError, which callers handle."""
    try:
        yield
    except (FileNotFoundError, StorageError):
        raise
    except OSError as error:
        raise StorageError(explain(error, uri)) from error


def check_writable(uri: str, num_bytes: int = 1) -> None:
    """Create a directory and check that files can be written to it, before work that takes long is started.

    Args:
        uri: The directory.
        num_bytes: Size of the file that is written, and deleted, for it.

    Raises:
        StorageError: They can't.
    """
    probe = join(absolute(uri), f".writing-{secrets.token_hex(4)}")
    try:
        _write(probe, bytes(num_bytes))
        delete_file(probe)
    except OSError as error:
        raise StorageError(explain(error, uri)) from error


def is_local(uri: str) -> bool:
    """Return whether this is a path on this machine, and not an address such as s3://bucket/key.

    >>> is_local("images"), is_local("s3://bucket/images")
    (True, False)
    """
    return "://" not in uri


def absolute(uri: str) -> str:
    """Return the path made absolute, so that processes with another working directory can use it; ~ is the home.

    A path of the command line goes through this before it is used: a shell leaves the ~ of ``--keys=~/keys.json``.

    Raises:
        StorageError: It begins with ``~NAME``, and there is no user of this name.
    """
    if not is_local(uri):
        return uri.rstrip("/")
    try:
        return str(Path(uri).expanduser().absolute())
    except RuntimeError as error:
        msg = (
            f"{uri}: {uri.partition('/')[0]} is no user's home here; give the whole path, or ./~ for a folder named so"
        )
        raise StorageError(msg) from error


def join(uri: str, *names: str) -> str:
    """Return the address of a file or directory inside a directory.

    >>> join("s3://bucket/folder/", "best", "manifest.json")
    's3://bucket/folder/best/manifest.json'
    """
    return "/".join([uri.rstrip("/"), *names])


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return pyarrow's filesystem and the path on it.

    The part after the host or bucket is used as it is: spaces, ``%`` and ``?`` are part of the name, not encodings.

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


@functools.cache  # a client looks up its region and credentials when it is made: once, not once per image
def _open_remote(address: str) -> tuple[pafs.FileSystem, str]:
    filesystem, root = pafs.FileSystem.from_uri(address)
    return filesystem, root


def exists(uri: str) -> bool:
    """Return whether there is a file or a directory of this name."""
    filesystem, path = resolve(uri)
    with _explained(uri):
        return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)


@dataclass(frozen=True, kw_only=True, slots=True)
class FileInfo:
    """One file of a listing."""

    path: str
    """Path or address, as for ``read_bytes``."""
    num_bytes: int
    modified_ns: int
    """Modification time, nanoseconds since 1970."""


def list_infos(uri: str, *, recursive: bool = True) -> list[FileInfo]:
    """Return the files of a directory, sorted by path, but for names that aren't UTF-8; none if it isn't there.

    Args:
        uri: The directory.
        recursive: Include the files of its subdirectories.
    """
    filesystem, path = resolve(uri)
    with _explained(uri):
        infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=recursive, allow_not_found=True))
    prefix = "" if is_local(uri) else uri.split("://", 1)[0] + "://"
    files = [
        FileInfo(path=prefix + name, num_bytes=info.size, modified_ns=info.mtime_ns)
        for info in infos
        if info.type == pafs.FileType.File and (name := _path_of(info)) is not None
    ]
    return sorted(files, key=lambda info: info.path)


def _path_of(info: pafs.FileInfo) -> str | None:
    """Return the path of a file; none: its name isn't UTF-8, which pyarrow can neither tell nor open."""
    try:
        return str(info.path)
    except UnicodeDecodeError:
        return None


def find(uri: str) -> FileInfo | None:
    """Return what is known of one file; none: there is no such file."""
    filesystem, path = resolve(uri)
    with _explained(uri):
        info = filesystem.get_file_info(path)
    is_file = info.type == pafs.FileType.File
    return FileInfo(path=uri, num_bytes=info.size, modified_ns=info.mtime_ns) if is_file else None


def list_files(uri: str) -> list[str]:
    """Return the paths of all files in a directory and its subdirectories, sorted."""
    return [info.path for info in list_infos(uri)]


def is_file(uri: str) -> bool:
    """Return whether there is a file of this name."""
    filesystem, path = resolve(uri)
    return bool(filesystem.get_file_info(path).type == pafs.FileType.File)


def read_bytes(uri: str) -> bytes:
    """Return a file's content; raises FileNotFoundError if there is none."""
    filesystem, path = resolve(uri)
    with _explained(uri), filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def read_head(uri: str, num_bytes: int) -> bytes:
    """Return the first bytes of a file; all of them, where it has no more.

    Args:
        uri: Address of the file.
        num_bytes: Most bytes that are read.
    """
    with _explained(uri):
        filesystem, path = resolve(uri)
        with filesystem.open_input_file(path) as file:
            return bytes(file.read_at(min(num_bytes, file.size()), 0))


def write_bytes(uri: str, content: bytes | memoryview, *, is_private: bool = False) -> None:
    """Write a file in one piece: a reader sees either the old content or the new, never a part of it.

    Args:
        uri: The file.
        content: What it is to have.
        is_private: On a local disk only its owner may read it, and it is on the disk when this returns.

    Raises:
        StorageError: It can't be written.
    """
    with _explained(uri):
        _write(uri, content, is_private=is_private)


@contextmanager
def hold_alone(uri: str) -> Iterator[None]:
    """Keep other processes of this machine from the same block for a local directory, which is made if need be.

    In s3://, on Windows, and on network filesystems without locks nothing is kept from it.

    Raises:
        StorageError: The directory can't be made or opened.
    """
    if not is_local(uri) or sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415 - Unix has it

    with _explained(uri):
        Path(uri).mkdir(parents=True, exist_ok=True)
        directory = os.open(uri, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _write(uri: str, content: bytes | memoryview, *, is_private: bool = False) -> None:
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
            if is_private:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).chmod(0o600 if is_private else 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_json(uri: str) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        DataError: The file doesn't exist, isn't a JSON object, or has a name twice, of which one would be lost.
    """
    try:
        content = json.loads(read_bytes(uri), object_pairs_hook=_collect)
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


def _collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        msg = f"{next(name for name in names if names.count(name) > 1)!r} is in it twice"
        raise ValueError(msg)
    return found


def write_json(uri: str, content: Mapping[str, Any]) -> None:
    """Write a JSON object in one piece, indented so that people can read it."""
    write_bytes(uri, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def read_table(uri: str, columns: list[str] | None = None) -> pa.Table:
    """Return a Parquet file, or all Parquet files of a directory, as one table.

    Args:
        uri: The file or directory.
        columns: Names of the columns to read; none: all.
    """
    filesystem, path = resolve(uri)
    with _explained(uri):
        return pq.read_table(path, columns=columns, filesystem=filesystem)


def write_table(uri: str, table: pa.Table) -> None:
    """Write one Parquet file in one piece."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_bytes(uri, memoryview(sink.getvalue()))


def delete_directory(uri: str) -> None:
    """Delete a directory and everything in it, if it exists."""
    filesystem, path = resolve(uri)
    if filesystem.get_file_info(path).type == pafs.FileType.Directory:
        filesystem.delete_dir(path)


def delete_file(uri: str) -> None:
    """Delete one file."""
    filesystem, path = resolve(uri)
    filesystem.delete_file(path)
