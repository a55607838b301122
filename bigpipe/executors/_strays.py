"""Programs of a worker's hooks that have left its process group, by ``setsid`` for instance.

Owns how they are found and signalled. When, is up to `bigpipe.executors.launch`.

What is in the group is reached by a signal to the group. What is not is found among the worker's
descendants, as long as the worker lives: when it ends, its children are given to another
parent. So they are noted before a worker is ended, each with the time of its start, by which it is
told from another process that has its number since.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Container
from contextlib import suppress
from typing import NamedTuple

from bigpipe.process_table import Birth, ProcTable

__all__ = ["Stray", "send_signal", "strays_of"]

_table = ProcTable()


class Stray(NamedTuple):
    """A descendant of a worker, outside of its process group."""

    pid: int
    began_at: int
    """Clock ticks of the system at its start."""
    has_own_session: bool
    """Whether it is in another session than the worker. Inner workers are not."""


def strays_of(*workers: int, table: ProcTable = _table) -> dict[int, set[Stray]]:
    """Return, for each worker, its descendants that are not in the group that it leads.

    None where ``/proc`` is not there or cannot be listed, and of a worker that has ended. Takes
    10 us for each process of the machine, however many workers there are.
    """
    strays: dict[int, set[Stray]] = {worker: set() for worker in workers}
    if not table.exists():
        return strays
    try:
        pids = table.pids()
    except OSError:  # no descriptor is left to look with; what is in the group is ended even so
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
    passed = set()  # a number that was given anew while all were read may lead in a circle
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
            # From here on, the descriptor stands for whoever has the number now.
            birth = _table.birth(stray.pid)
            if birth is not None and birth.began_at == stray.began_at:
                signal.pidfd_send_signal(fd, number)
        finally:
            os.close(fd)
