"""One running copy of a stage: takes elements, runs the step, gives the results.

Owns the life of a stage and how it waits, which are the same in a process and in a thread.
`bigpipe.streaming.graph.part_process` and `bigpipe.streaming.graph.members` run it.
`bigpipe.streaming.graph.ports` carries its streams.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from bigpipe.context import name_of
from bigpipe.errors import FileError, StreamError, UnsendableError
from bigpipe.executors.failures import file_error
from bigpipe.interrupts import Postponed
from bigpipe.sharing.polling import polled
from bigpipe.streaming.graph.meter import BUSY, ENDED, GIVING, TAKING, Meter
from bigpipe.streaming.graph.network import Part
from bigpipe.streaming.graph.ports import FLUSH, PortIn, PortOut, Sequel
from bigpipe.streaming.graph.step_guard import (
    StepFailed,
    as_failure,
    closing,
    flushed,
    guarded,
    is_broken,
    results_of,
)
from bigpipe.streaming.graph.stillness import Waiting
from bigpipe.streaming.steps.base import Step, begin, has_ended, outputs_of
from bigpipe.streaming.steps.kinds import as_step, fresh

__all__ = ["Done", "Ends", "Failed", "LoopIsOver", "MoreRoom", "PartRunner", "Skipped"]

QUIET_S = 0.1  # seconds of waiting after which a part reports it; arbitrary


@dataclass
class Failed:
    """Event: the step of a part has raised an exception."""

    error: FileError
    """Error with the exception, and its traceback as text."""
    element: int | None
    """Number of the element, from 0; ``None`` at the beginning or the end."""


@dataclass
class Skipped(Failed):
    """Event: a part has skipped an element on which its step has raised."""


@dataclass
class Done:
    """Event: a part has come to its end."""


@dataclass
class MoreRoom:
    """Order: allow twice as many elements on the way on some links."""

    links: list[int]


@dataclass
class LoopIsOver:
    """Order: no more elements will come through the loop."""


@dataclass
class Ends:
    """A part's ends of its links to other parts and to the caller."""

    orders: Any
    """A receiver of orders."""
    events: Any
    """A sender of events."""
    receivers: dict[int, Any] = field(default_factory=dict)
    senders: dict[int, Any] = field(default_factory=dict)
    is_over: Callable[[], bool] | None = None
    """Returns whether the run is to end. Only in a thread, which no signal ends."""


