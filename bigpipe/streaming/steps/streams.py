"""A stream of chunks through steps, and streams side by side.

Owns who begins, flushes and closes steps when a stream runs in this process.
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
    """Send chunks through steps, and iterate what comes out.

    Parameters
    ----------
    chunks : iterable
        The stream. ``None`` in it is skipped, and an iterator in it stands for its chunks.
    *steps : step
        Fresh copies of them are used, so that the same steps serve for many streams.
    **kwargs : dict
        Handed to each `Step.local_init`.

    Yields
    ------
    object
        A chunk.

    Notes
    -----
    `Step.local_term` is called, and generators are closed, whatever happens: an error, Ctrl-C, or
    a loop over the result that ends early, when the iterator is closed or forgotten.

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
    """Send chunks through a chain, from its beginning to its end; close it, whatever happens."""
    with Closing(chain.close):
        begin(chain, **keywords)
        for chunk in outputs_of(chunks):
            yield from outputs_of(chain(chunk))
            if has_ended(chain):
                break
        yield from outputs_of(chain.flush())


def zip_streams(*streams: Iterable[Any], fill: Any = _STRICT) -> Iterator[tuple[Any, ...]]:
    """Make one stream of several: tuples of their first chunks, of their second, and so on.

    Parameters
    ----------
    *streams : iterable
        Streams that belong side by side, such as those of two detectors.
    fill : object, optional
        What stands for the chunks of a stream that has ended before another, such as ``None``. If
        not given, all must be equally long.

    Yields
    ------
    tuple
        One chunk of each.

    Raises
    ------
    StreamError
        If one ends before another, and `fill` is not given.

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
                f"Stream {ended[0]} of {len(sources)} ended after {number} chunks, but stream {on} "
                "has more (streams count from 0). If they may differ in length, give fill=None or "
                "another filling."
            )
        yield tuple(fill if chunk is _END else chunk for chunk in chunks)
