"""The parts of a network, each in a process or a thread, seen from the caller.

Owns how they are started, joined and ended. `bigpipe.streaming.graph.crew` decides which, and when.
"""

from __future__ import annotations

import io
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from bigpipe.errors import UnsendableError
from bigpipe.executors import launch
from bigpipe.executors._settling import message
from bigpipe.executors.failures import file_error
from bigpipe.interrupts import Heard
from bigpipe.sharing.arrays import pickler_class
from bigpipe.sharing.snapshot import anonymous_file
from bigpipe.sharing.transport import Receiver, Sender, open_link
from bigpipe.streaming.graph import part_process
from bigpipe.streaming.graph.local_links import LocalReceiver, LocalSender, open_local_link
from bigpipe.streaming.graph.meter import PAGE_SIZE, Meter
from bigpipe.streaming.graph.network import CALLER, Network, Part
from bigpipe.streaming.graph.part import Ends, Failed, PartRunner
from bigpipe.streaming.graph.part_process import UNLIMITED, PartSetup
from bigpipe.system.fork_safety import fork_is_safe, warn_if_fork_is_unsafe

__all__ = ["Member", "ProcessMembers", "ThreadMembers"]

TARGET = "bigpipe.streaming.graph.part_process:main"


class Member(ABC):
    """A running part.

    Attributes
    ----------
    part : Part
        The part.
    meter : Meter
        Its figures.
    orders, events
        A sender of orders and a receiver of events.
    """

    def __init__(self, part: Part, meter: Meter, orders: Any, events: Any) -> None:
        self.part = part
        self.meter = meter
        self.orders = orders
        self.events = events

    pid: int | None = None
    """Process id."""

    @abstractmethod
    def fileno(self) -> int:
        """Return a descriptor that is readable when it has ended."""

    @abstractmethod
    def exitcode(self) -> int:
        """Wait for the end; return the exit code, 0 for success."""

    @abstractmethod
    def terminate(self) -> None:
        """Make it end soon."""

    def kill(self) -> None:  # noqa: B027 - threads cannot be killed
        """End it now, if possible."""

    def close(self) -> None:
        """Free its resources, after its end."""
        self.meter.keep()
        self.orders.abandon()
        self.events.close()


class _ProcessMember(Member):
    def __init__(self, part: Part, meter: Meter, fds: tuple[int, int], child: launch.Child) -> None:
        self._fds = fds
        super().__init__(part, meter, Sender(fds[0], max_count=UNLIMITED), Receiver(fds[1]))
        self._child = child
        self.pid = child.pid

    def fileno(self) -> int:
        return self._child.fileno()

    def exitcode(self) -> int:
        return self._child.wait() or 0

    def terminate(self) -> None:
        self._child.terminate()

    def kill(self) -> None:
        self._child.kill_group()

    def close(self) -> None:
        with launch.no_fork():
            for fd in self._fds:
                launch.forget_parent_fd(fd)
            super().close()
        self._child.close()


class ProcessMembers:
    """Starts the parts of a network in processes.

    Parameters
    ----------
    network : Network
        The network.
    method : {None, 'fork', 'forkserver', 'spawn'}
        Start method. ``None``: the fastest one that is safe.
    """

    def __init__(self, network: Network, method: str | None) -> None:
        self._network = network
        if method == "fork":
            warn_if_fork_is_unsafe()
        self._method = method or ("fork" if fork_is_safe() else "forkserver")
        self._fds: dict[tuple[int, bool], int] = {}  # by link, and whether that end receives
        self.receivers: dict[int, Receiver] = {}

    def open_links(self) -> None:
        """Make the links, with a receiver for each that leads to the caller."""
        with launch.no_fork():
            for link, (_, _, taker) in enumerate(self._network.links):
                for is_receiving, fd in enumerate(open_link()):
                    launch.register_parent_fd(fd)
                    self._fds[link, bool(is_receiving)] = fd
                if taker == CALLER:
                    self.receivers[link] = Receiver(self._fds[link, True])

    def start(self, setup: PartSetup) -> Member:
        """Start a part."""
        with Heard():  # pickling may take long, and may be interrupted
            payload = b"" if self._method == "fork" else _packed(setup)
        page_fd = anonymous_file()
        os.ftruncate(page_fd, PAGE_SIZE)
        fds = self._fds_of(setup.part)
        kept: list[int] = []
        copies: list[int] = []
        with launch.no_fork():
            try:
                orders, orders_there = open_link()
                events_there, events = open_link()
                kept += [orders, events]
                for fd in kept:
                    launch.register_parent_fd(fd)
                # Not registered: only the forked process is to inherit them.
                copies += [orders_there, events_there, page_fd]
                for fd in fds:
                    copies.append(os.dup(fd))
                meter = Meter(page_fd)
                child = self._begin(setup, copies)
            except BaseException:
                for fd in kept:
                    launch.close_parent_fd(fd)
                raise
            finally:
                for fd in copies:
                    os.close(fd)
                for fd in fds:
                    launch.close_parent_fd(fd)
        member = _ProcessMember(setup.part, meter, (orders, events), child)
        if self._method != "fork":
            member.orders.post(message(setup.threads, payload))
        return member

    def _fds_of(self, part: Part) -> list[int]:
        ins = [self._fds.pop((link, True)) for link in part.links_in]
        return ins + [self._fds.pop((link, False)) for link in part.links_out]

    def _begin(self, setup: PartSetup, fds: Sequence[int]) -> launch.Child:
        if self._method != "fork":
            return launch.start(self._method, TARGET, fds)
        part_process.inherited = setup
        try:
            return launch.start("fork", TARGET, fds)
        finally:
            part_process.inherited = None

    def close(self) -> None:
        """Close the links to the caller, and those of parts that were never started."""
        with launch.no_fork():
            for link, receiver in self.receivers.items():
                launch.forget_parent_fd(self._fds.pop((link, True)))
                receiver.close()
        self.receivers.clear()
        while self._fds:
            launch.close_parent_fd(self._fds.popitem()[1])


