"""Who has a journal: one run at a time, and nobody once that run is dead.

Owns the file beside the journal that says so, and goes when the run ends. What is in the
journal is `bigpipe.journal_file`'s.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import suppress

from bigpipe.errors import JournalError
from bigpipe.process_table import ProcTable

__all__ = ["JournalLock", "holder_of"]

MAX_TRIES = 100  # to make a file that others remove; arbitrary, one or two are needed

_held: dict[str, JournalLock] = {}
"""Lock files of this process. A fork has none of the locks."""
os.register_at_fork(after_in_child=_held.clear)


class JournalLock:
    """The right to write to a journal.

    Parameters
    ----------
    path : str
        The journal.
    by_name : bool, optional
        Trust the existence of the file alone, as locks may not hold on this file system.
        A run that died on another machine is then in the way until the file is removed.

    Raises
    ------
    JournalError
        If another run has it. Says which.

    Notes
    -----
    A record lock (``fcntl``) is the process's own: children do not inherit it, and it goes
    with the process, however that ends. So a file that a dead run has left is in nobody's
    way. It would go, too, whenever this process closes any descriptor of the file: so
    nothing else here opens it, and what this process holds is noted in a dict.
    """

    def __init__(self, path: str, *, by_name: bool = False) -> None:
        self._journal = path
        self.path = os.path.realpath(path) + "-lock"
        if _held.setdefault(self.path, self) is not self:  # in one step: threads may race
            raise JournalError(
                f"the journal {path!r} is in use by another run in this process; wait for its "
                "end, or give another journal"
            )
        try:
            self._fd = self._made() if by_name else self._locked()
        except BaseException:
            del _held[self.path]
            raise

    def release(self) -> None:
        """Give it up."""
        if _held.get(self.path) is self:  # else in a child that was forked
            with suppress(OSError):  # the folder may be gone, with all in it
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
                    _sign(fd)
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
            _sign(fd)
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
        text = f"the journal {self._journal!r} is in use by {who}; wait for its end, or give "
        text += "another journal"
        return JournalError(
            f"{text}. If that run is no more, remove {self.path!r}" if remedy else text
        )


def _sign(fd: int) -> None:
    began = time.strftime("%Y-%m-%d %H:%M:%S")
    owner = {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "began": began,
        "start": _start_of(os.getpid()),
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
    """Whether who has signed is known to be gone."""
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
    """Return when a process began, in a form that is its own; empty where that is not told."""
    birth = ProcTable().birth(pid)
    return "" if birth is None else str(birth.began_at)


def holder_of(path: str) -> dict[str, object] | None:
    """Return who writes to a journal now, ``None`` if nobody does; on this machine.

    Of a run on another machine, or on a file system of several, the one that has signed.
    """
    name = os.path.realpath(path) + "-lock"
    if name in _held:  # to open it here would give it up
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
        return None if _is_dead(owner) or owner.get("host") == os.uname().nodename else owner
    finally:
        os.close(fd)
