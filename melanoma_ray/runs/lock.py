"""One process a run: run.lock in the directory of a run or a sweep says who holds it, and that it still does.

What it guarantees. On a disk of this machine the file is made by exclusive creation, under an advisory lock on its
directory: of two processes, one gets it. In s3:// a process writes its claim, waits a second and reads it back:
two that begin together are told apart as long as a write takes less than that second (pyarrow writes
unconditionally). Between machines it rests on clocks that agree within a minute. A holder that slept through
``STALE_S`` may find its run taken over; it then stops by itself at its next renewal.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from melanoma_ray import storage
from melanoma_ray.errors import DataError, RunHeldError

logger = logging.getLogger(__name__)

LOCK = "run.lock"
RENEW_EVERY_S = 30.0
"""Between two signs of life of the holder."""
STALE_S = 300.0
"""Without a sign of life for so long a holder on another machine counts as gone."""
_SETTLE_S = 1.0
_CREDENTIALS = re.compile(r"//[^/@\s]+@")


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    """run.lock."""

    host: str
    process_id: int
    machine: str
    """Tells machines of one name apart, one machine from itself before a restart, and containers on it."""
    process_begun: str
    """When the process began, in the kernel's own count: another process may get its id later."""
    user: str
    command: str
    begun_at: float
    """Seconds since 1970."""
    renewed_at: float
    """Seconds since 1970."""
    token: str
    """Of this claim alone."""

    def is_alive(self) -> bool:
        """Tell whether the holder must be supposed to be at work."""
        if self.machine == _machine() and self.process_begun != _process_begun(self.process_id):
            return False
        return time.time() - self.renewed_at < STALE_S

    def __str__(self) -> str:
        """Say who it is."""
        return f"process {self.process_id} of {self.user} on {self.host} ({self.command}), since {_utc(self.begun_at)}"


@contextmanager
def hold(uri: str) -> Iterator[None]:
    """Hold the directory of a run or a sweep while this lasts, whatever ends it.

    Raises:
        RunHeldError: Another process holds it.
    """
    holder = _claim(uri)
    is_over = threading.Event()
    renewal = threading.Thread(target=_renew, args=(uri, holder, is_over), name="run-lock", daemon=True)
    renewal.start()
    try:
        yield
    finally:
        is_over.set()
        renewal.join()
        with contextlib.suppress(OSError, DataError):  # what goes wrong with the store was told where it mattered
            if (found := read_holder(uri)) is not None and found.token == holder.token:
                storage.delete_file(storage.join(uri, LOCK))


def read_holder(uri: str) -> Holder | None:
    """Return whom run.lock names; none: there is no such file, or its writer died over it."""
    try:
        return Holder(**storage.read_json(storage.join(uri, LOCK)))
    except (DataError, FileNotFoundError, TypeError):
        return None


def _claim(uri: str) -> Holder:
    mine = _this_process()
    with _alone_on_this_machine(uri):
        before = read_holder(uri)
        if before is not None and before.is_alive():
            raise _refusal(uri, before)
        _write_claim(uri, mine)
    after = mine
    if not storage.is_local(uri):
        time.sleep(_SETTLE_S)
        after = read_holder(uri) or mine
    if after.token != mine.token:
        raise _refusal(uri, after)
    if before is not None:
        logger.info("run %s: taken over from %s, which is gone", uri, before)
    return mine


@contextmanager
def _alone_on_this_machine(uri: str) -> Iterator[None]:
    """Keep other processes from looking at the lock of a local directory until it is decided."""
    if not storage.is_local(uri) or sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415 - Unix has it

    Path(uri).mkdir(parents=True, exist_ok=True)
    directory = os.open(uri, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network filesystems have no such locks
            fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def _write_claim(uri: str, mine: Holder) -> None:
    """Write run.lock, on a disk only if nobody else has made one since the dead one's was removed.

    Raises:
        RunHeldError: Someone has.
    """
    name = storage.join(uri, LOCK)
    if not storage.is_local(uri):
        storage.write_json(name, asdict(mine))
        return
    Path(name).unlink(missing_ok=True)
    try:
        with Path(name).open("x") as file:
            json.dump(asdict(mine), file, indent=2)
    except FileExistsError:
        raise _refusal(uri, read_holder(uri) or mine) from None


def _refusal(uri: str, holder: Holder) -> RunHeldError:
    return RunHeldError(
        f"{uri}: is held by {holder}; its last sign of life is {max(0.0, time.time() - holder.renewed_at):.0f} s old; "
        "wait for its end or end it, or give another --name"
    )


def _renew(uri: str, holder: Holder, is_over: threading.Event) -> None:
    """Write a sign of life now and then; a store that can't be reached now is asked again later."""
    while not is_over.wait(RENEW_EVERY_S):
        try:
            found = read_holder(uri)
            if found is not None and found.token != holder.token:
                logger.warning("%s: was taken over by %s; this process stops", uri, found)
                os.kill(os.getpid(), signal.SIGINT)
                return
            storage.write_json(storage.join(uri, LOCK), asdict(replace(holder, renewed_at=time.time())))
        except (OSError, DataError) as error:
            logger.warning("%s: its lock can't be renewed now: %s", uri, error)


def _this_process() -> Holder:
    now = time.time()
    return Holder(
        host=socket.gethostname(),
        process_id=os.getpid(),
        machine=_machine(),
        process_begun=_process_begun(os.getpid()),
        user=_user(),
        command=_CREDENTIALS.sub("//…@", " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
        begun_at=now,
        renewed_at=now,
        token=secrets.token_hex(8),
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number that has no name
        return str(os.getuid())


def _machine() -> str:
    """Return what processes share that can see each other's ids."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    namespace = Path("/proc/self/ns/pid")
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts += [boot.read_text().strip(), str(namespace.readlink())]
    return " ".join(parts)


def _process_begun(process_id: int) -> str:
    """Return when a process of this machine began, in ticks since the machine's start; empty: there is none."""
    try:
        state, *rest = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return _is_there(process_id)
    return "" if state in "ZX" else rest[18]  # a process that nobody has buried yet is dead


def _is_there(process_id: int) -> str:
    """Return a word for a process of a system without /proc; empty: there is none."""
    if Path("/proc/self/stat").exists():
        return ""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "there"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
