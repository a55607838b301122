"""A step: what takes a chunk and gives a chunk, nothing yet, or several.

Owns the life of a step, from its first chunk to its last. Ways to write one are in
`bigpipe.streaming.steps.kinds`, steps put together in `bigpipe.streaming.steps.combine`::

    new -- begin: local_init -- run(chunk), run(chunk), ... -- flush: local_term, last chunk -- over
     |                           |   |                                                           |
     |                           |   +-- StopStream: ended, takes no more; still to be flushed   |
     |                           +-- error -- close: local_term -----------------------------------
     +-- fresh: another, as this one was when it was new
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from bigpipe.context import name_of
from bigpipe.errors import StepError, message_of

__all__ = [
    "Closing",
    "StatelessStep",
    "Step",
    "StopStream",
    "accepted_by",
    "begin",
    "has_ended",
    "has_state",
    "is_several",
    "note_second",
    "outputs_of",
]


class StopStream(StopIteration):
    """Raised in a step to end the stream early; raised by a step that has ended.

    Parameters
    ----------
    last : object, optional
        A last chunk, or an iterator of chunks; also its attribute ``value``.

    Notes
    -----
    It ends a loop over ``map(filt, chunks)`` as the end of the chunks does. In a generator,
    ``return last`` is used instead.
    """

    def __init__(self, last: Any = None) -> None:
        super().__init__(last)


class _Life:
    """How far a step has come. Never copied or pickled: who is copied begins anew."""

    __slots__ = ("begun", "ended", "no_source", "over", "source")

    def __init__(self, source: Step | None = None) -> None:
        self.begun = False
        self.ended = False  # takes no more chunks; still to be flushed
        self.over = False
        self.source = source  # what it was before it began
        self.no_source: Exception | None = None  # why there is none

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Life, ())


class Step:
    """A step with state: derive from it, and write `run`.

    A subclass keeps what it remembers in attributes. Nothing but `run` has to be written, and a
    class with these methods that derives from something else is a step as well; what it lacks
    is that its objects can be called by hand.

    Notes
    -----
    `fresh` copies a step by `copy.deepcopy`, as it was before `local_init`, so that what one file
    leaves in its attributes is not seen by another. Arrays that are marked read-only
    (``taps.flags.writeable = False``) are not copied but shared. What cannot be copied, such as
    an open file or a lock, belongs into `local_init`.

    A step that also has ``get_state()`` and ``set_state(state)`` can be saved in a checkpoint: see
    `can_save`.

    Examples
    --------
    >>> class Total(Step):
    ...     def local_init(self, **kwargs):
    ...         self.total = 0
    ...
    ...     def run(self, chunk):
    ...         self.total += sum(chunk)
    ...
    ...     def local_term(self):
    ...         return self.total
    >>> total = Total()
    >>> total([1, 2]), total([3]), total.flush()
    (None, None, 6)
    """

    _life: _Life | None = None

    def run(self, chunk: Any) -> Any:
        """Take a chunk.

        Parameters
        ----------
        chunk : object
            The next chunk. Never ``None``, and no iterator.

        Returns
        -------
        object
            A chunk; ``None`` if there is nothing yet; an iterator if there are several chunks;
            a tuple if there are several streams side by side.

        Raises
        ------
        StopStream
            To take no more chunks; it may bring a last one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method run(self, chunk): add one.")

    def local_init(self, **kwargs: Any) -> None:
        """Prepare for the first chunk: called once, in the process in which the step runs.

        Parameters
        ----------
        **kwargs : dict
            The keywords of the pipeline; none if the step is used by hand. A method that names
            its keywords, and has no ``**kwargs``, is given those that it names.
        """

    def local_term(self) -> Any:
        """Clean up: called once, also after an error or Ctrl-C, if `local_init` has returned.

        Returns
        -------
        object
            A last chunk, or an iterator of chunks; ``None`` for nothing. After an error, what it
            returns is not used, and what it raises is a note on that error.
        """

    def __call__(self, chunk: Any) -> Any:
        """Take a chunk by hand; the first call begins the step."""
        life = self._life_of()
        if life.over:
            raise StepError(f"The step {name_of(self)} is over: use fresh(step) to begin again.")
        if life.ended:
            raise StopStream
        if not life.begun:
            self._begin({})
            if life.ended:
                raise StopStream
        try:
            return self.run(chunk)
        except StopStream as stop:
            life.ended = True
            return stop.value

    def flush(self) -> Any:
        """End the stream.

        Returns
        -------
        object
            The last chunk, an iterator of the last chunks, or ``None``.
        """
        life = self._life_of()
        if life.over:
            return None
        if not life.begun:
            self._begin({})
        life.over = True
        return self.local_term()

    def close(self) -> None:
        """Clean up without a last chunk. Closing twice, or after `flush`, does nothing."""
        life = self._life_of()
        if life.begun and not life.over:
            life.over = True
            self.local_term()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        Closing(self.close).__exit__(kind, error, frames)

    def __repr__(self) -> str:
        return f"<step {name_of(self)}>"

    def _life_of(self) -> _Life:
        if self._life is None:
            object.__setattr__(self, "_life", _Life())  # whatever the subclass makes of setting
        assert self._life is not None
        return self._life

    def _begin(self, keywords: dict[str, Any]) -> None:
        life = self._life_of()
        if life.begun:
            return
        if life.source is None:
            try:
                life.source = self._fresh()
            except StepError as error:  # by hand, it may never be needed
                life.no_source = error
        self.local_init(**accepted_by(self.local_init, keywords))
        life.begun = True

    def _fresh(self) -> Step:
        origin = self._origin()
        try:
            other: Step = copy.deepcopy(origin, _read_only_in(origin._holder()))
        except Exception as error:
            raise StepError(
                f"The step {name_of(self)} cannot be copied, but each file needs a copy: {error}. "
                "Open what cannot be copied, such as a file, in local_init."
            ) from error
        object.__setattr__(other, "_life", _Life(source=origin))
        return other

    def _origin(self) -> Step:
        """Return this step, or what it was before it began."""
        life = self._life_of()
        if not life.begun:
            return self
        if life.source is None:
            assert life.no_source is not None
            raise life.no_source
        return life.source._origin()

    def _holder(self) -> object:
        """Return the object whose attributes are the state."""
        return self

    def __getstate__(self) -> Any:
        origin = self._origin()
        state = object.__getstate__(origin)
        if isinstance(state, dict):
            return {name: value for name, value in state.items() if name != "_life"}
        return state  # with slots: what is in _life is dropped by itself

    def _can_save(self) -> bool:
        return has_state(self)


