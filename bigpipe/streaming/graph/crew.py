"""A running network: starts its parts, receives their messages and ends them.

Owns the one place where the caller waits, and the order in which a run begins and ends.
`bigpipe.streaming.graph.members` starts a part, `bigpipe.streaming.graph.part` is its work.

::

    caller <----- outputs ------------------- part ---> part
       |   <----- events: log, skipped, failed, waiting, done --'
       |   ------ orders: more room, a loop is over ---> part
       '-- readable when a process has ended

Elements go from part to part, and never through the caller. A part that ends closes its links. The
parts that take from it come to the end of the stream, and end in turn; those that give to it find
that nobody wants more. So all parts end by themselves, wherever the end began.
"""

from __future__ import annotations

import atexit
import os
import select
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from bigpipe.interrupts import Interrupts, Postponed, Undisturbed
from bigpipe.log import LogReceiver
from bigpipe.sharing.polling import polled
from bigpipe.streaming.graph.members import Member, ProcessMembers, ThreadMembers
from bigpipe.streaming.graph.meter import ENDED
from bigpipe.streaming.graph.network import CALLER, GraphError, Network
from bigpipe.streaming.graph.part import Done, Failed, LoopIsOver, MoreRoom, Skipped
from bigpipe.streaming.graph.part_process import PartSetup, Told
from bigpipe.streaming.graph.ports import PortIn
from bigpipe.streaming.graph.stage_errors import StageError
from bigpipe.streaming.graph.stillness import Stillness, Waiting

__all__ = ["Crew"]

STOP_GRACE = 3.0  # seconds from SIGTERM to SIGKILL: time for local_term
LOOK_EVERY_S = 0.05  # seconds between two checks for events while outputs keep coming


