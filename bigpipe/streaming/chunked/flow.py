"""The chunks of one file on their way through the hooks.

Owns what is noted of each chunk in the record of the file, and how a file's streams are brought to
where a killed run had left them. Each hook pulls from the one before it, chunk by chunk::

    Source       what file_read has returned; counts the chunks
      ^ Flow     pre_process_list
      ^ Flow     data_process
      ^ Flow     post_process_list
      ^          file_write

When the source is asked for a chunk, all before it have gone the whole way: that is the instant at
which the file's state can be saved.
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
    """What the streams of one file have in common.

    Parameters
    ----------
    file : FileContext or None
        The record of the file; ``None`` if a hook is called outside a run.

    Attributes
    ----------
    added : dict
        Keywords that the functions before the processing have added.
    """

    def __init__(self, file: FileContext | None) -> None:
        self._file = file
        self.added: dict[str, Any] = {}
        self._keywords: list[dict[str, Any]] = []

    def follow(self, keywords: dict[str, Any]) -> None:
        """Let keywords that are added be added to these, too."""
        self._keywords.append(keywords)

    def add(self, keywords: dict[str, Any]) -> None:
        """Add keywords for the rest of the file."""
        own = {name: value for name, value in keywords.items() if name not in RESERVED}
        self.added.update(own)
        for each in self._keywords:
            each.update(own)

    @property
    def hook(self) -> str | None:
        """The hook that runs now."""
        return None if self._file is None else self._file.hook

    def begin(self, hook: str, function: Any = None) -> None:
        """Note that a hook, or a function of its list, begins."""
        if self._file is not None:
            self._file.begin(hook, function)

    def resume(self, hook: str | None) -> None:
        """Note that a hook goes on."""
        if self._file is not None:
            self._file.resume(hook)

    def at_chunk(self, number: int | None) -> None:
        """Note which chunk is at work; ``None`` when all have come."""
        if self._file is not None:
            self._file.chunk = number


class Source(Iterator[Any]):
    """What `file_read` has returned, as a stream.

    Parameters
    ----------
    chunks : iterable
        The chunks.
    course : Course
        Of the file.

    Attributes
    ----------
    chunks : iterable
        As given.
    n_read : int
        Chunks that were taken so far.
    at_edge : callable or None
        Called before each chunk but the first, when all before it have gone the whole way.
    """

    def __init__(self, chunks: Iterable[Any], course: Course) -> None:
        self.course = course
        self.at_edge: Callable[[], None] | None = None
        self.go_on(chunks, 0)

    def go_on(self, chunks: Iterable[Any], n_read: int) -> None:
        """Take these chunks from now on, so many having been read."""
        self.chunks, self.n_read = chunks, n_read
        self._iterator = iter(chunks)

    def __next__(self) -> Any:
        if self.at_edge is not None and self.n_read:
            self.at_edge()
        self.course.begin("file_read")
        self.course.at_chunk(self.n_read)
        try:
            chunk = next(self._iterator)
        except StopIteration:
            self.course.at_chunk(None)
            raise
        self.n_read += 1
        return chunk

    def close(self) -> None:
        """Close what the chunks come from."""
        close(self._iterator)
        close(self.chunks)


class Flow(Iterator[Any]):
    """What the steps of one hook make of a stream.

    Parameters
    ----------
    source : Flow or Source
        The stream.
    make_parts : callable
        Returns fresh steps, each time that it is called.
    keywords : dict
        For ``local_init``. What is added to the file's keywords later is added to these.
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
        """Whether a chunk comes: waits for the first. If none does, the stream has ended."""
        if not self._ahead:
            before = self.course.hook
            for chunk in self._chunks:
                self._ahead.append(chunk)
                self.course.resume(before)
                return True
            self._end()
        return bool(self._ahead)

    def __next__(self) -> Any:
        if self._ahead:
            return self._ahead.popleft()
        before = self.course.hook
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._end()
            self.course.resume(before)
            raise
        self.course.resume(before)
        return chunk

    def _end(self) -> None:
        at_end, self._at_end = self._at_end, None
        if at_end is not None:
            at_end()

    def close(self) -> None:
        """End the stream where it is, and all that it comes from."""
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
            self._chain.close()  # which a stream that was never asked for a chunk has not begun

    @property
    def can_save(self) -> bool:
        """Whether the steps can say their state."""
        return can_save(self._chain)

    def state(self) -> Any:
        """Return the state of the steps.

        Raises
        ------
        StreamError
            If chunks have not gone the whole way.
        """
        if self._ahead:
            raise StreamError("chunks were looked at and not yet taken.")
        return state_of(self._chain)

    def rewind(self) -> None:
        """End the steps, and make fresh ones that have not begun."""
        self._ahead.clear()
        self._stop()
        self._chain = compose(*self._make_parts())

    def go_on(self, state: Any) -> None:
        """Bring fresh steps into a state, and take chunks from the source again."""
        restore(self._chain, state, **self._keywords)
        self._chunks = through(self._chain, self.source, self._keywords)


def parts_between(stream: Any) -> tuple[list[Flow], Source] | None:
    """Return the source and all streams up to this one, if nobody has put another in between."""
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
