"""What Linux tells of the processes of the machine: kinship, and memory of each.

Owns the reading of ``/proc/PID``. What is made of the figures is `bigpipe.tree_meter` for
a worker with all that it has started, and `bigpipe.peak_meter` for this process. Where
there is no ``/proc``, `bigpipe.measure` has a table with the same methods.
"""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from typing import NamedTuple

__all__ = ["Anonymous", "Birth", "Kin", "Memory", "ProcTable", "memory_from"]

_PAGE = resource.getpagesize()
_LARGEST_TEXT = 1 << 14  # bytes: several times what the kernel writes into any of these files
_BEGAN_AT = 19  # place of the time of its start in what ``stat`` says of a process
_ROLLUP_LINE = re.compile(rb"^(\w+):\s*([0-9]+) kB$", re.MULTILINE)


class Kin(NamedTuple):
    """Whom a process belongs to."""

    parent: int
    """Process id; another process takes over when it ends."""
    group: int
    """Id of the process group, which is that of the group's first process."""


class Birth(NamedTuple):
    """What tells a process from another one that is given its number later, and its relations."""

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
    """Those of them that belong to a file or to shared memory, whoever else has them."""

    @property
    def private(self) -> int:
        """Resident pages of no file, those still shared with whom it was forked from too."""
        return max(0, self.resident - self.shared)


class Anonymous(NamedTuple):
    """Resident pages of no file, in bytes, exactly; it takes 20 us for each MiB to find out."""

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
        The folder that stands for ``/``.

    Notes
    -----
    A process that is gone, or not to be read, is ``None``; one that has ended and that
    nobody has waited for uses nothing.
    """

    def __init__(self, root: str = "/") -> None:
        self._proc = os.path.join(root, "proc")

    def exists(self) -> bool:
        """Return whether there is such a folder, with what this class needs."""
        return os.path.exists(os.path.join(self._proc, "self/statm"))

    def pids(self) -> set[int]:
        """Return the ids of all processes (0.6 us for each)."""
        return {int(name) for name in os.listdir(self._proc) if name.isdecimal()}

    def started_by(self, thread: int) -> set[int]:
        """Return the processes that a thread of this process has started, and that are there."""
        text = self._read(f"self/task/{thread}", "children") or b""
        return set(map(int, text.split()))

    def kin(self, pid: int) -> Kin | None:
        """Return whom a process belongs to (10 us)."""
        fields = self._fields(pid)
        return Kin(int(fields[1]), int(fields[2])) if len(fields) > 2 else None

    def birth(self, pid: int) -> Birth | None:
        """Return what a process was born as, and whom it belongs to (10 us)."""
        fields = self._fields(pid)
        if len(fields) <= _BEGAN_AT:
            return None
        return Birth(int(fields[1]), int(fields[2]), int(fields[3]), int(fields[_BEGAN_AT]))

    def memory(self, pid: int) -> Memory | None:
        """Return what a process has in memory (7 us)."""
        return memory_from(self._read(pid, "statm") or b"")

    def own_memory(self) -> Memory | None:
        """Return what this process has in memory."""
        return memory_from(self._read("self", "statm") or b"")

    def anonymous(self, pid: int) -> Anonymous | None:
        """Return how a process shares its pages; ``None`` also where Linux is older than 4.14.

        And for one that waits for a disk: the kernel might not answer before that does.
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
        """Return what ``stat`` says behind the name, which may itself have spaces and brackets."""
        return (self._read(pid, "stat") or b"").rpartition(b")")[2].split()

    def _read(self, pid: int | str, name: str) -> bytes | None:
        with suppress(OSError):
            file = os.open(f"{self._proc}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.read(file, _LARGEST_TEXT)
            finally:
                os.close(file)
        return None


def memory_from(statm: bytes) -> Memory | None:
    """Read what ``/proc/PID/statm`` says."""
    fields = statm.split(maxsplit=3)
    if len(fields) < 3:
        return None
    return Memory(int(fields[0]) * _PAGE, int(fields[1]) * _PAGE, int(fields[2]) * _PAGE)