class Crew:
    """Runs a network.

    Parameters
    ----------
    network : Network
        The network to run.
    place : ProcessMembers or ThreadMembers
        Where to run it.
    setups : iterable of PartSetup
        The setup of each part.

    Attributes
    ----------
    skipped : list of StageError
        Errors of skipped elements.
    members : list of Member
        The parts, in order.
    n_taken : int
        Elements that the caller has taken.
    waited_s : float
        Seconds that the caller has waited for elements and for the start of the parts.
    """

    def __init__(
        self,
        network: Network,
        place: ProcessMembers | ThreadMembers,
        setups: Iterable[PartSetup],
    ) -> None:
        self._network = network
        self._place = place
        self._setups = list(setups)
        self._owner = os.getpid()
        self._stillness = Stillness(network)
        self._logs = LogReceiver()
        self._is_waiting = False
        self._interrupts = Interrupts(lambda: self._is_waiting)
        self._alive: list[Member] = []
        self._failure: Exception | None = None
        self._done: set[int] = set()
        self._ports: list[PortIn] = []
        self._looked_at = 0.0
        self._is_closed = False
        self.members: list[Member] = []
        self.skipped: list[StageError] = []
        self.n_taken = 0
        self.waited_s = 0.0
        self.began_at = time.monotonic()
        self.ended_at: float | None = None

    def start(self) -> None:
        """Start all parts. If this fails, end those that were started."""
        atexit.register(self.close)
        self._interrupts.install()
        try:
            self._is_waiting = True
            self._place.open_links()
            self._ports = [
                PortIn(inlet, [self._place.receivers[link] for link in inlet.links])
                for inlet in self._network.caller.inlets.values()
            ]
            for setup in self._setups:
                with Postponed():  # until the process is in the list of those to end
                    member = self._place.start(setup)
                    self.members.append(member)
                    self._alive.append(member)
            self._is_waiting = False
            self.waited_s = time.monotonic() - self.began_at
        except BaseException:
            self.close()
            raise

    def next(self) -> tuple[str, Any] | None:
        """Wait for the next output; return its stream and the element, ``None`` at the end.

        Raises
        ------
        StageError
            If a stage failed. All stages are ended then.
        GraphError
            If the graph stands still.
        """
        began_at = time.monotonic()
        self._is_waiting = True
        try:
            if began_at - self._looked_at > LOOK_EVERY_S:
                self._wait(0)
            while self._failure is None:
                taken = self._taken()
                if taken is not None:
                    self.n_taken += 1
                    return taken
                if not self._alive and not self._ports:
                    break
                self._wait(None)
        finally:
            self._is_waiting = False
            self.waited_s += time.monotonic() - began_at
        self.close()
        if self._failure is not None:
            raise self._failure
        return None

    def _taken(self) -> tuple[str, Any] | None:
        for port in list(self._ports):
            try:
                if not port.poll():
                    continue
                element, _ = port.take()
            except (EOFError, ConnectionError):  # a part's failure or death is reported elsewhere
                self._ports.remove(port)
                port.close()
                continue
            self._ports.remove(port)
            self._ports.append(port)  # the other ports come first next time
            return port.stream, element
        return None

    def _wait(self, timeout: float | None) -> None:
        """Wait once; handle events of parts, and parts that have ended."""
        poller = select.poll()
        wanted = [link for port in self._ports for link in port.wanted()]
        for link in wanted:
            end = self._place.receivers[link]
            poller.register(end, end.events())
        for member in self._alive:
            if member.orders.has_unsent:
                poller.register(member.orders, member.orders.events())
        self._register_members(poller)
        taken = {link: end.n_taken for link, end in self._place.receivers.items()}
        self._stillness.tell(CALLER, Waiting(tuple(wanted), taken=taken))
        ready = {fd for fd, _ in polled(poller, timeout)}
        self._looked_at = time.monotonic()
        for member in self._alive:
            if member.orders.fileno() in ready and member.orders.has_unsent:
                member.orders.may_send()
        self._hear_members(ready)
        if timeout is None and self._failure is None and self._stillness.is_still():
            self._help()

    def _register_members(self, poller: select.poll) -> None:
        for member in self._alive:
            poller.register(member, select.POLLIN)
            if not member.events.is_closed:
                poller.register(member.events, member.events.events())

    def _hear_members(self, ready: set[int]) -> None:
        """Understand what those parts have told, or how they ended, that are ready."""
        for member in list(self._alive):
            if member.fileno() in ready:
                self._bury(member)
            elif not member.events.is_closed and member.events.fileno() in ready:
                self._hear(member)

    def _hear(self, member: Member) -> None:
        """Handle all events of a part."""
        while member.events.may_receive():
            try:
                event = member.events.receive()
            except (EOFError, ConnectionError):
                member.events.close()
                break
            self._understand(member, event)

    def _understand(self, member: Member, event: Any) -> None:
        name = member.part.node.name
        if isinstance(event, Waiting):
            self._stillness.tell(member.part.number, event)
        elif isinstance(event, Told):
            self._logs.dispatch(event.payload, None, member.pid)
        elif isinstance(event, Skipped):
            self.skipped.append(StageError.raised(name, event.element, event.error))
        elif isinstance(event, Failed):
            self._done.add(member.part.number)
            self._fail(StageError.raised(name, event.element, event.error))
        elif isinstance(event, Done):
            self._done.add(member.part.number)

    def _fail(self, failure: Exception) -> None:
        if self._failure is None:
            self._failure = failure

    def _bury(self, member: Member) -> None:
        """Handle the end of a part, after all its events."""
        if not member.events.is_closed:
            self._hear(member)
        exitcode = member.exitcode()
        number = member.part.number
        if exitcode and not self._is_closed and number not in self._done:
            element = member.meter.n_taken - 1 if member.meter.n_taken else None
            if member.part.node.kind == "source":
                element = member.meter.n_given
            self._fail(StageError.died(member.part.node.name, element, member.pid or 0, exitcode))
        self._alive.remove(member)
        self._stillness.end(number)
        if member.meter.state != ENDED:
            member.meter.enter(ENDED)
        member.close()

    def _help(self) -> None:
        """Get a network going that stands still."""
        try:
            more_room, over = self._stillness.remedy()
        except GraphError as error:
            self._fail(error)
            return
        for member in self._alive:
            number = member.part.number
            order: Any = LoopIsOver() if number in over else None
            if number in more_room:
                order = MoreRoom(more_room[number])
            if order is not None:
                self._stillness.forget(number)
                with suppress(BrokenPipeError):  # it has ended meanwhile
                    member.orders.post(order)

    def close(self) -> None:
        """End all running parts. With processes, this takes a few seconds at most."""
        if self._is_closed or self._owner != os.getpid():
            return
        self._is_closed = True
        self._interrupts.is_deaf = True
        try:
            with Undisturbed():
                self._place.close()
                self._ports.clear()
                self._end_all()
        finally:
            self.ended_at = time.monotonic()
            atexit.unregister(self.close)
            self._interrupts.uninstall()

    def _end_all(self) -> None:
        for member in self._alive:
            member.terminate()
        kill_at = time.monotonic() + STOP_GRACE
        while self._alive:
            left = kill_at - time.monotonic()
            if left <= 0:
                for member in self._alive:
                    member.kill()
            poller = select.poll()
            self._register_members(poller)
            self._hear_members({fd for fd, _ in polled(poller, left if left > 0 else None)})
