"""Where streams enter and leave a part of a network.

Owns the numbering of elements for stages in several copies, and the order in which they are taken.
The links are those of `bigpipe.sharing.transport`, or among threads
`bigpipe.streaming.graph.local_links`; `bigpipe.streaming.graph.part` works on the elements.

A message on a link is ``(number, is_last, elements)``: the number of the element from which it was
made, whether it is the last one made from that, and a tuple of one element or none. After a stage
with one copy, elements are numbered consecutively.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from bigpipe.streaming.graph.network import Inlet

__all__ = ["FLUSH", "PortIn", "PortOut", "Sequel"]

FLUSH = 1 << 62  # number of the last elements of a copy: after all others
Sequel = tuple[int, bool]
"""Number of an element, and whether this is the last that is made from it."""


class PortIn:
    """Where one stream enters: from one link, or in order from several.

    Parameters
    ----------
    inlet : Inlet
        The stream.
    receivers : sequence of Receiver
        A receiver for each link of the inlet.
    """

    def __init__(self, inlet: Inlet, receivers: Sequence[Any]) -> None:
        self.stream = inlet.stream
        self.is_of_loop = inlet.is_of_loop
        self.is_back = inlet.is_back
        self.receivers = dict(zip(inlet.links, receivers, strict=True))
        self._first = deque(inlet.first)
        self._heads: dict[int, Any] = {}
        self._open = list(inlet.links)
        self._expected = 0

    def poll(self) -> bool:
        """Return whether `take` can return or raise now."""
        if self._first:
            return True
        while True:
            self._fill()
            link = self._next_link()
            if link is None:
                return not self._open
            number, is_last, elements = self._heads[link]
            if elements:
                return True
            del self._heads[link]
            self._count(number, is_last)

    def _fill(self) -> None:
        """Take the next message of each link, if it has arrived."""
        for link in [each for each in self._open if each not in self._heads]:
            receiver = self.receivers[link]
            if receiver.may_receive():
                try:
                    self._heads[link] = receiver.receive()
                except EOFError:
                    self._open.remove(link)

    def _next_link(self) -> int | None:
        """Return the link with the next message in order; ``None`` if not known yet."""
        if not self._heads:
            return None
        link = min(self._heads, key=lambda each: self._heads[each][0])
        is_due = self._heads[link][0] <= self._expected
        if is_due or len(self._heads) == len(self._open):
            return link
        return None

    def _count(self, number: int, is_last: bool) -> None:
        if is_last:
            self._expected = number + 1

    def take(self) -> tuple[Any, Sequel]:
        """Return the next element and its number; only after `poll`.

        Raises
        ------
        EOFError
            After the last one.
        ConnectionResetError
            If the stage that gives it is gone.
        """
        if self._first:
            return self._first.popleft(), (-1, True)
        link = self._next_link()
        if link is None:
            raise EOFError("the stream has ended")
        number, is_last, (element,) = self._heads.pop(link)
        self._count(number, is_last)
        return element, (number, is_last)

    def wanted(self) -> list[int]:
        """Return the links that could bring the next element."""
        return [link for link in self._open if link not in self._heads]

    def end(self) -> None:
        """Take no more elements."""
        self._open.clear()
        self._heads.clear()
        self._first.clear()
        self.close()

    def close(self) -> None:
        """Close the links."""
        for receiver in self.receivers.values():
            receiver.close()


class PortOut:
    """Where one stream leaves: to all stages that take it, in each to one of its copies.

    Parameters
    ----------
    stream : str
        Name of the stream.
    groups : sequence of dict
        For each stage that takes it, the senders to its copies, by number of the link.
    wait : callable
        Takes such a dict, and waits until one of its senders may send.
    """

    def __init__(
        self,
        stream: str,
        groups: Sequence[dict[int, Any]],
        wait: Callable[[dict[int, Any]], None],
    ) -> None:
        self.stream = stream
        self.n_given = 0
        self.senders = {link: sender for group in groups for link, sender in group.items()}
        self._groups = [dict(group) for group in groups]
        self._wait = wait

    @property
    def is_wanted(self) -> bool:
        """Whether any stage still takes the stream."""
        return bool(self._groups)

    def give(self, *elements: Any, sequel: Sequel | None = None) -> None:
        """Send an element to each stage that takes the stream; wait for room.

        Parameters
        ----------
        *elements : object
            One element, or none to say that a number has no further element.
        sequel : tuple, optional
            For a stage in several copies: the number, and whether this is its last element.
        """
        number, is_last = (self.n_given, True) if sequel is None else sequel
        self.n_given += len(elements)
        message = (number, is_last, elements)
        for group in list(self._groups):
            try:
                self._free_one(group).post(message)
            except BrokenPipeError:
                self._groups.remove(group)
                for sender in group.values():
                    sender.close()

    def _free_one(self, group: dict[int, Any]) -> Any:
        while True:
            for link, sender in group.items():
                if sender.may_send():
                    if len(group) > 1:
                        group[link] = group.pop(link)  # the other copies come first next time
                    return sender
            self._wait(group)

    def finish(self) -> None:
        """End the stream, without waiting."""
        for sender in self.senders.values():
            if not sender.is_closed:
                sender.finish()

    def close(self) -> None:
        """End the stream, and close the links."""
        for sender in self.senders.values():
            sender.close()

    def abandon(self) -> None:
        """Break the stream off."""
        for sender in self.senders.values():
            sender.abandon()
