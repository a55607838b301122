"""Digests of objects made of parts, which may contain themselves.

Owns the graph and its digest. `bigpipe.fingerprint.content` finds the parts of an object.

A node's digest is made from its label and the digests of its parts, so it does not matter whether
two equal parts are one object or two. Where parts lead back to the whole, digests are refined in
rounds, each node's from those of its parts in the round before.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from hashlib import blake2b

from bigpipe.fingerprint.code_digest import DIGEST_BYTES

__all__ = ["Graph", "Order", "Token"]

MAX_ROUNDS = 32  # arbitrary: nodes farther away still count, as members of the cycle

Token = bytes | int
"""A part: self-delimiting bytes, or the place of a node."""


class Order(Enum):
    """Which order of the parts matters."""

    GIVEN = "given"
    NONE = "none"
    PAIRS = "pairs"  # first and second of each pair, not the order of the pairs


class Graph:
    """Nodes with labels and parts; the first node is the whole.

    Examples
    --------
    >>> once, twice = Graph(), Graph()
    >>> for graph, n in ((once, 1), (twice, 2)):
    ...     for place in range(n + 1):
    ...         graph.add()
    ...     graph.set(0, b"pair", [1, n])
    ...     for place in range(1, n + 1):
    ...         graph.set(place, b"list", [b"1;"])
    >>> once.digest() == twice.digest()
    True
    """

    def __init__(self) -> None:
        self._labels: list[bytes] = []
        self._parts: list[list[Token]] = []
        self._orders: list[Order] = []

    def __len__(self) -> int:
        return len(self._labels)

    def add(self) -> None:
        """Add a node, whose place is the number of those before it."""
        self._labels.append(b"")
        self._parts.append([])
        self._orders.append(Order.GIVEN)

    def set(self, place: int, label: bytes, parts: list[Token], order: Order = Order.GIVEN) -> None:
        """Give a node its label and its parts."""
        self._labels[place], self._parts[place], self._orders[place] = label, parts, order

    def digest(self) -> bytes:
        """Return the digest of the whole."""
        finished: dict[int, bytes] = {}
        wholes: list[list[int]] = [[] for _ in self._labels]
        n_missing = [0] * len(self)
        for place, parts in enumerate(self._parts):
            for part in parts:
                if type(part) is int:
                    wholes[part].append(place)
                    n_missing[place] += 1
        ready = [place for place, n in enumerate(n_missing) if n == 0]
        while ready:
            place = ready.pop()
            finished[place] = self._combined(place, finished.__getitem__)
            for whole in wholes[place]:
                n_missing[whole] -= 1
                if n_missing[whole] == 0:
                    ready.append(whole)
        return finished[0] if 0 in finished else self._refined(finished)

    def _refined(self, finished: dict[int, bytes]) -> bytes:
        """Return the digest of the whole if its parts form cycles."""
        places = [place for place in range(len(self)) if place not in finished]
        current = {place: _hash(self._labels[place]) for place in places}
        n_kinds = 0
        for _ in range(MAX_ROUNDS):
            seen = len(set(current.values()))
            if seen == n_kinds:
                break
            n_kinds = seen
            before = {**finished, **current}
            current = {place: self._combined(place, before.__getitem__) for place in places}
        return _hash(current[0] + b"".join(sorted(set(current.values()))))

    def _combined(self, place: int, digest_of: Callable[[int], bytes]) -> bytes:
        tokens = [
            part if isinstance(part, bytes) else b"@" + digest_of(part)
            for part in self._parts[place]
        ]
        order = self._orders[place]
        if order is Order.PAIRS:
            tokens = [
                first + second for first, second in zip(tokens[::2], tokens[1::2], strict=True)
            ]
        if order is not Order.GIVEN:
            tokens.sort()
        label = self._labels[place]
        return _hash(b"%d:%b%d:%b" % (len(label), label, len(tokens), b"".join(tokens)))


def _hash(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=DIGEST_BYTES).digest()
