"""A worker process made as the caller's own: environment, settings of modules, logs, prints.

Owns what is sent for that, and the order in which it is taken in. What else a worker is given, and
what it does then, is known to those who start it: `bigpipe.executors.process_worker` and
`bigpipe.streaming.graph.part_process`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from bigpipe.environment import Environment, limit_threads, reseed_numpy
from bigpipe.log import LogForwarder
from bigpipe.prints import Place, settle_prints
from bigpipe.sharing.by_value import pass_on_by_value

__all__ = ["Message", "message", "settled"]

Message = tuple[bytes, int | None, Any]
"""The environment, threads of numerical libraries, and the worker's setup, pickled."""


class _Setup(Protocol):
    @property
    def threads(self) -> int | None: ...

    @property
    def place(self) -> Place: ...


S = TypeVar("S", bound=_Setup)


def message(threads: int | None, payload: Any) -> Message:
    """Return what a worker is to receive that has inherited nothing."""
    return pickle.dumps(Environment.capture()), threads, payload


def settled(
    inherited: S | None,
    receive: Callable[[], Message],
    unpickled: Callable[[Any], S],
    tell: Callable[[Any], object],
) -> S:
    """Make this process as the caller's; return its setup.

    Parameters
    ----------
    inherited : object or None
        The setup, if this process was forked from the caller's.
    receive : callable
        Waits for the `Message`, if it was not.
    unpickled : callable
        Makes the setup of what is third in that.
    tell : callable
        Sends a log record or a warning.
    """
    forwarder = LogForwarder(tell)
    setup = inherited
    if setup is None:
        packed, threads, payload = receive()
        environment = pickle.loads(packed)
        environment.apply()
        limit_threads(threads)  # before a library is imported, and starts a thread for each core
        forwarder.install()
        setup = unpickled(payload)
        environment.apply_module_settings()
        pass_on_by_value()
    forwarder.install()
    reseed_numpy()
    limit_threads(setup.threads)
    settle_prints(setup.place)
    return setup
