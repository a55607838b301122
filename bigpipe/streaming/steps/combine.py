"""Steps put together: in a row, and side by side.

Owns the order in which parts are called, ended and flushed. `bigpipe.streaming.steps.base` has the
single step.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from bigpipe.context import name_of
from bigpipe.errors import StreamError
from bigpipe.streaming.steps.base import Closing, Step, begin, has_ended, is_several, outputs_of
from bigpipe.streaming.steps.kinds import as_step

__all__ = ["Combined", "Compose", "SideBySide", "Tee", "compose", "side_by_side", "tee"]

_NOT_OVER = -1


class Combined(Step):
    """Several steps as one: they begin, end and are copied together.

    Parameters
    ----------
    *parts : step
        Steps of any kind.
    """

    _called = "steps"  # name of the function that makes it

    def __init__(self, *parts: Any) -> None:
        self.parts = tuple(as_step(part) for part in parts)
        names = ", ".join(name_of(part) for part in self.parts)
        self.__name__ = f"{self._called}({names})"

    def local_init(self, **kwargs: Any) -> None:
        """Begin each part."""
        with ExitStack() as undo:
            for part in self.parts:
                begin(part, **kwargs)
                undo.push(Closing(part.close))
            undo.pop_all()

    def close(self) -> None:
        """Close each part, even if closing another fails."""
        self._life_of().over = True
        with ExitStack() as stack:
            for part in reversed(self.parts):
                stack.push(Closing(part.close))

    def _fresh(self) -> Combined:
        return type(self)(*(part._fresh() for part in self.parts))

    def __deepcopy__(self, memo: dict[int, Any]) -> Combined:
        return self._fresh()

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.parts)

    def _can_save(self) -> bool:
        return all(part._can_save() for part in self.parts)

    def get_state(self) -> Any:
        """Return the states of the parts."""
        return [part.get_state() for part in self.parts]  # type: ignore[attr-defined]

    def set_state(self, state: Any) -> None:
        """Give each part its state."""
        for part, each in zip(self.parts, state, strict=True):
            part.set_state(each)  # type: ignore[attr-defined]


class Compose(Combined):
    """Steps in a row. `compose` returns one."""

    _called = "compose"

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._n_taken = [0] * len(self.parts)
        self._last_ended = _NOT_OVER  # index of the last part that takes no more chunks
        self._pending: _Pending | None = None

    def run(self, chunk: Any) -> Any:
        """Send a chunk through all parts."""
        if self._pending is not None:
            self._pending.settle()
        i, value = self._sent(0, chunk)
        if is_several(value):
            value = self._pending = _Pending(self._flow(i, value))
        return value

    def local_term(self) -> Any:
        """Flush from front to back: the last chunks of a part go through the parts after it."""
        if self._pending is not None:
            self._pending.settle()
        flow = self._flush_flow()
        first = list(itertools.islice(flow, 2))
        return itertools.chain(first, flow) if len(first) == 2 else (first or [None])[0]

    def get_state(self) -> Any:
        """Return the states of the parts. All chunks of the step must have been taken."""
        if self._pending is not None and self._pending.settle():
            raise StreamError(
                f"the state of {name_of(self)} cannot be saved, as some of its chunks are not yet "
                "taken: take all chunks from the iterator first"
            )
        return {"parts": super().get_state(), "last_ended": self._last_ended}

    def set_state(self, state: Any) -> None:
        """Give each part its state."""
        super().set_state(state["parts"])
        self._last_ended = state["last_ended"]
        self._life_of().ended = self._last_ended != _NOT_OVER

    def _sent(self, i: int, value: Any) -> tuple[int, Any]:
        """Send a value through the parts from ``i`` on, as long as it is one chunk.

        Returns
        -------
        tuple
            The number of the next part, and what it is to receive.
        """
        while i < len(self.parts) and value is not None and not is_several(value):
            value = self._call(i, value)
            i += 1
        return i, value

    def _flow(self, i: int, values: Any) -> Iterator[Any]:
        """Send several chunks through the parts from ``i`` on, each when it is asked for."""
        source = outputs_of(values)
        while True:
            try:
                value = next(source, None)
            except Exception as error:
                if i > 0:  # raised by a part, not by the caller
                    self._note(error, i - 1, self._n_taken[i - 1] - 1)
                raise
            if value is None or i <= self._last_ended:  # nobody takes more
                return
            j, value = self._sent(i, value)
            if is_several(value):
                yield from self._flow(j, value)
            elif value is not None:
                yield value

    def _flush_flow(self) -> Iterator[Any]:
        for i, part in enumerate(self.parts):
            if i < self._last_ended:
                part.close()  # nobody takes its last chunk
                continue
            try:
                last = part.flush()
            except Exception as error:
                error.add_note(f"At the end of {self._place(i)}, after {self._n_taken[i]} chunks.")
                raise
            if last is not None:
                yield from self._flow(i + 1, last)

    def _call(self, i: int, chunk: Any) -> Any:
        part = self.parts[i]
        number = self._n_taken[i]
        self._n_taken[i] += 1
        try:
            value = part(chunk)
        except Exception as error:
            self._note(error, i, number)
            raise
        if has_ended(part):
            self._last_ended = max(self._last_ended, i)
            self._life_of().ended = True
        return value

    def _note(self, error: Exception, i: int, number: int) -> None:
        error.add_note(f"In {self._place(i)}, chunk {number}, counted from 0.")

    def _place(self, i: int) -> str:
        return f"step {i + 1} of {len(self.parts)}, {name_of(self.parts[i])}"


class _Pending:
    """Chunks on their way, each sent through the remaining parts when it is asked for.

    If another chunk is sent before all are taken, the others are sent through first and kept here.
    So the order in which a part receives its chunks does not depend on when the caller takes them.
    """

    def __init__(self, flow: Iterator[Any]) -> None:
        self._flow = flow
        self._kept: deque[Any] = deque()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._kept.popleft() if self._kept else next(self._flow)

    def settle(self) -> int:
        """Send all remaining chunks through; return how many are kept."""
        self._kept.extend(self._flow)
        return len(self._kept)


class Tee(Combined):
    """One chunk into several steps. `tee` returns one."""

    _called = "tee"

    def run(self, chunk: Any) -> Any:
        """Send the chunk into each branch."""
        return self._beside([self._branch(part, chunk) for part in self.parts])

    def local_term(self) -> Any:
        """Flush each branch."""
        return self._beside([part.flush() for part in self.parts])

    def get_state(self) -> Any:
        """Return the states of the branches."""
        return {"parts": super().get_state(), "ended": [has_ended(part) for part in self.parts]}

    def set_state(self, state: Any) -> None:
        """Give each branch its state."""
        super().set_state(state["parts"])
        for part, ended in zip(self.parts, state["ended"], strict=True):
            part._life_of().ended = ended
        self._note_end()

    def _branch(self, part: Step, chunk: Any) -> Any:
        return None if chunk is None or has_ended(part) else part(chunk)

    def _beside(self, results: list[Any]) -> Any:
        self._note_end()
        if any(map(is_several, results)):
            return self._rows(results)
        return None if all(result is None for result in results) else tuple(results)

    def _rows(self, results: list[Any]) -> Iterator[Any]:
        yield from itertools.zip_longest(*map(outputs_of, results))
        self._note_end()

    def _note_end(self) -> None:
        self._life_of().ended = bool(self.parts) and all(map(has_ended, self.parts))


class SideBySide(Tee):
    """Several streams, a step for each. `side_by_side` returns one."""

    _called = "side_by_side"

    def run(self, chunk: Any) -> Any:
        """Send each entry of a tuple into its branch."""
        if not isinstance(chunk, tuple) or len(chunk) != len(self.parts):
            given = f"a tuple of {len(chunk)}" if isinstance(chunk, tuple) else type(chunk).__name__
            raise StreamError(
                f"{name_of(self)} takes tuples of {len(self.parts)}, one entry for each of its "
                f"steps, but was given {given}"
            )
        return self._beside(
            [self._branch(part, each) for part, each in zip(self.parts, chunk, strict=True)]
        )


def compose(*steps: Any) -> Compose:
    """Combine several steps in a row into one.

    Parameters
    ----------
    *steps : step
        Each receives the results of the one before it. Without any, chunks pass unchanged.

    Returns
    -------
    Step
        Its result is an iterator only if a part returned one. The chunks of an iterator go through
        the remaining parts one at a time, when they are asked for.

    Notes
    -----
    At the end, steps are flushed from front to back: the last chunk of the first goes through the
    others, then the second is flushed, and so on. If a step ends the stream early, the steps before
    it are closed, and those after it are flushed.

    An error keeps its type and gets a note that names the step and the chunk.

    Examples
    --------
    >>> both = compose(abs, float)
    >>> both(-3)
    3.0
    """
    return Compose(*steps)


def tee(*steps: Any) -> Tee:
    """Send each chunk into several steps, and combine their results into a tuple.

    Parameters
    ----------
    *steps : step
        All receive the same chunk, so they must not write into it.

    Returns
    -------
    Step
        Its result is a tuple with one entry per step: ``None`` if that step returned nothing. If
        all returned nothing, the result is ``None``. If any returned several chunks, the result is
        an iterator of tuples: the first chunks of all steps, then the second ones, with ``None``
        where a step returned fewer. So all entries of a tuple come from the same chunk.

    Examples
    --------
    >>> tee(min, max, lambda chunk: None)([3, 1, 2])
    (1, 3, None)
    """
    return Tee(*steps)


def side_by_side(*steps: Any) -> SideBySide:
    """Send each entry of a tuple into its own step.

    Parameters
    ----------
    *steps : step
        One for each entry of the tuples. A step whose entry is ``None`` is not called.

    Returns
    -------
    Step
        Its result is like that of `tee`.

    Examples
    --------
    >>> side_by_side(abs, str)((-1, 2))
    (1, '2')
    >>> side_by_side(abs, str)((-1, None))
    (1, None)
    """
    return SideBySide(*steps)
