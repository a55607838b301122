"""Programs of a worker's hooks that have left its process group, by ``setsid`` for instance.

Owns how they are found and signalled. `bigpipe.executors.launch` decides when.

A signal to the group reaches the processes in it. Others are found among the worker's descendants,
but only while the worker lives: when it ends, its children get another parent. So they are noted
before a worker is ended, each with the time of its start, which tells it from a later process with
the same number.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container
from contextlib import suppress
from typing import NamedTuple

from bigpipe.system.process_table import Birth, ProcTable

__all__ = ["Stray", "send_signal", "strays_of"]

_table = ProcTable()


class Stray(NamedTuple):
    """A descendant of a worker, outside its process group."""

    pid: int
    began_at: int
    """Clock ticks of the system at its start."""
    has_own_session: bool
    """Whether it is in another session than the worker. Nested workers are not."""


def strays_of(*workers: int, table: ProcTable = _table) -> dict[int, set[Stray]]:
    """Return, for each worker, its descendants outside the group that it leads.

    The set is empty if ``/proc`` is missing or cannot be listed, and for a worker that has ended.
    Takes 10 us for each process of the machine, however many workers there are.
    """
    strays: dict[int, set[Stray]] = {worker: set() for worker in workers}
    if not table.exists():
        return strays
    try:
        pids = table.pids()
    except OSError:  # no descriptor is left to list them; the group is ended all the same
        return strays
    births = {pid: birth for pid in pids if (birth := table.birth(pid)) is not None}
    for pid, birth in births.items():
        worker = _ancestor(pid, strays, births)
        if worker is not None and birth.group != worker:
            in_session = birth.session == births[worker].session
            strays[worker].add(Stray(pid, birth.began_at, not in_session))
    return strays


def _ancestor(pid: int, workers: Container[int], births: dict[int, Birth]) -> int | None:
    """Return the worker that a process descends from."""
    passed = set()  # a number reused while all were being read may lead in a circle
    while pid in births and pid not in passed:
        passed.add(pid)
        pid = births[pid].parent
        if pid in workers and pid in births:
            return pid
    return None


def send_signal(stray: Stray, number: int) -> None:
    """Send a signal, unless the process has ended."""
    with suppress(OSError):  # it has; or it belongs to another user
        fd = os.pidfd_open(stray.pid)
        try:
            # The descriptor stands for the process that has the number now: check which it is.
            birth = _table.birth(stray.pid)
            if birth is not None and birth.began_at == stray.began_at:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)