class PartRunner:
    """Runs a part, from its first element to its last.

    Parameters
    ----------
    part : Part
        The part.
    ends : Ends
        Its links.
    meter : Meter
        Its figures.
    keywords : dict
        Keywords for ``local_init``.
    skips : bool
        Whether to skip an element on which the step raises, and continue.
    """

    def __init__(
        self, part: Part, ends: Ends, meter: Meter, keywords: dict[str, Any], skips: bool
    ) -> None:
        self._part = part
        self._node = part.node
        self._ends = ends
        self._meter = meter
        self._keywords = keywords
        self._skips = skips
        self._n_taken = 0
        self._element: int | None = None
        self._at_work: Any = None  # the step or the source, until it is closed
        self._ins = [
            PortIn(inlet, [ends.receivers[link] for link in inlet.links])
            for inlet in part.inlets.values()
        ]
        self._outs = [
            PortOut(
                stream,
                [{link: ends.senders[link] for link in group} for group in groups],
                self._wait_to_give,
            )
            for stream, groups in part.outlets.items()
        ]

    def run(self) -> None:
        """Work until the end of the stream, or until nobody wants more.

        Raises
        ------
        ConnectionError
            If another part, or the caller, is gone. That is reported elsewhere.
        """
        self._meter.enter(BUSY)
        try:
            self._work()
        except StepFailed as failed:
            self._tell(self._failed(Failed, failed))
            self._abandon()
        except BaseException:
            self._abandon()
            raise
        else:
            for taking in self._ins:
                taking.close()
            self._finish()
            self._tell(Done())
        finally:
            self._meter.enter(ENDED)

    def close(self) -> None:
        """Let the step, or the source, clean up, unless it has done so.

        A signal to end does not interrupt this. It may come because others end already, and
        SIGKILL follows it.
        """
        with Postponed():
            at_work, self._at_work = self._at_work, None
            if hasattr(at_work, "close"):
                with as_failure():
                    at_work.close()

    def _work(self) -> None:
        try:
            _WAYS[self._node.kind](self)
        except UnsendableError as error:
            raise StepFailed from error

    def _finish(self) -> None:
        """End the outgoing streams; obey orders meanwhile, as other parts may need help."""
        for giving in self._outs:
            giving.finish()
        senders = self._ends.senders.values()
        while unsent := [each for each in senders if not each.is_closed and each.has_unsent]:
            self._wait(GIVING, unsent, Waiting)
        for giving in self._outs:
            giving.close()

    def _abandon(self) -> None:
        for taking in self._ins:
            taking.close()
        for giving in self._outs:
            giving.abandon()

    # Waiting

    def _wait_to_take(self, ports: Sequence[PortIn]) -> None:
        links = [link for port in ports for link in port.wanted()]
        ends = [self._ends.receivers[link] for link in links]
        self._wait(TAKING, ends, lambda: Waiting(to_take=tuple(links)))

    def _wait_to_give(self, group: dict[int, Any]) -> None:
        room = {link: sender.max_count for link, sender in group.items()}
        self._wait(GIVING, group.values(), lambda: Waiting(to_send=tuple(group), room=room))

    def _wait(self, state: int, ends: Iterable[Any], words: Callable[[], Waiting]) -> None:
        """Wait for one of several ends, or for an order of the caller."""
        self._meter.enter(state)
        timeout = QUIET_S if self._part.is_watched else None
        poller = select.poll()
        others = [each for each in self._ends.senders.values() if not each.is_closed]
        for end in (*(each for each in (*others, self._ends.events) if each.has_unsent), *ends):
            poller.register(end, end.events())
        poller.register(self._ends.orders, self._ends.orders.events())
        if not polled(poller, timeout):
            waiting = words()
            waiting.taken = {link: each.n_taken for link, each in self._ends.receivers.items()}
            waiting.sent = {
                link: (each.n_sent, each.n_taken) for link, each in self._ends.senders.items()
            }
            self._tell(waiting)
            if self._ends.events.has_unsent:
                poller.register(self._ends.events, self._ends.events.events())
            polled(poller, None)
        for sender in (*self._ends.senders.values(), self._ends.events):
            if sender.has_unsent and not sender.is_closed:
                sender.may_send()
        self._obey()
        self._meter.enter(BUSY)

    def _tell(self, event: Any) -> None:
        self._ends.events.post(event)

    def _obey(self) -> None:
        while self._ends.orders.may_receive():
            order = self._ends.orders.receive()
            if isinstance(order, MoreRoom):
                for link in order.links:
                    self._ends.senders[link].max_count *= 2
            elif isinstance(order, LoopIsOver):
                for port in self._ins:
                    if port.is_back:
                        port.end()

    # Taking and giving

    def _take(self) -> tuple[Any, Sequel] | None:
        """Return the next element, or a tuple with one of each stream; ``None`` at the end."""
        while missing := [port for port in self._ins if not port.poll()]:
            self._wait_to_take(missing)
        taken, ended = [], []
        for port in self._ins:
            try:
                taken.append(port.take())
            except EOFError:
                ended.append(port)
        if ended:
            self._check_lengths(ended)
            return None
        self._count(taken[0][1])
        if len(taken) == 1:
            return taken[0]
        return tuple(element for element, _ in taken), (-1, True)

    def _end_if_over(self) -> None:
        if self._ends.is_over is not None and self._ends.is_over():
            raise ConnectionAbortedError("the run is over")

    def _count(self, sequel: Sequel) -> None:
        self._end_if_over()
        self._element = self._n_taken if self._part.node.copies == 1 else sequel[0]
        self._n_taken += 1
        self._meter.count_taken()

    def _check_lengths(self, ended: list[PortIn]) -> None:
        on = [port for port in self._ins if port not in ended and not port.is_of_loop]
        ended = [port for port in ended if not port.is_of_loop]
        if on and ended and self._node.is_strict:
            raise StepFailed from StreamError(
                f"the stream {ended[0].stream!r} ended after {self._n_taken} elements, but "
                f"{on[0].stream!r} has more: give strict=False if they may differ in length"
            )

    def _give(self, port: PortOut, *elements: Any, sequel: Sequel | None = None) -> None:
        self._end_if_over()
        port.give(*elements, sequel=sequel)
        if elements:
            senders = port.senders.values()
            fill = max((each.n_under_way / each.max_count for each in senders), default=0.0)
            self._meter.count_given(min(1.0, fill))

    def _give_all(self, results: Iterable[Any], sequel: Sequel) -> None:
        """Give all results of an element, or of the end."""
        if self._node.copies == 1:
            for result in results:
                for port, element in self._by_port(result):
                    self._give(port, element)
            return
        number, is_last = sequel
        held: dict[PortOut, tuple[Any, ...]] = dict.fromkeys(self._outs, ())
        for result in results:
            for port, element in self._by_port(result):
                if held[port]:
                    self._give(port, *held[port], sequel=(number, False))
                held[port] = (element,)
        for port, last in held.items():
            if last or is_last:
                self._give(port, *last, sequel=(number, is_last))

    def _by_port(self, result: Any) -> Iterator[tuple[PortOut, Any]]:
        """Yield the ports of a result and the element for each."""
        if len(self._outs) == 1:
            if result is not None:
                yield self._outs[0], result
            return
        if not self._outs:
            return
        if not isinstance(result, tuple) or len(result) != len(self._outs):
            streams = ", ".join(repr(port.stream) for port in self._outs)
            raise StepFailed from StreamError(
                f"the step must return a tuple of {len(self._outs)}, for the streams {streams}, "
                f"but returned {type(result).__name__}; use None in the tuple for no element"
            )
        for port, element in zip(self._outs, result, strict=True):
            if element is not None:
                yield port, element

    @property
    def _is_wanted(self) -> bool:
        return not self._outs or any(port.is_wanted for port in self._outs)

    def _failed(self, kind: type[Failed], failed: StepFailed) -> Failed:
        cause = failed.__cause__
        assert cause is not None
        return kind(file_error(cause, self._node.name, None), self._element)

    def _survives(self, failed: StepFailed) -> bool:
        """Report a skipped element; return whether the run continues."""
        if self._skips and isinstance(failed.__cause__, Exception):
            self._tell(self._failed(Skipped, failed))
            self._meter.count_skipped()
            return True
        return False

    # The kinds of stages

    def _run_source(self) -> None:
        with as_failure():
            work = self._node.work
            source = iter(work if hasattr(type(work), "__iter__") else work())
            self._at_work = source
        with closing(self.close):
            self._element = 0
            for element in guarded(outputs_of(source)):
                self._give_all([element], (-1, True))
                self._element += 1
                if not self._is_wanted:
                    break

    def _run_step(self) -> None:
        with as_failure():
            step = self._begun(as_step(self._node.work))
        with closing(self.close):
            while self._is_wanted and (taken := self._take()) is not None:
                element, sequel = taken
                try:
                    self._give_all(results_of(step, element), sequel)
                except StepFailed as failed:
                    if not self._survives(failed):
                        raise
                    self._give_all((), sequel)
                    step = self._renewed(step)
                if has_ended(step):
                    break
            self._element = None
            for port in self._ins:
                port.close()
            if self._is_wanted:
                self._give_all(flushed(step), (FLUSH, False))

    def _renewed(self, step: Step) -> Step:
        """Return a step that can continue after an exception; a generator begins anew."""
        if not is_broken(step):
            return step
        self.close()
        with as_failure():
            return self._begun(step)

    def _begun(self, step: Step) -> Step:
        self._at_work = step = as_step(fresh(step))
        begin(step, **self._keywords)
        return step

    def _run_switch(self) -> None:
        ports = {port.stream: port for port in self._outs}
        while self._is_wanted and (taken := self._take()) is not None:
            element, _ = taken
            try:
                port = ports[self._chosen(element)]
            except StepFailed as failed:
                if not self._survives(failed):
                    raise
                continue
            self._give(port, element)

    def _chosen(self, element: Any) -> str:
        with as_failure():
            key = self._node.work(element)
            if key not in self._node.keys:
                raise StreamError(
                    f"{name_of(self._node.work)} returned {key!r}, but there are streams only for "
                    f"{', '.join(map(repr, self._node.keys))}"
                )
            return self._node.keys[key]

    def _run_merge(self) -> None:
        ports = list(self._ins)
        while ports and self._is_wanted:
            port = next((each for each in ports if each.poll()), None)
            if port is None:
                self._wait_to_take(ports)
                continue
            ports.remove(port)
            try:
                element, sequel = port.take()
            except EOFError:
                continue
            ports.append(port)  # the other ports come first next time
            self._count(sequel)
            self._give(self._outs[0], element)

    def _run_relay(self) -> None:
        while self._is_wanted and (taken := self._take()) is not None:
            self._give(self._outs[0], taken[0])


_WAYS: dict[str, Callable[[PartRunner], None]] = {
    "source": PartRunner._run_source,
    "step": PartRunner._run_step,
    "switch": PartRunner._run_switch,
    "merge": PartRunner._run_merge,
    "relay": PartRunner._run_relay,
}
