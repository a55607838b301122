"""Waiting for descriptors without delaying signals.

Owns one wait, and the reason why it is not a single system call. Callers choose the descriptors.
"""

from __future__ import annotations

import select

__all__ = ["polled"]

# Python runs a signal's handler between two instructions. A signal that arrives after the last
# instruction and before the system call begins is handled only when the call returns.
SIGNAL_DELAY = 1.0  # seconds; arbitrary


def polled(poller: select.poll, timeout: float | None) -> list[tuple[int, int]]:
    """Poll with or without a time limit; signals are handled meanwhile.

    Parameters
    ----------
    poller : select.poll
        With the descriptors to wait for.
    timeout : float or None
        Seconds; ``None`` for no limit.

    Returns
    -------
    list of (int, int)
        Descriptors and their events; empty after `timeout` seconds.
    """
    if timeout is not None:
        return poller.poll(timeout * 1000)
    while not (ready := poller.poll(SIGNAL_DELAY * 1000)):
        pass
    return ready
