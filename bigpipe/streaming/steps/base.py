"""A step: it takes a chunk and returns a chunk, nothing yet, or several chunks.

Owns the life of a step, from its first chunk to its last. `bigpipe.streaming.steps.kinds` has the
ways to write one, `bigpipe.streaming.steps.combine` the ways to put them together::

    new -- begin: local_init -- run(chunk), run(chunk), ... -- flush: local_term, last chunk -- over
     |                           |   |                                                           |
     |                           |   +-- StopStream: ended, takes no more; still to be flushed   |
     |                           +-- error -- close: local_term -----------------------------------
     +-- fresh: another one, as this one was when new
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
    """Raise this in a step to end the stream early. A step that has ended raises it too.

    Parameters
    ----------
    last : object, optional
        A last chunk, or an iterator of chunks. Also the attribute ``value``.

    Notes
    -----
    It ends a loop over ``map(filt, chunks)``, as the end of the chunks would. In a generator, use
    ``return last`` instead.
    """

    def __init__(self, last: Any = None) -> None:
        super().__init__(last)


class _Life:
    """How far a step has come. Never copied or pickled: a copy of a step begins anew."""

    __slots__ = ("begun", "ended", "no_source", "over", "source")

    def __init__(self, source: Step | None = None) -> None:
        self.begun = False
        self.ended = False  # takes no more chunks, but is still to be flushed
        self.over = False
        self.source = source  # a copy of the step from before it began
        self.no_source: Exception | None = None  # why it could not be copied

    def __reduce__(self) -> tuple[Any, ...]:
        return (_Life, ())


class Step:
    """Base class for steps with state. Derive from it and write `run`.

    Keep the state in attributes. Only `run` is required. A class with these methods need not
    derive from `Step` to be a step, but then you cannot call its objects by hand.

    Notes
    -----
    `fresh` copies a step with `copy.deepcopy`, as it was before `local_init`, so no file sees
    state of another file. Read-only arrays (``taps.flags.writeable = False``) are shared instead of
    copied. Open what cannot be copied, such as a file or a lock, in `local_init`.

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
            The next chunk. Never ``None`` or an iterator.

        Returns
        -------
        object
            A chunk; ``None`` for no chunk yet; an iterator for several chunks; a tuple for several
            parallel streams.

        Raises
        ------
        StopStream
            To take no more chunks. It may carry a last one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method run(self, chunk): add one")

    def local_init(self, **kwargs: Any) -> None:
        """Prepare for the first chunk. Called once, in the process in which the step runs.

        Parameters
        ----------
        **kwargs : dict
            The keywords of the pipeline; none if you use the step by hand. A method without
            ``**kwargs`` receives only the keywords that it names.
        """

    def local_term(self) -> Any:
        """Clean up. Called once if `local_init` has returned, also after an error or Ctrl-C.

        Returns
        -------
        object
            A last chunk, or an iterator of chunks; ``None`` for nothing. After an error, the result
            is ignored, and an exception raised here becomes a note on that error.
        """

    def __call__(self, chunk: Any) -> Any:
        """Take a chunk by hand; the first call begins the step."""
        life = self._life_of()
        if life.over:
            raise StepError(f"the step {name_of(self)} is over: use fresh(step) to begin again")
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
        """Clean up and discard the last chunk. Closing twice, or after `flush`, does nothing."""
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
            object.__setattr__(self, "_life", _Life())  # even if the subclass has a __setattr__
        assert self._life is not None
        return self._life

    def _begin(self, keywords: dict[str, Any]) -> None:
        life = self._life_of()
        if life.begun:
            return
        if life.source is None:
            try:
                life.source = self._fresh()
            except StepError as error:  # used by hand, a copy may never be needed
                life.no_source = error
        self.local_init(**accepted_by(self.local_init, keywords))
        life.begun = True

    def _fresh(self) -> Step:
        origin = self._origin()
        try:
            other: Step = copy.deepcopy(origin, _read_only_in(origin._holder()))
        except Exception as error:
            raise StepError(
                f"the step {name_of(self)} cannot be copied, but each file needs a copy: {error}. "
                "Open what cannot be copied, such as a file, in local_init."
            ) from error
        object.__setattr__(other, "_life", _Life(source=origin))
        return other

    def _origin(self) -> Step:
        """Return this step, or its copy from before it began."""
        life = self._life_of()
        if not life.begun:
            return self
        if life.source is None:
            assert life.no_source is not None
            raise life.no_source
        return life.source._origin()

    def _holder(self) -> object:
        """Return the object whose attributes hold the state."""
        return self

    def __getstate__(self) -> Any:
        origin = self._origin()
        state = object.__getstate__(origin)
        if isinstance(state, dict):
            return {name: value for name, value in state.items() if name != "_life"}
        return state  # with slots; pickling `_life` gives a new one

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

    If closing fails after an error in the block, the first error is raised, with a note on the
    second, which is often only its consequence.

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
    """Add a note to an error about another one that came after it."""
    error.add_note(f"Then, while closing: {type(second).__name__}: {message_of(second)}")


def begin(what: Step, /, **kwargs: Any) -> None:
    """Call `Step.local_init` with keywords, unless the step has begun."""
    what._begin(kwargs)


def has_ended(what: Step) -> bool:
    """Return whether a step takes no more chunks. It must still be flushed."""
    return what._life_of().ended


def is_several(result: Any) -> bool:
    """Return whether the result of a step is an iterator of chunks."""
    return hasattr(type(result), "__next__")


def outputs_of(result: Any) -> Iterator[Any]:
    """Iterate over the chunks that a step has returned: none, one or several.

    Parameters
    ----------
    result : object
        The result of a step or of its `Step.flush`.

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
    """Return the keywords that a function takes."""
    if not keywords:
        return keywords
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return keywords
    return {name: value for name, value in keywords.items() if name in parameters}


def _read_only_in(holder: object) -> dict[int, Any]:
    """Return the read-only arrays among the attributes, as a memo for `copy.deepcopy`."""
    attributes = getattr(holder, "__dict__", {}).values()
    return {id(each): each for each in attributes if _is_read_only(each)}


def _is_read_only(value: Any) -> bool:
    return getattr(getattr(value, "flags", None), "writeable", True) is False


def has_state(what: Any) -> bool:
    """Return whether an object has methods to get and set its state."""
    return all(callable(getattr(what, name, None)) for name in ("get_state", "set_state"))
