"""The members of a group, read side by side.

Owns nothing but that; a member is read by `bigpipe.streaming.reader`, or as a subclass says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bigpipe.errors import StoreError
from bigpipe.streaming.reader import ChunkReader
from bigpipe.streaming.steps.streams import zip_streams

__all__ = ["Members"]


class Members:
    """Streams of a group's members as one stream of tuples.

    Parameters
    ----------
    members : sequence of iterable
        As `read_chunks` returns them, with chunks of one length, or any others.

    Raises
    ------
    StoreError
        If arrays are not equally long. Their last chunks alone may differ, and a chunk of one
        sample would be taken for all of another.

    Notes
    -----
    ``n``, ``positions`` and ``from_position`` are there if all members have them.
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
            f"{first.start + min(n, n_other)}}} reads equally many of each."
        )


def _length(reader: ChunkReader) -> int:
    return max(0, reader.stop - reader.start)
