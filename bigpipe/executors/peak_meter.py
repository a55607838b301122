"""The peak memory of this process while it has one file.

Owns the reset of the kernel's high-water mark. Processes that a hook starts have marks of their
own; `bigpipe.tree_meter` measures them.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress

from bigpipe.system.process_table import Memory, memory_from
from bigpipe.tree_meter import system_table

__all__ = ["WORTH_LOOKING", "PeakMeter"]

WORTH_LOOKING = 1 << 20  # bytes of growth below which its kind does not matter; arbitrary

_CLEAR_PEAK = b"5"  # written to clear_refs: peak RSS becomes current RSS, see proc(5)
_PEAK_LINE = re.compile(rb"^VmHWM:\s*([0-9]+) kB$", re.MULTILINE)
_RUSAGE_SLACK = 4 << 20  # bytes: how far the kernel's two figures of one peak differ; arbitrary


class PeakMeter:
    """Measure the highest resident memory of this process since the last reset.

    Attributes
    ----------
    resets : bool
        Whether `reset` has an effect. It needs ``/proc/self/clear_refs`` (on Linux, but not in
        every container). Without it, `peak` is the highest since the process began.
    reserved : int
        Private bytes of this process when the meter was made, before its first file: without
        mapped files, shared memory, and pages still shared with the process it was forked from.

    Notes
    -----
    The figure is that of the whole process, including other threads and memory held before. The
    kernel counts pages in batches for each core, so it may be off by some hundred kB. A reset and
    a reading take 2 us together. In a process started by ``exec``, the kernel's cheaper figure
    still includes the peak of the program before; where that shows, the peak is read from
    ``/proc/self/status`` (10 us).

    Holds three file descriptors until `close`. Usable in a forked child from its first `reset`.

    Examples
    --------
    >>> meter = PeakMeter()
    >>> meter.reset()
    >>> meter.peak() > 1_000_000
    True
    >>> meter.close()
    """

    def __init__(self) -> None:
        self._statm: int | None = None
        self._clear: int | None = None
        self._status: int | None = None
        self._pid = -1
        self._use_status = False
        self.resets = False
        self.reserved = 0
        self._open()

    def _open(self) -> None:
        # /proc/self is resolved when opened: after a fork it would still be the parent's.
        self.close()
        self._pid = os.getpid()
        with suppress(OSError):  # not Linux
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        with suppress(OSError):  # not Linux, or /proc is read-only: the lifetime's peak is told
            self._clear = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
            os.pwrite(self._clear, _CLEAR_PEAK, 0)
            self.resets = self._peak_from_status() is not None
        if self.resets:
            peak = self._peak_from_status() or 0
            self._use_status = _peak_from_rusage() > peak + _RUSAGE_SLACK
        self._before = self._memory()
        self.reserved = _own_memory(self._pid)

    def _memory(self) -> Memory:
        text = b"" if self._statm is None else os.pread(self._statm, 256, 0)
        return memory_from(text) or Memory(0, 0, 0)

    def reset(self) -> None:
        """Reset the peak to the memory that is resident now."""
        if self._pid != os.getpid():
            self._open()
        if self.resets and self._clear is not None:
            os.pwrite(self._clear, _CLEAR_PEAK, 0)

    def peak(self) -> int:
        """Return the highest resident memory since the last reset, in bytes."""
        if self._use_status and self._pid == os.getpid():
            return self._peak_from_status() or _peak_from_rusage()
        return _peak_from_rusage()

    def growth(self, peak: int) -> int | None:
        """Return how far the peak since the last reset was above `reserved`.

        Parameters
        ----------
        peak : int
            The value that `peak` returned.

        Returns
        -------
        int or None
            Bytes, never below 0; ``None`` where the peak cannot be reset.

        Notes
        -----
        Call this while the keywords of the file still exist: mapped files and shared memory, such
        as large keywords, are in the peak, and their current size is subtracted. The result is
        therefore too low if a hook has mapped more of them after the peak. A page shared with the
        process that this one was forked from is resident both before and after it is written to,
        so such copies show only in `bigpipe.tree_meter`.
        """
        if not self.resets:
            return None
        growth = peak - self._before.resident
        if growth > WORTH_LOOKING:
            growth -= self._memory().shared - self._before.shared
        return max(0, growth)

    def held(self) -> int:
        """Return by how many bytes the resident memory now exceeds that before the first file.

        Mapped files and shared memory are not counted.
        """
        now, before = self._memory(), self._before
        return now.resident - before.resident - (now.shared - before.shared)

    def _peak_from_status(self) -> int | None:
        if self._status is None:
            return None
        match = _PEAK_LINE.search(os.pread(self._status, 1 << 14, 0))
        return int(match[1]) * 1024 if match else None

    def close(self) -> None:
        """Close the file descriptors. The meter no longer resets then."""
        for descriptor in (self._clear, self._status, self._statm):
            if descriptor is not None:
                os.close(descriptor)
        self._clear = self._status = self._statm = None
        self.resets = self._use_status = False


def _own_memory(pid: int) -> int:
    table = system_table()
    memory, pages = table.memory(pid), table.anonymous(pid)
    private = memory.private if memory is not None else 0
    return private if pages is None else max(0, private - (pages.total - pages.unshared))


def _peak_from_rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
