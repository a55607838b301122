"""A part of a network in its own process, from its first line to its last.

Owns how the process takes over the caller's environment, and how it handles signals.
`bigpipe.executors.launch` starts the process; `bigpipe.streaming.graph.part` is its work.
"""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bigpipe.executors._settling import settled
from bigpipe.executors.failures import file_error
from bigpipe.interrupts import Interrupts, Terminated
from bigpipe.prints import Place
from bigpipe.sharing.transport import Receiver, Sender
from bigpipe.streaming.graph.meter import Meter
from bigpipe.streaming.graph.network import Part
from bigpipe.streaming.graph.part import Ends, Failed, PartRunner
from bigpipe.streaming.graph.step_guard import StepFailed

__all__ = ["UNLIMITED", "PartSetup", "Told", "main"]

UNLIMITED = 1 << 60  # events on the way: sending one never waits


@dataclass
class PartSetup:
    """What a part needs to start."""

    part: Part
    keywords: dict[str, Any]
    """Keywords for ``local_init``."""
    skips: bool
    """Whether an element is skipped if the step raises on it."""
    prefetch: int
    """Most elements that may be on the way on an outgoing link."""
    threads: int | None
    """Threads of numerical libraries; ``None``: not changed."""
    place: Place = field(default_factory=Place.without_bar)
    """Where the process prints."""


@dataclass
class Told:
    """Event: a part has made a log record or a warning."""

    payload: Any
    """The record, for `bigpipe.log.LogReceiver`."""


class _Events(Sender):
    """A sender that threads of a step may also use, as they may log."""

    def __init__(self, fd: int, *, max_count: int) -> None:
        super().__init__(fd, max_count=max_count)
        self._lock = threading.RLock()

    def post(self, obj: Any) -> None:
        with self._lock:
            super().post(obj)

    def may_send(self) -> bool:
        with self._lock:
            return super().may_send()


inherited: PartSetup | None = None
"""Set in the caller while it forks, so that the forked process finds it without pickling."""


def main(orders_fd: int, events_fd: int, page_fd: int, *link_fds: int) -> int:
    """Run a part; return the exit code.

    Parameters
    ----------
    orders_fd, events_fd : int
        Links from and to the caller.
    page_fd : int
        Shared memory for the figures.
    *link_fds : int
        Incoming links, then outgoing ones, in the order of the part.
    """
    interrupts = Interrupts(lambda: True)
    interrupts.install()
    orders = Receiver(orders_fd)
    events = _Events(events_fd, max_count=UNLIMITED)
    runner: PartRunner | None = None
    try:
        setup = _prepare(orders, events)
        if setup is not None:
            meter = Meter(page_fd)
            os.close(page_fd)
            ends = _ends(setup, orders, events, link_fds)
            runner = PartRunner(setup.part, ends, meter, setup.keywords, setup.skips)
            runner.run()
    except Terminated:
        interrupts.is_deaf = True
        if runner is not None:
            with suppress(StepFailed):
                runner.close()  # in case the signal came before it could
        with suppress(ConnectionError):
            events.close()
        interrupts.end_process()
    except (ConnectionError, EOFError):
        pass  # another part or the caller is gone, which is reported elsewhere
    with suppress(ConnectionError):
        events.close()
    return 0


def _prepare(orders: Receiver, events: Sender) -> PartSetup | None:
    """Set this process up like the caller's; return the setup of the part."""

    def tell(payload: Any) -> None:
        with suppress(ConnectionError):
            events.post(Told(payload))

    try:
        return settled(inherited, orders.receive, pickle.loads, tell)
    except Terminated:
        raise
    except Exception as raised:  # importing the caller's modules may raise anything
        events.post(Failed(file_error(raised, "start of the process", None), None))
        return None


def _ends(setup: PartSetup, orders: Receiver, events: Sender, link_fds: Sequence[int]) -> Ends:
    fds = iter(link_fds)
    ends = Ends(orders, events)
    for link in setup.part.links_in:
        ends.receivers[link] = Receiver(next(fds))
    for link in setup.part.links_out:
        ends.senders[link] = Sender(next(fds), max_count=setup.prefetch)
    return ends
