"""The members of a group, read side by side.

Owns only that. `bigpipe.streaming.reader`, or a subclass, reads a member.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bigpipe.errors import StoreError
from bigpipe.streaming.reader import ChunkReader
from bigpipe.streaming.steps.streams import zip_streams

__all__ = ["Members"]


class Members:
    """The streams of a group's members as one stream of tuples.

    Parameters
    ----------
    members : sequence of iterable
        Readers of `read_chunks` with chunks of the same length, or any other iterables.

    Raises
    ------
    StoreError
        If the arrays of readers differ in length. Only their last chunks might then differ, and
        numpy would broadcast a chunk of one sample.

    Notes
    -----
    It has ``n``, ``positions`` and ``from_position`` if all members have them.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        self._members = list(members)
        readers = [each for each in self._members if isinstance(each, ChunkReader)]
        for reader in readers:
            _check_lengths(readers[0], reader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip_streams(*self._members)

    def __getattr__(self, name: str) -> Any:
        if name in ("n", "positions"):
            return getattr(self._members[0], name)
        if name == "chunk_nbytes":
            return sum(member.chunk_nbytes for member in self._members)
        if name == "from_position" and all(hasattr(each, name) for each in self._members):
            return lambda position: Members(
                [each.from_position(position) for each in self._members]
            )
        raise AttributeError(name)


def _check_lengths(first: ChunkReader, other: ChunkReader) -> None:
    n, n_other = _length(first), _length(other)
    if n != n_other:
        raise StoreError(
            f"the files of a group must be equally long, but {first.name!r} has {n} samples along "
            f"axis {first.axis}, {other.name!r} {n_other}: read_options={{'stop': "
            f"{first.start + min(n, n_other)}}} reads equally many of each"
        )


def _length(reader: ChunkReader) -> int:
    return max(0, reader.stop - reader.start)
