"""Stages and the streams between them: declared, checked, and joined by links.

Owns the pure part of `bigpipe.streaming.graph.graph`: nodes, streams, checks, and the division of a
network into parts, one for each process, with the links between them. Starts nothing.

A stage in several copies has a link to or from each of them::

    one copy  ->  copies      an element goes to a copy that has room; it is numbered
    copies    ->  one copy    elements are taken in the order of their numbers
    n copies  ->  n copies    copy by copy
    n copies  ->  m copies    through a relay, which puts elements in order first
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bigpipe.errors import BigpipeError

__all__ = ["CALLER", "GraphError", "Inlet", "Network", "Node", "Part"]

CALLER = -1  # in place of a part's number: the process that iterates the outputs


class GraphError(BigpipeError, ValueError):
    """A graph cannot run as declared, or stands still because a loop lacks an element."""


@dataclass(frozen=True)
class Node:
    """A declared stage."""

    name: str
    kind: str
    """``'source'``, ``'step'``, ``'switch'``, ``'merge'``, ``'relay'`` or ``'caller'``."""
    work: Any = None
    """The iterable, or a function that returns one; the step; the function that chooses."""
    takes: tuple[str, ...] = ()
    """Streams that it takes."""
    gives: tuple[str, ...] = ()
    """Streams that it gives."""
    copies: int = 1
    keys: Mapping[Any, str] = field(default_factory=dict)
    """For a switch: the stream for each value."""
    is_strict: bool = True
    """Whether the streams that it takes must be equally long."""


@dataclass
class Inlet:
    """Where a stream comes into a part."""

    stream: str
    links: list[int] = field(default_factory=list)
    """One link for each copy of the stage that gives it."""
    first: tuple[Any, ...] = ()
    """Elements with which it begins."""
    is_of_loop: bool = False
    """Whether it is a stream of a loop, which may differ in length from others."""
    is_back: bool = False
    """Whether it leads back to its stage, so that its end may depend on itself."""


@dataclass
class Part:
    """The work of one process: one copy of a stage."""

    number: int
    node: Node
    copy: int
    inlets: dict[str, Inlet] = field(default_factory=dict)
    """By stream, in the order in which the stage takes them."""
    outlets: dict[str, list[list[int]]] = field(default_factory=dict)
    """By stream: for each stage that takes it, the links to that stage's copies."""
    is_watched: bool = False
    """Whether it reports long waits, because the graph may come to stand still."""

    @property
    def links_in(self) -> list[int]:
        """The links on which it takes elements, in the order of its inlets."""
        return [link for inlet in self.inlets.values() for link in inlet.links]

    @property
    def links_out(self) -> list[int]:
        """The links on which it gives elements, in the order of its outlets."""
        return [link for groups in self.outlets.values() for group in groups for link in group]


