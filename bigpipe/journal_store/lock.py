"""The lock of a journal: one run at a time holds it, and a run that dies releases it.

Owns the lock file beside the journal, which is removed when the run ends. The journal itself is
`bigpipe.journal_store.file`'s.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import suppress

from bigpipe.errors import JournalError
from bigpipe.system.process_table import ProcTable

__all__ = ["JournalLock", "holder_of"]

MAX_TRIES = 100  # attempts to make a file that others remove; arbitrary, one or two are usual

_held: dict[str, JournalLock] = {}
"""Locks that this process holds. A forked child holds none of them."""
os.register_at_fork(after_in_child=_held.clear)


class JournalLock:
    """The right to write to a journal.

    Parameters
    ----------
    path : str
        The journal.
    by_name : bool, optional
        Rely only on the existence of the file, as locks may not work on this file system. A run
        that died on another machine then blocks the journal until the file is removed.

    Raises
    ------
    JournalError
        If another run holds the lock; the message says which.

    Notes
    -----
    A record lock (``fcntl``) belongs to one process: children do not inherit it, and it is
    released when the process ends, however that happens. So a file left by a dead run blocks
    nobody. The lock is also released when this process closes any descriptor of the file, so
    nothing else here opens it, and a dict records the locks that this process holds.
    """

    def __init__(self, path: str, *, by_name: bool = False) -> None:
        self._journal = path
        self.path = os.path.realpath(path) + "-lock"
        if _held.setdefault(self.path, self) is not self:  # in one step: threads may race
            raise JournalError(
                f"the journal {path!r} is in use by another run in this process; wait until that "
                "has ended, or give another journal"
            )
        try:
            self._fd = self._made() if by_name else self._locked()
        except BaseException:
            del _held[self.path]
            raise

    def release(self) -> None:
        """Release the lock."""
        if _held.get(self.path) is self:  # not in a forked child
            with suppress(OSError):  # the folder may have been removed
                os.unlink(self.path)
            os.close(self._fd)
            del _held[self.path]

    def _locked(self) -> int:
        for _ in range(MAX_TRIES):
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                owner = _owner(fd)
                os.close(fd)
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
                if _is_dead(owner):  # somebody looks, in `holder_of`, whether anyone has it
                    continue
                raise self._refusal(owner) from None
            # Who had it may have removed it between `open` and here.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(self.path)):
                    _sign(fd, by_name=False)
                    return fd
            os.close(fd)
        raise OSError(errno.EAGAIN, "other processes keep removing it", self.path)

    def _made(self) -> int:
        for _ in range(MAX_TRIES):
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
            except FileExistsError:
                owner = self._owner_there()
                if not _is_dead(owner):
                    raise self._refusal(owner, remedy=True) from None
                with suppress(FileNotFoundError):  # another has seen it too
                    os.unlink(self.path)
                continue
            _sign(fd, by_name=True)
            return fd
        raise OSError(errno.EAGAIN, "other processes keep making it", self.path)

    def _owner_there(self) -> dict[str, object]:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return {}
        try:
            return _owner(fd)
        finally:
            os.close(fd)

    def _refusal(self, owner: dict[str, object], *, remedy: bool = False) -> JournalError:
        who = "another run"
        if owner:
            who += f", process {owner.get('pid')} on {owner.get('host')} since {owner.get('began')}"
        text = f"the journal {self._journal!r} is in use by {who}; wait until that has ended, or "
        text += "give another journal"
        return JournalError(
            f"{text}. If that run no longer exists, remove {self.path!r}" if remedy else text
        )


def _sign(fd: int, *, by_name: bool) -> None:
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    owner = {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "began": began,
        "start": _start_of(os.getpid()),
        "by_name": by_name,
    }
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(owner).encode(), 0)


def _owner(fd: int) -> dict[str, object]:
    try:
        owner = json.loads(os.pread(fd, 4096, 0))
    except ValueError:  # it is being written
        return {}
    return owner if isinstance(owner, dict) else {}


def _is_dead(owner: dict[str, object]) -> bool:
    """Return whether the owner of a lock file is known to have ended."""
    pid = owner.get("pid")
    if owner.get("host") != os.uname().nodename or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return owner.get("start") != _start_of(pid)  # else its number belongs to another now


def _start_of(pid: int) -> str:
    """Return when a process began, in a form that identifies it; empty if that is unknown."""
    birth = ProcTable().birth(pid)
    return "" if birth is None else str(birth.began_at)


def holder_of(path: str) -> dict[str, object] | None:
    """Return the owner of a journal's lock, ``None`` if no run on this machine holds it.

    For a run on another machine, or on a network file system, return the owner in the lock file
    unless that is known to have ended.
    """
    name = os.path.realpath(path) + "-lock"
    if name in _held:  # opening the file here would release the lock
        return {"pid": os.getpid(), "host": os.uname().nodename}
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)  # others may read it, and no more
    except OSError:
        return None
    try:
        owner = _owner(fd)
        try:
            fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return owner
        is_lockable = owner.get("host") == os.uname().nodename and not owner.get("by_name")
        return None if is_lockable or _is_dead(owner) else owner
    finally:
        os.close(fd)
