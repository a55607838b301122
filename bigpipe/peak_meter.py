"""The most that this process has had in memory while it had one file.

Owns the resetting of the kernel's high-water mark. Processes that a hook has started have
marks of their own: they are in what `bigpipe.tree_meter` measures.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from contextlib import suppress

from bigpipe.process_table import Memory, memory_from
from bigpipe.tree_meter import system_table

__all__ = ["WORTH_LOOKING", "PeakMeter"]

WORTH_LOOKING = 1 << 20  # bytes of growth: of less it does not matter what kind it is; arbitrary

_CLEAR_PEAK = b"5"  # written to clear_refs: peak RSS becomes current RSS, see proc(5)
_PEAK_LINE = re.compile(rb"^VmHWM:\s*([0-9]+) kB$", re.MULTILINE)
_RUSAGE_SLACK = 4 << 20  # bytes: how far the kernel's two figures of one peak differ; arbitrary


class PeakMeter:
    """Measure the highest resident memory of this process since a moment.

    Attributes
    ----------
    resets : bool
        Whether `reset` has an effect. It needs ``/proc/self/clear_refs`` (Linux, and
        not every container); without it, `peak` is the highest since the process began.
    reserved : int
        Bytes that this process had for itself when the meter was made, before its first
        file: without mapped files and shared memory, nor pages that are still those of the
        process it was forked from.

    Notes
    -----
    The figure belongs to the process: what other threads hold is in it, and what was
    held before. The kernel counts pages in batches for each core, so it may be off by
    some hundred kB. A reset and a reading cost 2 us together. In a process that was
    started by ``exec``, the kernel's cheaper figure keeps the peak of whoever started it for
    ever; where that shows, the peak is read from ``/proc/self/status`` (10 us).

    Holds three file descriptors until `close`. Usable after a fork, in the child from its
    first `reset` on.

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
        # /proc/self is resolved when it is opened: after a fork it would be the parent's.
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
        """Start anew: the peak is now what is resident now."""
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
            What `peak` has returned.

        Returns
        -------
        int or None
            Bytes, never below 0; ``None`` where the peak cannot be reset.

        Notes
        -----
        To be asked while the keywords of the file are still there: mapped files and shared
        memory, as large keywords are, were in the peak and are taken off as they are now.
        Too low, therefore, if a hook has mapped more of them after the peak. A page of the
        process that this one was forked from is resident before and after it is written
        to: such copies show in `bigpipe.tree_meter` alone.
        """
        if not self.resets:
            return None
        growth = peak - self._before.resident
        if growth > WORTH_LOOKING:
            growth -= self._memory().shared - self._before.shared
        return max(0, growth)

    def held(self) -> int:
        """Return the bytes that are resident beyond those before the first file, now.

        Mapped files and shared memory are left out.
        """
        now, before = self._memory(), self._before
        return now.resident - before.resident - (now.shared - before.shared)

    def _peak_from_status(self) -> int | None:
        if self._status is None:
            return None
        match = _PEAK_LINE.search(os.pread(self._status, 1 << 14, 0))
        return int(match[1]) * 1024 if match else None

    def close(self) -> None:
        """Give the file descriptors back. The meter then no longer resets."""
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
