"""The members of a group, read side by side.

Owns only that. `bigpipe.streaming.reader`, or a subclass, reads a member.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bigpipe.errors import StoreError
from bigpipe.streaming.reader import ChunkReader
from bigpipe.streaming.steps.streams import zip_streams

__all__ = ["Members", "SeekableMembers"]


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
    """

    def __init__(self, members: Sequence[Any]) -> None:
        self._members = list(members)
        readers = [each for each in self._members if isinstance(each, ChunkReader)]
        for reader in readers:
            _check_lengths(readers[0], reader)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return zip_streams(*self._members)

    @property
    def chunk_nbytes(self) -> int:
        """Number of bytes in a chunk, if the members know theirs."""
        return sum(member.chunk_nbytes for member in self._members)


class SeekableMembers(Members):
    """Members of which each can start at any of its chunks.

    Attributes
    ----------
    n : int
        Number of samples in a chunk.
    positions : range
        The first sample of each chunk.
    """

    def __init__(self, members: Sequence[Any]) -> None:
        super().__init__(members)
        self.n, self.positions = self._members[0].n, self._members[0].positions

    def from_position(self, position: int) -> SeekableMembers:
        """Return a stream that starts at a sample."""
        return SeekableMembers([each.from_position(position) for each in self._members])


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
