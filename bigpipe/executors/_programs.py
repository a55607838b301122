"""Programs that hooks have started in a thread of this process, and that must end with a file.

Owns how they are found and signalled. Programs that the hooks of a worker process start end with
its process group. A thread has no such group, but the kernel knows which thread started a process.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from bigpipe.executors._strays import Stray, send_signal
from bigpipe.executors.launch import forkserver_pid
from bigpipe.system.process_table import ProcTable

__all__ = ["now", "programs_of", "signal_all"]

_table = ProcTable()


def now() -> int:
    """Return the time in the unit of `programs_of`: clock ticks since the system's start."""
    if not hasattr(time, "CLOCK_BOOTTIME"):
        return 0
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def programs_of(thread: int, since: int, *, table: ProcTable = _table) -> set[Stray]:
    """Return the programs that a thread has started since a moment, and their descendants.

    Parameters
    ----------
    thread : int
        Its native id.
    since : int
        The moment, as returned by `now`.
    table : ProcTable, optional
        The system's table of processes.

    Notes
    -----
    The set is empty except on Linux, whose kernel tells which thread started a process. It may
    contain a program that was started up to 10 ms before the moment. It leaves out processes that
    serve all threads, such as fork servers.
    """
    births = {pid: table.birth(pid) for pid in table.started_by(thread) - _servers()}
    started = {
        pid for pid, birth in births.items() if birth is not None and birth.began_at >= since
    }
    if started:
        births = {pid: table.birth(pid) for pid in table.pids()}
    programs: set[Stray] = set()
    while started:
        for pid in started:
            birth = births.pop(pid, None)
            if birth is not None:
                programs.add(Stray(pid, birth.began_at, has_own_session=False))
        started = {pid for pid, x in births.items() if x is not None and x.parent in started}
    return programs


def signal_all(programs: Iterable[Stray], number: int) -> None:
    """Send a signal to each program that has not ended."""
    for program in programs:
        send_signal(program, number)


def _servers() -> set[int | None]:
    """Return the processes that the standard library and bigpipe start once, in any thread."""
    servers = {forkserver_pid()}
    for name, server, pid in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_pid"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_pid"),
    ):
        servers.add(getattr(getattr(sys.modules.get(name), server, None), pid, None))
    return servers
