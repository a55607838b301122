"""Waiting on descriptors for as long as it takes.

Owns one wait, and why it is not one system call. What is waited for is up to the callers.
"""

from __future__ import annotations

import select

__all__ = ["polled"]

# Python runs a signal's handler between two instructions. A signal that comes after the last one
# and before the system call has begun would have to wait for the end of that.
SIGNAL_DELAY = 1.0  # seconds; arbitrary


def polled(poller: select.poll, timeout: float | None) -> list[tuple[int, int]]:
    """Poll, for some seconds or for ever, and let signals be handled meanwhile.

    Parameters
    ----------
    poller : select.poll
        With all that is waited for.
    timeout : float or None
        Seconds; ``None`` for ever.

    Returns
    -------
    list of (int, int)
        Descriptors and their events; none if the time is over.
    """
    if timeout is not None:
        return poller.poll(timeout * 1000)
    while not (ready := poller.poll(SIGNAL_DELAY * 1000)):
        pass
    return ready
