"""The parts of a hook of a `ChunkedMultiPipe`: its functions and steps, each as one step.

Owns how a function is called with a chunk, and that its name is noted.
`bigpipe.streaming.chunked.pipeline` knows the functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from bigpipe.context import name_of
from bigpipe.errors import StreamError
from bigpipe.passage import process_batch
from bigpipe.streaming.steps.base import StatelessStep, Step, begin, has_ended, is_several
from bigpipe.streaming.steps.saving import restore, state_of

__all__ = ["Batch", "Call", "Part"]


class Call(StatelessStep):
    """A function that is called with a chunk and keywords, as a step.

    Parameters
    ----------
    function : callable
        The function, for its name.
    call : callable
        Takes a chunk, and calls the function with it.
    is_stateless : bool
        Whether the function is known to remember nothing.
    """

    def __init__(self, function: Any, call: Callable[[Any], Any], is_stateless: bool) -> None:
        self.__name__ = name_of(function)
        self._call = call
        self._is_stateless = is_stateless

    def run(self, chunk: Any) -> Any:
        """Call the function."""
        return self._call(chunk)

    def _can_save(self) -> bool:
        return self._is_stateless

    def _fresh(self) -> Step:
        return self


class Part(Step):
    """A step of a hook, whose work is noted in the record of the file.

    Parameters
    ----------
    inner : Step
        A fresh step.
    note : callable
        Records that the step is running.
    """

    def __init__(self, inner: Step, note: Callable[[], None]) -> None:
        self.__name__ = name_of(inner)
        self._inner = inner
        self._note = note

    def local_init(self, **kwargs: Any) -> None:
        """Begin the step."""
        self._note()
        begin(self._inner, **kwargs)
        self._note_end()

    def run(self, chunk: Any) -> Any:
        """Send the chunk into the step."""
        self._note()
        value = self._inner(chunk)
        self._note_end()
        return self._noted(value) if is_several(value) else value

    def local_term(self) -> Any:
        """Flush the step."""
        self._note()
        value = self._inner.flush()
        return self._noted(value) if is_several(value) else value

    def close(self) -> None:
        """Close the step."""
        self._life_of().over = True
        self._inner.close()

    def _noted(self, chunks: Iterator[Any]) -> Iterator[Any]:
        self._note()
        for chunk in chunks:
            yield chunk
            self._note()

    def _note_end(self) -> None:
        if has_ended(self._inner):
            self._life_of().ended = True

    def get_state(self) -> Any:
        """Return the state of the step."""
        return {"state": state_of(self._inner), "has_ended": has_ended(self._inner)}

    def set_state(self, state: Any) -> None:
        """Give the step its state."""
        restore(self._inner, state["state"])
        self._inner._life_of().ended = self._life_of().ended = state["has_ended"]

    def _can_save(self) -> bool:
        return self._inner._can_save()

    def _fresh(self) -> Step:
        return self  # each file makes its own steps, so nobody needs another


class Batch(Step):
    """Passes several chunks at a time to `data_process_batch`.

    Parameters
    ----------
    pipe : ChunkedMultiPipe
        The pipeline with this method.
    size : int
        Number of chunks at a time.
    kwargs : dict
        Keywords of the file. Each chunk has those of the moment when it came.
    """

    def __init__(self, pipe: Any, size: int, kwargs: dict[str, Any]) -> None:
        self.__name__ = "data_process_batch"
        self._pipe, self._size, self._kwargs = pipe, size, kwargs
        self._waiting: list[tuple[Any, dict[str, Any]]] = []

    def run(self, chunk: Any) -> Any:
        """Keep the chunk, or process all that are kept."""
        self._waiting.append((chunk, dict(self._kwargs)))
        return self._process() if len(self._waiting) == self._size else None

    def local_term(self) -> Any:
        """Process what is left."""
        return self._process() if self._waiting else None

    def close(self) -> None:
        """Drop what is left."""
        self._life_of().over = True
        self._waiting.clear()

    def _process(self) -> Iterator[Any]:
        batch, self._waiting = self._waiting, []
        results = process_batch(self._pipe, batch)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return iter(results)

    def get_state(self) -> None:
        """Return nothing, as there is no state; raise an error while chunks wait."""
        if self._waiting:
            raise StreamError("chunks wait in a batch")

    def set_state(self, state: None) -> None:
        """Do nothing."""

    def _fresh(self) -> Step:
        return self
