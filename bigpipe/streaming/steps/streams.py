"""A stream of chunks through steps, and streams side by side.

Owns how steps are begun, flushed and closed when a stream runs in this process.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from typing import Any

from bigpipe.errors import StreamError
from bigpipe.streaming.steps.base import Closing, begin, has_ended, outputs_of
from bigpipe.streaming.steps.combine import Compose, compose
from bigpipe.streaming.steps.kinds import fresh

__all__ = ["run_steps", "through", "zip_streams"]

_END = object()
_STRICT = object()


def run_steps(chunks: Iterable[Any], /, *steps: Any, **kwargs: Any) -> Iterator[Any]:
    """Send chunks through steps, and iterate over the results.

    Parameters
    ----------
    chunks : iterable
        The stream. ``None`` is skipped; an iterator stands for the chunks that it yields.
    *steps : step
        The steps. Fresh copies are used, so you can use the same steps for many streams.
    **kwargs : dict
        Keywords for each `Step.local_init`.

    Yields
    ------
    object
        A chunk.

    Notes
    -----
    `Step.local_term` is always called, and generators are always closed: after an error or Ctrl-C,
    and when a loop over the result ends early and the iterator is closed or deleted.

    Examples
    --------
    >>> list(run_steps([[1, 2], [3]], sum, float))
    [3.0, 3.0]
    """
    chain = fresh(compose(*steps))
    return _run(chunks, chain, kwargs)


def _run(chunks: Iterable[Any], chain: Compose, keywords: dict[str, Any]) -> Iterator[Any]:
    source = iter(chunks)
    with ExitStack() as stack:
        if source is not chunks and hasattr(source, "close"):
            stack.push(Closing(source.close))
        yield from through(chain, source, keywords)


def through(
    chain: Compose, chunks: Iterator[Any], keywords: dict[str, Any]
) -> Generator[Any, None, None]:
    """Send chunks through a chain, from its beginning to its end; always close it."""
    with Closing(chain.close):
        begin(chain, **keywords)
        for chunk in outputs_of(chunks):
            yield from outputs_of(chain(chunk))
            if has_ended(chain):
                break
        yield from outputs_of(chain.flush())


def zip_streams(*streams: Iterable[Any], fill: Any = _STRICT) -> Iterator[tuple[Any, ...]]:
    """Combine several streams into one of tuples: their first chunks, their second, and so on.

    Parameters
    ----------
    *streams : iterable
        Streams that belong together, such as those of two detectors.
    fill : object, optional
        Filling for a stream that ends before another, such as ``None``. If not given, all
        streams must be equally long.

    Yields
    ------
    tuple
        One chunk of each stream.

    Raises
    ------
    StreamError
        If a stream ends before another and `fill` is not given.

    Examples
    --------
    >>> list(zip_streams([1, 2], "ab"))
    [(1, 'a'), (2, 'b')]
    >>> list(zip_streams([1, 2], "a", fill=None))
    [(1, 'a'), (2, None)]
    """
    sources = [iter(stream) for stream in streams]
    for number in itertools.count():
        chunks = [next(source, _END) for source in sources]
        ended = [i for i, chunk in enumerate(chunks) if chunk is _END]
        if len(ended) == len(sources):
            return
        if ended and fill is _STRICT:
            on = next(i for i in range(len(sources)) if i not in ended)
            raise StreamError(
                f"stream {ended[0]} of {len(sources)} ended after {number} chunks, but stream {on} "
                "has more (streams count from 0). If they may differ in length, give fill=None or "
                "another filling."
            )
        yield tuple(fill if chunk is _END else chunk for chunk in chunks)
