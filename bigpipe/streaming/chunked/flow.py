"""The chunks of one file on their way through the hooks.

Owns what the record of the file says of each chunk, and how a file's streams are restored to the
point that a killed run had reached. Each hook pulls chunks from the one before it::

    Source       what file_read has returned; counts the chunks
      ^ Flow     pre_process_list
      ^ Flow     data_process
      ^ Flow     post_process_list
      ^          file_write

When the source is asked for a chunk, all chunks before it have passed all hooks. Only at this
instant can the file's state be saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from bigpipe.context import FileContext
from bigpipe.errors import StreamError
from bigpipe.passage import RESERVED
from bigpipe.streaming.steps.base import Step
from bigpipe.streaming.steps.combine import compose
from bigpipe.streaming.steps.saving import can_save, restore, state_of
from bigpipe.streaming.steps.streams import through

__all__ = ["Course", "Flow", "Source", "close", "parts_between"]

N_FLOWS = 3  # of a file: before the processing, the processing, after it


class Course:
    """State that the streams of one file share.

    Parameters
    ----------
    file : FileContext
        The record of the file.

    Attributes
    ----------
    file : FileContext
        As given.
    added : dict
        Keywords that pre-processing functions have added.
    """

    def __init__(self, file: FileContext) -> None:
        self.file = file
        self.added: dict[str, Any] = {}
        self._keywords: list[dict[str, Any]] = []

    def follow(self, keywords: dict[str, Any]) -> None:
        """Add keywords that are added later to these, too."""
        self._keywords.append(keywords)

    def add(self, keywords: dict[str, Any]) -> None:
        """Add keywords for the rest of the file."""
        own = {name: value for name, value in keywords.items() if name not in RESERVED}
        self.added.update(own)
        for each in self._keywords:
            each.update(own)


class Source(Iterator[Any]):
    """The chunks that `file_read` has returned, as a stream.

    Parameters
    ----------
    chunks : iterable
        The chunks.
    file : FileContext
        The record of the file.

    Attributes
    ----------
    course : Course
        Shared state of the file's streams.
    chunks : iterable
        As given.
    n_read : int
        Number of chunks taken so far.
    at_edge : callable or None
        Called before each chunk but the first, when all before it have passed all hooks.
    """

    def __init__(self, chunks: Iterable[Any], file: FileContext) -> None:
        self.course = Course(file)
        self.at_edge: Callable[[], None] | None = None
        self.take_from(chunks, 0)

    def take_from(self, chunks: Iterable[Any], n_read: int) -> None:
        """Take these chunks from now on; `n_read` were read before them."""
        self.chunks, self.n_read = chunks, n_read
        self._iterator = iter(chunks)

    def __next__(self) -> Any:
        if self.at_edge is not None and self.n_read:
            self.at_edge()
        self.course.file.begin("file_read")
        self.course.file.chunk = self.n_read
        try:
            chunk = next(self._iterator)
        except StopIteration:
            self.course.file.chunk = None
            raise
        self.n_read += 1
        return chunk

    def close(self) -> None:
        """Close the iterable of chunks."""
        close(self._iterator)
        close(self.chunks)


class Flow(Iterator[Any]):
    """A stream after the steps of one hook.

    Parameters
    ----------
    source : Flow or Source
        The stream before them.
    make_parts : callable
        Returns fresh steps each time it is called.
    keywords : dict
        Keywords for ``local_init``. Keywords that are added to the file later are added to these.
    at_end : callable, optional
        Called once, when the stream has ended or is closed.
    """

    def __init__(
        self,
        source: Flow | Source,
        make_parts: Callable[[], Sequence[Step]],
        keywords: dict[str, Any],
        at_end: Callable[[], object] | None = None,
    ) -> None:
        self.source = source
        self.course: Course = source.course
        self._make_parts = make_parts
        self._keywords = keywords
        self._at_end = at_end
        self._ahead: deque[Any] = deque()
        self._chain = compose(*make_parts())
        self._chunks = through(self._chain, source, keywords)

    def has_any(self) -> bool:
        """Wait for the first chunk; return whether there is one. If not, the stream has ended."""
        if not self._ahead:
            before = self.course.file.hook
            for chunk in self._chunks:
                self._ahead.append(chunk)
                self.course.file.resume(before)
                return True
            self._end()
        return bool(self._ahead)

    def __next__(self) -> Any:
        if self._ahead:
            return self._ahead.popleft()
        before = self.course.file.hook
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._end()
            self.course.file.resume(before)
            raise
        self.course.file.resume(before)
        return chunk

    def _end(self) -> None:
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            at_end()

    def close(self) -> None:
        """End the stream where it is, and the streams before it."""
        self._ahead.clear()
        try:
            self._stop()
        finally:
            try:
                close(self.source)
            finally:
                self._end()

    def _stop(self) -> None:
        try:
            close(self._chunks)
        finally:
            self._chain.close()  # `_chunks` does not, if it was never asked for a chunk

    @property
    def can_save(self) -> bool:
        """Whether the state of the steps can be saved."""
        return can_save(self._chain)

    def state(self) -> Any:
        """Return the state of the steps.

        Raises
        ------
        StreamError
            If chunks have not passed all hooks.
        """
        if self._ahead:
            raise StreamError("chunks were asked for in advance and not yet taken")
        return state_of(self._chain)

    def rewind(self) -> None:
        """End the steps, and make fresh ones that have not begun."""
        self._ahead.clear()
        self._stop()
        self._chain = compose(*self._make_parts())

    def resume(self, state: Any) -> None:
        """Restore the state of fresh steps, and take chunks from the source again."""
        restore(self._chain, state, **self._keywords)
        self._chunks = through(self._chain, self.source, self._keywords)


def parts_between(stream: Any) -> tuple[list[Flow], Source] | None:
    """Return the streams up to this one and their source; ``None`` if another is in between."""
    flows: list[Flow] = []
    while isinstance(stream, Flow):
        flows.append(stream)
        stream = stream.source
    is_whole = len(flows) == N_FLOWS and isinstance(stream, Source)
    return (flows[::-1], stream) if is_whole else None


def close(stream: Any) -> None:
    """Close a stream, if it can be closed."""
    method = getattr(stream, "close", None)
    if callable(method):
        method()
