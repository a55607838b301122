"""The processes of a Linux machine: their parents, groups and memory.

Owns the reading of ``/proc/PID``. `bigpipe.tree_meter` uses the figures for a worker with all that
it has started, `bigpipe.executors.peak_meter` for this process. For systems without ``/proc``,
`bigpipe.measure` has a table with the same methods.
"""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from typing import NamedTuple

from bigpipe.interrupts import Postponed

__all__ = ["Anonymous", "Birth", "Kin", "Memory", "ProcTable", "memory_from"]

_PAGE = resource.getpagesize()
_LARGEST_TEXT = 1 << 14  # bytes: several times what the kernel writes into any of these files
_BEGAN_AT = 19  # position of the start time among the fields of ``stat`` after the name
_ROLLUP_LINE = re.compile(rb"^(\w+):\s*([0-9]+) kB$", re.MULTILINE)


class Kin(NamedTuple):
    """The parent and process group of a process."""

    parent: int
    """Process id; another process takes over when it ends."""
    group: int
    """Id of the process group, which is that of the group's first process."""


class Birth(NamedTuple):
    """The identity of a process, which tells it from a later one with the same number."""

    parent: int
    group: int
    session: int
    """Id of the session, which is that of its first process."""
    began_at: int
    """Clock ticks of the system at its start."""


class Memory(NamedTuple):
    """Memory of one process, in bytes; off by some hundred kB, as the kernel counts in batches."""

    size: int
    """Address space."""
    resident: int
    """Pages in memory."""
    shared: int
    """Those of them that belong to a file or to shared memory, shared with others or not."""

    @property
    def private(self) -> int:
        """Resident pages without a file, including those shared with the process it forked from."""
        return max(0, self.resident - self.shared)


class Anonymous(NamedTuple):
    """Resident pages without a file, in bytes; exact, but takes 20 us per MiB to count."""

    total: int
    """All, as `Memory.private` counts them."""
    unshared: int
    """Those that no other process has."""
    divided: int
    """Each page divided by the number of processes that have it."""


class ProcTable:
    """The processes that Linux shows below ``/proc``.

    Parameters
    ----------
    root : str, optional
        The folder to use as ``/``.

    Notes
    -----
    Methods return ``None`` for a process that is gone or cannot be read. A process that has ended
    but has not been waited for uses no memory.
    """

    def __init__(self, root: str = "/") -> None:
        self._proc = os.path.join(root, "proc")

    def exists(self) -> bool:
        """Return whether the folder exists, with the files that this class needs."""
        return os.path.exists(os.path.join(self._proc, "self/statm"))

    def pids(self) -> set[int]:
        """Return the ids of all processes (0.6 us for each)."""
        return {int(name) for name in os.listdir(self._proc) if name.isdecimal()}

    def started_by(self, thread: int) -> set[int]:
        """Return the existing processes that a thread of this process has started."""
        text = self._read(f"self/task/{thread}", "children") or b""
        return set(map(int, text.split()))

    def kin(self, pid: int) -> Kin | None:
        """Return the parent and process group of a process (10 us)."""
        fields = self._fields(pid)
        return Kin(int(fields[1]), int(fields[2])) if len(fields) > 2 else None

    def birth(self, pid: int) -> Birth | None:
        """Return the identity of a process, with its parent and group (10 us)."""
        fields = self._fields(pid)
        if len(fields) <= _BEGAN_AT:
            return None
        return Birth(int(fields[1]), int(fields[2]), int(fields[3]), int(fields[_BEGAN_AT]))

    def memory(self, pid: int) -> Memory | None:
        """Return the memory of a process (7 us)."""
        return memory_from(self._read(pid, "statm") or b"")

    def own_memory(self) -> Memory | None:
        """Return the memory of this process."""
        return memory_from(self._read("self", "statm") or b"")

    def anonymous(self, pid: int) -> Anonymous | None:
        """Return how a process shares its pages; ``None`` also on Linux older than 4.14.

        Also ``None`` for a process that waits for a disk, as the kernel might not answer before
        the disk does.
        """
        if self._fields(pid)[:1] == [b"D"]:
            return None
        lines = dict(_ROLLUP_LINE.findall(self._read(pid, "smaps_rollup") or b""))
        if b"Anonymous" not in lines:
            return None
        kib = {name: int(number) * 1024 for name, number in lines.items()}
        total = kib[b"Anonymous"]
        unshared = kib.get(b"Private_Clean", 0) + kib.get(b"Private_Dirty", 0)  # files too
        divided = kib.get(b"Pss_Anon", kib.get(b"Pss", total))  # Pss_Anon: since Linux 5.4
        return Anonymous(total, min(total, unshared), min(total, divided))

    def _fields(self, pid: int) -> list[bytes]:
        """Return the fields of ``stat`` after the name, which may contain spaces and brackets."""
        return (self._read(pid, "stat") or b"").rpartition(b")")[2].split()

    def _read(self, pid: int | str, name: str) -> bytes | None:
        with Postponed(), suppress(OSError):  # or the descriptor might stay open
            file = os.open(f"{self._proc}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, _LARGEST_TEXT)
            finally:
                os.close(file)
        return None


def memory_from(statm: bytes) -> Memory | None:
    """Parse the contents of ``/proc/PID/statm``."""
    fields = statm.split(maxsplit=3)
    if len(fields) < 3:
        return None
    return Memory(int(fields[0]) * _PAGE, int(fields[1]) * _PAGE, int(fields[2]) * _PAGE)
