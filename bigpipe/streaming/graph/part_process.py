"""A part of a network in a process of its own: from its first line to its last.

Owns how the process is made as the caller's, and what becomes of signals. What the part does is
in `bigpipe.streaming.graph.part`, how the process begins in `bigpipe.executors.launch`.
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
from bigpipe.executors.worker import file_error
from bigpipe.interrupts import Interrupts, Terminated
from bigpipe.prints import Place
from bigpipe.streaming.graph.meter import Meter
from bigpipe.streaming.graph.network import Part
from bigpipe.streaming.graph.part import Ends, Failed, PartRunner
from bigpipe.streaming.graph.step_guard import StepFailed
from bigpipe.transport import Receiver, Sender

__all__ = ["UNLIMITED", "PartSetup", "Told", "main"]

UNLIMITED = 1 << 60  # events that may be under way: none is waited for


@dataclass
class PartSetup:
    """What a part needs to begin."""

    part: Part
    keywords: dict[str, Any]
    """For ``local_init``."""
    skips: bool
    """Whether an element on which a step raises is left out."""
    room: dict[int, int]
    """Elements that may be under way, by link that it sends on."""
    threads: int | None
    """Threads of numerical libraries; ``None``: as they are."""
    place: Place = field(default_factory=Place.without_bar)
    """Where the process prints."""


@dataclass
class Told:
    """A part has made a log record or a warning."""

    payload: Any
    """For `bigpipe.log.LogReceiver`."""


class _Events(Sender):
    """A sender that threads may use which a step starts: they may log."""

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
"""Set in the caller while it forks, where the process finds it: nothing is pickled then."""


def main(orders_fd: int, events_fd: int, page_fd: int, *link_fds: int) -> int:
    """Run a part; return the exit code.

    Parameters
    ----------
    orders_fd, events_fd : int
        Links from and to the caller.
    page_fd : int
        Memory for the figures.
    *link_fds : int
        Links that come in, then those that go out, as the part has them.
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
        interrupts.ignore()
        if runner is not None:
            with suppress(StepFailed):
                runner.close()  # the signal may have come just before
        with suppress(ConnectionError):
            events.close()
        interrupts.end_process()
    except (ConnectionError, EOFError):
        pass  # another part or the caller is gone, who is heard of elsewhere
    with suppress(ConnectionError):
        events.close()
    return 0


def _prepare(orders: Receiver, events: Sender) -> PartSetup | None:
    """Make this process as the caller's."""

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
        ends.senders[link] = Sender(next(fds), max_count=setup.room[link])
    return ends
