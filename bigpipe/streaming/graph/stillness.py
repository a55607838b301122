"""Whether a network of stages stands still, and what to do about it.

Owns the conclusion from the parts' reports. Pure. `bigpipe.streaming.graph.part` sends the reports;
`bigpipe.streaming.graph.crew` acts on the conclusion.

A part that has waited for a while reports what it waits for, and how many elements it has sent and
taken on each of its links. It reports nothing when it continues. So the reports are old, but they
suffice. A waiting part continues only if something arrives that was on its way at the time of the
report. The first part to continue would have to wait for a link on which, by the last reports of
both ends, more was sent than taken. If there is no such link, no part ever continues.

There are three possible causes:

- A stage waits to send, as the stream behind it is full, and its taker waits for another stream.
  The limit, which only serves to save memory, must be raised.
- Loops are empty, and the streams that lead into them have ended: the end of the stream.
- A loop lacks an element that it needs: an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bigpipe.streaming.graph.network import CALLER, GraphError, Network, Part

__all__ = ["MAX_ROOM", "Stillness", "Waiting"]

MAX_ROOM = 4096  # elements on the way on a link at which a graph is given up; arbitrary


@dataclass
class Waiting:
    """The report of a part that has waited for a while."""

    to_take: tuple[int, ...] = ()
    """Links from which it waits to take."""
    to_send: tuple[int, ...] = ()
    """Links that are full."""
    taken: Mapping[int, int] = field(default_factory=dict)
    """Elements taken so far, by link."""
    sent: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Elements sent so far, and those known to have been taken, by link."""
    room: Mapping[int, int] = field(default_factory=dict)
    """Most elements that may be on the way, by full link."""


class Stillness:
    """Knows the last report of each part."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._told: dict[int, Waiting] = {}
        self._alive = {part.number for part in network.parts}

    def tell(self, number: int, waiting: Waiting) -> None:
        """Take note of a report of a part or of the caller."""
        self._told[number] = waiting

    def forget(self, number: int) -> None:
        """Take note that a part continues, as it was given an order."""
        self._told.pop(number, None)

    def end(self, number: int) -> None:
        """Take note of a part's end."""
        self._alive.discard(number)
        self._told.pop(number, None)

    def is_still(self) -> bool:
        """Return whether no part can continue."""
        if not self._alive or not self._told.keys() >= {*self._alive, CALLER}:
            return False
        return not any(map(self._may_move, range(len(self._network.links))))

    def _may_move(self, link: int) -> bool:
        """Return whether something is on its way for which one of the ends waits."""
        _, giver, taker = self._network.links[link]
        if link in self._words(taker).to_take:
            if giver not in self._alive:
                return True  # the end of the stream is
            if self._words(giver).sent[link][0] > self._words(taker).taken[link]:
                return True
        if link in self._words(giver).to_send:
            if taker != CALLER and taker not in self._alive:
                return True
            return self._words(taker).taken[link] > self._words(giver).sent[link][1]
        return False

    def _words(self, number: int) -> Waiting:
        return self._told.get(number, _NOTHING)

    def remedy(self) -> tuple[dict[int, list[int]], list[int]]:
        """Return what to do about it.

        Returns
        -------
        dict
            For parts that wait to send, the links whose limit is to be raised.
        list of int
            Parts that are to be told that their loop has ended.

        Raises
        ------
        GraphError
            If nothing helps.
        """
        parts = [self._network.parts[number] for number in sorted(self._alive)]
        full = {
            part.number: list(self._told[part.number].to_send)
            for part in parts
            if self._told[part.number].to_send
        }
        if full:
            self._check_room(full)
            return full, []
        in_loops = [part for part in parts if self._waits_for_loop(part)]
        may_run_dry = any(part.node.kind in ("merge", "switch") for part in parts)
        if in_loops and may_run_dry:
            # The end travels on from there, after the last elements that steps of the loop give.
            merges = [part for part in in_loops if part.node.kind == "merge"]
            return {}, [part.number for part in merges or in_loops[:1]]
        raise GraphError(
            f"the graph stands still, as no element is on its way: {self._waits(parts)}. A loop "
            "needs enough first elements (Graph.begin): a stage of the loop that gives nothing for "
            "an element removes that one."
        )

    def _check_room(self, full: Mapping[int, Sequence[int]]) -> None:
        for number, links in full.items():
            room = self._told[number].room
            for link in links:
                if room[link] >= MAX_ROOM:
                    stream, _, taker = self._network.links[link]
                    waiting = [] if taker == CALLER else [self._network.parts[taker]]
                    raise GraphError(
                        f"{MAX_ROOM} elements of the stream {stream!r} wait to be taken, and still "
                        f"{self._waits(waiting)}: let both branches give equally many elements"
                    )

    def _waits_for_loop(self, part: Part) -> bool:
        wanted = self._told[part.number].to_take
        return bool(wanted) and all(
            inlet.is_back for inlet in part.inlets.values() if set(inlet.links) & set(wanted)
        )

    def _waits(self, parts: Iterable[Part]) -> str:
        said = []
        for part in parts:
            wanted = self._told[part.number].to_take
            streams = dict.fromkeys(self._network.links[link][0] for link in wanted)
            said.append(f"{part.node.name!r} waits for {', '.join(map(repr, streams))}")
        return "; ".join(said)


_NOTHING = Waiting()
