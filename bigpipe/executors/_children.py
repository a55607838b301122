"""How a child of this process ended, and the end of its process group.

Owns the system calls. `bigpipe.executors.launch` and `bigpipe.executors._forkserver` decide which
children are reaped, and when.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

__all__ = ["UNKNOWN_EXIT", "ended", "kill_group", "reap"]

UNKNOWN_EXIT = 255  # reaped by someone else, or SIGCHLD is ignored: the code is lost


def ended(pid: int, *, wait: bool = False) -> int | None:
    """Return how a child ended, without reaping it where the system allows that.

    Parameters
    ----------
    pid : int
        A child of this process. Until it is reaped, no other process can get its number, so it is
        safe to signal its group.
    wait : bool, optional
        Wait until it has ended.

    Returns
    -------
    int or None
        Its exit code; minus the signal that killed it; `UNKNOWN_EXIT`; ``None`` while it runs.
    """
    try:
        if not hasattr(os, "waitid"):  # macOS before Python 3.13
            reaped, status = os.waitpid(pid, 0 if wait else os.WNOHANG)
            return os.waitstatus_to_exitcode(status) if reaped else None
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG))
    except ChildProcessError:
        return UNKNOWN_EXIT
    if result is None:
        return None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def reap(pid: int) -> None:
    """Free the process number of a child that has ended."""
    with suppress(ChildProcessError):  # already done, by `ended` or by someone else
        os.waitpid(pid, 0)


def kill_group(pid: int) -> None:
    """Kill every remaining process of the group that a child leads."""
    with suppress(ProcessLookupError, PermissionError):  # macOS: all that is left is a zombie
        os.killpg(pid, signal.SIGKILL)