class Network:
    """Nodes joined by links.

    Parameters
    ----------
    nodes : iterable of Node
        The stages.
    first : mapping, optional
        Elements with which streams begin.
    outputs : iterable of str, optional
        Streams that the caller takes.

    Attributes
    ----------
    nodes : list of Node
        The stages, and relays between them.
    parts : list of Part
        One for each process.
    links : list of (str, int, int)
        For each link, its stream and the numbers of the parts at its beginning and end.
    caller : Part
        The caller, as a part that takes the outputs.

    Raises
    ------
    GraphError
        If it cannot run.
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        first: Mapping[str, tuple[Any, ...]] | None = None,
        outputs: Iterable[str] = (),
    ) -> None:
        self.nodes = list(nodes)
        self.first = dict(first or {})
        self.outputs = list(outputs)
        self._check()
        self._check_loops()
        self._add_relays()
        self._join()

    def giver_of(self, stream: str) -> Node:
        """Return the node that gives a stream."""
        return next(node for node in self.nodes if stream in node.gives)

    def takers_of(self, stream: str) -> list[Node]:
        """Return the nodes that take a stream."""
        return [node for node in self.nodes if stream in node.takes]

    def _check(self) -> None:
        if not self.nodes:
            raise GraphError("there are no stages: add a source first")
        given = [stream for node in self.nodes for stream in node.gives]
        for stream in given:
            if given.count(stream) > 1:
                names = [node.name for node in self.nodes if stream in node.gives]
                raise GraphError(
                    f"the stream {stream!r} is given by {_listed(names)}: give each stream its own "
                    "name, and join them with merge"
                )
        for node in self.nodes:
            self._check_node(node, given)
        for stream in given:
            if stream not in self.outputs and not self.takers_of(stream):
                raise GraphError(
                    f"no stage takes the stream {stream!r} of the stage "
                    f"{self.giver_of(stream).name!r}: let a stage take it, or make it an output"
                )
        for stream in (*self.first, *self.outputs):
            if stream not in given:
                raise GraphError(
                    f"no stage gives the stream {stream!r}: use one of {_listed(given)}"
                )

    def _check_node(self, node: Node, given: list[str]) -> None:
        for stream in node.takes:
            if stream not in given:
                raise GraphError(
                    f"the stage {node.name!r} takes the stream {stream!r}, which no stage gives: "
                    f"use one of {_listed(given)}"
                )
            if node.takes.count(stream) > 1:
                raise GraphError(
                    f"the stage {node.name!r} takes the stream {stream!r} twice: take it once, and "
                    "use its elements twice"
                )
        if node.copies < 1:
            raise GraphError(f"the stage {node.name!r} has {node.copies} copies: give 1 or more")
        if node.copies > 1 and (len(node.takes) != 1 or node.kind == "merge"):
            raise GraphError(
                f"the stage {node.name!r} runs in parallel and takes {len(node.takes)} streams, "
                "but must take one: join them in a stage before it"
            )
        for stream in node.takes:
            if node.copies > 1 and stream in self.first:
                raise GraphError(
                    f"the stream {stream!r} begins with elements, but the stage {node.name!r} that "
                    "takes it runs in parallel: let a stage with one copy take the stream"
                )

    def _reached(self) -> dict[str, set[str]]:
        """Return, for each node, the nodes that its elements can reach; in a loop, also itself."""
        after = {
            node.name: {taker.name for stream in node.gives for taker in self.takers_of(stream)}
            for node in self.nodes
        }
        return {name: _reached_from(name, after) for name in after}

    def _check_loops(self) -> None:
        """Refuse a loop that can never start.

        A stage can start if each stream that it takes has a first element or comes from a stage
        that can start; for a merge, one such stream is enough.
        """
        can_begin: set[str] = set()
        while True:
            more = {node.name for node in self.nodes if self._may_begin(node, can_begin)}
            if more == can_begin:
                break
            can_begin = more
        stuck = [node.name for node in self.nodes if node.name not in can_begin]
        reached = self._reached()
        in_loops = [name for name in stuck if name in reached[name]]
        if in_loops:
            raise GraphError(
                f"the loop of {_listed(in_loops)} can never start: each stage waits for another. "
                "Give one of its streams a first element (Graph.begin), or feed it through a merge."
            )

    def _may_begin(self, node: Node, can_begin: set[str]) -> bool:
        if not node.takes:
            return True
        has_begun = [
            stream in self.first or self.giver_of(stream).name in can_begin for stream in node.takes
        ]
        return any(has_begun) if node.kind == "merge" else all(has_begun)

    def _add_relays(self) -> None:
        for node in list(self.nodes):
            for stream in node.gives:
                takers = self.takers_of(stream)
                if not _needs_relay(node, takers):
                    continue
                own = f"{stream} of {node.name}, in order"
                relay = Node(own, "relay", None, (stream,), (own,))
                for taker in takers:
                    if taker.copies > 1:
                        takes = tuple(own if each == stream else each for each in taker.takes)
                        self.nodes[self.nodes.index(taker)] = replace(taker, takes=takes)
                self.nodes.append(relay)

    def _join(self) -> None:
        self.parts: list[Part] = []
        self.links: list[tuple[str, int, int]] = []
        of_node: dict[str, list[Part]] = {}
        is_plain = all(len(node.takes) <= 1 and self._n_takers(node) <= 1 for node in self.nodes)
        for node in self.nodes:
            of_node[node.name] = [
                Part(len(self.parts) + copy, node, copy, is_watched=not is_plain)
                for copy in range(node.copies)
            ]
            self.parts += of_node[node.name]
        reached = self._reached()
        loops = {
            stream
            for node in self.nodes
            for stream in node.takes
            if self.giver_of(stream).name in reached[node.name]
        }
        for part in self.parts:
            part.inlets = {
                stream: Inlet(
                    stream,
                    first=self.first.get(stream, ()),
                    is_of_loop=stream in loops,
                    is_back=self.giver_of(stream).name in reached[part.node.name],
                )
                for stream in part.node.takes
            }
            part.outlets = {stream: [] for stream in part.node.gives}
        self.caller = Part(CALLER, Node("(caller)", "caller", takes=tuple(self.outputs)), 0)
        self.caller.inlets = {
            stream: Inlet(stream, first=self.first.get(stream, ())) for stream in self.outputs
        }
        for node in self.nodes:
            for stream in node.gives:
                for taker in self.takers_of(stream):
                    self._link(stream, of_node[node.name], of_node[taker.name])
                if stream in self.outputs:
                    self._link(stream, of_node[node.name], [self.caller])

    def _n_takers(self, node: Node) -> int:
        return sum(
            len(self.takers_of(stream)) + self.outputs.count(stream) for stream in node.gives
        )

    def _link(self, stream: str, givers: list[Part], takers: list[Part]) -> None:
        is_paired = len(givers) == len(takers) > 1
        for giver in givers:
            group = []
            for taker in [takers[giver.copy]] if is_paired else takers:
                link = len(self.links)
                self.links.append((stream, giver.number, taker.number))
                taker.inlets[stream].links.append(link)
                group.append(link)
            giver.outlets[stream].append(group)


def _needs_relay(node: Node, takers: list[Node]) -> bool:
    return node.copies > 1 and any(taker.copies not in (1, node.copies) for taker in takers)


def _reached_from(name: str, after: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for each in after[waiting.pop()]:
            if each not in found:
                found.add(each)
                waiting.append(each)
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names)) or "none"
