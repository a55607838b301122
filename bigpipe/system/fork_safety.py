"""Whether this process can be forked while it has other threads.

Owns the decision that a default start method rests on, and the warning for a caller who chose
``'fork'``. `bigpipe.executors.launch` forks.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from bigpipe.environment import thread_libraries
from bigpipe.errors import warn

__all__ = ["fork_is_safe", "warn_if_fork_is_unsafe"]

MAX_SHOWN = 5  # names of threads in the warning; arbitrary
OWN_PREFIX = "bigpipe-"  # of the names of bigpipe's threads
ALL_SIGNALS = 0x7FFBFEFF  # the first 31, without those that cannot be blocked: SIGKILL, SIGSTOP


def fork_is_safe() -> bool:
    """Tell whether a fork of this process can do without its other threads.

    Returns
    -------
    bool
        True if nobody else can hold a lock at this moment: one Python thread, and no
        native threads but those of OpenBLAS, which ends them before a fork and starts
        them again after it. False where native threads cannot be counted.
    """
    return threading.active_count() == 1 and _n_foreign(1) == 0


def warn_if_fork_is_unsafe() -> None:
    """Warn a caller who gave ``start_method='fork'`` in a process that has other threads.

    bigpipe's own threads do not count, nor do native threads that cannot be counted or that only
    watch, such as the one of `faulthandler`.
    """
    if fork_is_safe():
        return
    threads = threading.enumerate()
    me = threading.current_thread()
    names = [
        each.name for each in threads if each is not me and not each.name.startswith(OWN_PREFIX)
    ]
    shown = ", ".join(map(repr, names[:MAX_SHOWN]))
    if len(names) > MAX_SHOWN:
        shown += f" and {len(names) - MAX_SHOWN} more"
    n_foreign = (_n_foreign(len(threads)) or 0) - _n_watchers()
    if n_foreign > 0:
        shown += f"{' and ' if shown else ''}{n_foreign} of a library that is not written in Python"
    if shown:
        warn(
            "start_method='fork' copies a process that has other threads: "
            f"{shown}. A lock that such a thread holds at that moment is never released in the "
            "worker, whose files may then hang. Leave out start_method, so that bigpipe uses "
            "'forkserver' while there are other threads; or end the threads before the run"
        )


def _n_foreign(n_python: int) -> int | None:
    """Return the number of native threads that are neither Python's nor OpenBLAS's."""
    try:
        n_native = len(os.listdir("/proc/self/task"))
    except OSError:
        return None
    beside = max(0, n_native - n_python)
    known = _n_openblas_threads() if beside else 0
    return beside - known if beside >= known else beside  # fewer are not those of OpenBLAS


def _n_watchers() -> int:
    """Return the number of native threads that block all signals, as those do that only watch."""
    n_watchers = 0
    for task in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else ():
        with suppress(OSError), open(f"/proc/self/task/{task}/status", encoding="ascii") as file:
            blocked = next(line for line in file if line.startswith("SigBlk:"))
            n_watchers += int(blocked.split()[1], 16) & ALL_SIGNALS == ALL_SIGNALS
    return n_watchers


def _n_openblas_threads() -> int:
    return sum(
        library.num_threads - 1
        for library in thread_libraries()
        if library.internal_api == "openblas"
        and getattr(library, "threading_layer", None) == "pthreads"
    )