def _packed(setup: PartSetup) -> bytes:
    file = io.BytesIO()
    try:
        pickler_class()(file, protocol=5).dump(setup)
    except Exception as error:  # an object's pickling may raise anything
        remedy = (
            "give a function that makes it"
            if setup.part.node.kind == "source"
            else "make what cannot be sent in local_init"
        )
        raise UnsendableError(
            f"the stage {setup.part.node.name!r} cannot be sent to a process "
            f"({type(error).__name__}: {error}); {remedy}, or use executor='threads'"
        ) from error
    return file.getvalue()


class _ThreadMember(Member):
    def __init__(self, part: Part, orders: Any, events: Any, ends: Ends, setup: PartSetup) -> None:
        super().__init__(part, Meter(), orders, events)
        self._must_end = threading.Event()
        ends.is_over = self._must_end.is_set
        self._ends = ends
        self._setup = setup
        self._ending, self._ended = open_local_link(1)
        self._thread = threading.Thread(
            target=self._run, name=f"bigpipe-{part.node.name}", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        ends, setup = self._ends, self._setup
        try:
            PartRunner(setup.part, ends, self.meter, setup.keywords, setup.skips).run()
        except (ConnectionError, EOFError):
            pass  # another part or the caller is gone, which is reported elsewhere
        except BaseException as error:  # an error of bigpipe itself: report it
            with suppress(ConnectionError):
                ends.events.post(Failed(file_error(error, setup.part.node.name, None), None))
        finally:
            ends.events.close()
            ends.orders.close()
            self._ending.close()

    def fileno(self) -> int:
        return self._ended.fileno()

    def exitcode(self) -> int:
        self._thread.join()
        return 0

    def terminate(self) -> None:
        self._must_end.set()
        self.orders.abandon()

    def close(self) -> None:
        self._thread.join()
        super().close()
        self._ended.close()


class ThreadMembers:
    """Starts the parts of a network in threads, which pass on the elements themselves."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._senders: dict[int, LocalSender] = {}
        self._receivers: dict[int, LocalReceiver] = {}
        self.receivers: dict[int, LocalReceiver] = {}

    def open_links(self) -> None:
        """Make the links."""
        for link, (_, _, taker) in enumerate(self._network.links):
            self._senders[link], receiver = open_local_link(1)
            (self.receivers if taker == CALLER else self._receivers)[link] = receiver

    def start(self, setup: PartSetup) -> Member:
        """Start a part."""
        orders, orders_there = open_local_link(UNLIMITED)
        events_there, events = open_local_link(UNLIMITED)
        ends = Ends(orders_there, events_there)
        for link in setup.part.links_in:
            ends.receivers[link] = self._receivers.pop(link)
        for link in setup.part.links_out:
            ends.senders[link] = self._senders.pop(link)
            ends.senders[link].max_count = setup.prefetch
        return _ThreadMember(setup.part, orders, events, ends, setup)

    def close(self) -> None:
        """Close the links to the caller, and those of parts that were never started."""
        for end in (*self.receivers.values(), *self._receivers.values()):
            end.close()
        for sender in self._senders.values():
            sender.abandon()
        self.receivers.clear()
        self._receivers.clear()
        self._senders.clear()
