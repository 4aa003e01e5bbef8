"""Whether a file lies on a disk of this machine, where SQLite's WAL is safe (sqlite.org/wal.html)."""

from __future__ import annotations

import os
from pathlib import Path

from melanoma_ray.errors import AlertError

_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "lustre", "glusterfs", "beegfs", "gpfs", "fuse", "virtiofs")
"""Starts of the names of file systems on which SQLite's WAL isn't safe, or can't be known to be."""


def check_file_system(path: str) -> None:
    """Refuse a file on a network file system, where SQLite's WAL may lose what it has confirmed.

    Raises:
        AlertError: It lies on one.
    """
    kind = file_system_of(path, _read_mounts())
    if kind is not None and kind.startswith(_NETWORK):
        msg = f"outbox {path}: lies on {kind}, a network file system; give a file on a disk of this machine"
        raise AlertError(msg)


def file_system_of(path: str, mounts: str) -> str | None:
    r"""Return the kind of the file system that a file lies on; none: it isn't known.

    Args:
        path: Absolute path of the file, which need not be there yet.
        mounts: Content of /proc/self/mounts.

    >>> file_system_of("/data/outbox.db", "/dev/sda1 / ext4 rw 0 0\nstore:/a /data nfs4 rw 0 0\n")
    'nfs4'
    """
    where = os.path.realpath(path)
    best, kind = "", None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        mount = fields[1].encode().decode("unicode_escape").rstrip("/")  # spaces are written as \\040
        if (where == mount or where.startswith(mount + "/")) and len(mount) >= len(best):
            best, kind = mount, fields[2]
    return kind


def _read_mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
    except OSError:  # not Linux
        return ""