class StatelessStep(Step):
    """A step that remembers nothing from chunk to chunk."""

    def get_state(self) -> None:
        """Return nothing: there is no state."""

    def set_state(self, state: None) -> None:
        """Do nothing."""


class Closing:
    """Closes something when a block ends.

    If closing fails after an error of the block, that error is raised, and notes the other: it
    tells why, and what comes after is often no more than its consequence.

    Parameters
    ----------
    close : callable
        Called once, without arguments.
    """

    def __init__(self, close: Callable[[], object]) -> None:
        self._close = close

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, GeneratorExit):  # nothing has failed yet
            self._close()
            return
        try:
            self._close()
        except Exception as second:  # a step may raise anything
            note_second(error, second)


def note_second(error: BaseException, second: BaseException) -> None:
    """Note on an error that another was raised after it."""
    error.add_note(f"Then, while closing: {type(second).__name__}: {message_of(second)}")


def begin(what: Step, /, **kwargs: Any) -> None:
    """Call `Step.local_init` with keywords, unless the step has begun."""
    what._begin(kwargs)


def has_ended(what: Step) -> bool:
    """Whether a step takes no more chunks: its source may stop, but it is still to be flushed."""
    return what._life_of().ended


def is_several(result: Any) -> bool:
    """Whether what a step has returned is an iterator of chunks."""
    return hasattr(type(result), "__next__")


def outputs_of(result: Any) -> Iterator[Any]:
    """Iterate the chunks that a step has returned: none, one or several.

    Parameters
    ----------
    result : object
        What a step, or its `Step.flush`, has returned.

    Yields
    ------
    object
        A chunk.

    Examples
    --------
    >>> list(outputs_of(None)), list(outputs_of([1, 2])), list(outputs_of(iter([1, 2])))
    ([], [[1, 2]], [1, 2])
    """
    if is_several(result):
        for each in result:
            yield from outputs_of(each)
    elif result is not None:
        yield result


def accepted_by(function: Callable[..., Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Return those keywords that a function takes."""
    if not keywords:
        return keywords
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return keywords
    return {name: value for name, value in keywords.items() if name in parameters}


def _read_only_in(holder: object) -> dict[int, Any]:
    """Return the read-only arrays among the attributes, as a memo of what not to copy."""
    attributes = getattr(holder, "__dict__", {}).values()
    return {id(each): each for each in attributes if _is_read_only(each)}


def _is_read_only(value: Any) -> bool:
    return getattr(getattr(value, "flags", None), "writeable", True) is False


def has_state(what: Any) -> bool:
    """Whether an object can say its state."""
    return all(callable(getattr(what, name, None)) for name in ("get_state", "set_state"))
