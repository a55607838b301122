"""The ways to write a step: a function, a generator function, an object with a method ``run``.

Owns how each becomes a `Step`, and how a fresh one is made.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any

from bigpipe.context import name_of
from bigpipe.errors import StepError
from bigpipe.streaming.steps.base import (
    StatelessStep,
    Step,
    StopStream,
    accepted_by,
    begin,
    has_state,
)

__all__ = [
    "FunctionStep",
    "GeneratorStep",
    "ObjectStep",
    "as_step",
    "consumer",
    "fresh",
    "step",
]

_NUMPY_FUNCTIONS = ("ufunc", "_ArrayFunctionDispatcher")
_MAKES_STEPS = "_bigpipe_makes_steps"  # attribute of the functions that `step` returns


class FunctionStep(StatelessStep):
    """A function as a step, without state.

    Parameters
    ----------
    function : callable
        Takes a chunk.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function
        self.__name__ = name_of(function)

    def run(self, chunk: Any) -> Any:
        """Call the function."""
        return self.function(chunk)

    def _fresh(self) -> FunctionStep:
        return FunctionStep(self.function)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionStep:
        return self._fresh()

    def __reduce__(self) -> tuple[Any, ...]:
        return (FunctionStep, (self.function,))

    def _can_save(self) -> bool:
        return _is_stateless(self.function)


class ObjectStep(Step):
    """An object of any class with a method ``run``, as a step.

    Parameters
    ----------
    wrapped : object
        Has ``run(chunk)``; may have ``local_init(**kwargs)``, ``local_term()``, ``get_state()``
        and ``set_state(state)``.
    """

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped
        self.__name__ = name_of(wrapped)

    def run(self, chunk: Any) -> Any:
        """Call the object's ``run``."""
        return self.wrapped.run(chunk)

    def local_init(self, **kwargs: Any) -> None:
        """Call the object's ``local_init``, if it has one."""
        method = getattr(self.wrapped, "local_init", None)
        if method is not None:
            method(**accepted_by(method, kwargs))

    def local_term(self) -> Any:
        """Call the object's ``local_term``, if it has one."""
        method = getattr(self.wrapped, "local_term", None)
        return None if method is None else method()

    def _holder(self) -> object:
        return self.wrapped

    def get_state(self) -> Any:
        """Return the result of the object's ``get_state``."""
        return self.wrapped.get_state()

    def set_state(self, state: Any) -> None:
        """Call the object's ``set_state``."""
        self.wrapped.set_state(state)

    def _can_save(self) -> bool:
        return has_state(self.wrapped)


class GeneratorStep(Step):
    """A generator as a step. A call of a function decorated with `step` returns one.

    Parameters
    ----------
    make : callable
        The decorated function.
    args : tuple
        Arguments of the generator function.
    kwargs : dict
        Keywords of the generator function.
    """

    def __init__(
        self, make: Callable[..., GeneratorStep], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.make, self.args, self.kwargs = make, args, kwargs
        self.__name__ = name_of(make)
        self._generator: Generator[Any, Any, Any] | None = None
        self._last: Any = None

    @property
    def is_exhausted(self) -> bool:
        """Whether the generator has ended: by itself, or by an exception that it raised."""
        generator = self._generator
        return generator is not None and inspect.getgeneratorstate(generator) == inspect.GEN_CLOSED

    def local_init(self, **kwargs: Any) -> None:
        """Call the generator function, and run it to its first ``yield``."""
        function = getattr(self.make, _MAKES_STEPS)
        self._generator = function(*self.args, **self.kwargs)
        try:
            next(self._generator)
        except StopIteration as stop:
            self._life_of().ended = True
            self._last = stop.value

    def run(self, chunk: Any) -> Any:
        """Send a chunk to the generator; return the result that it yields."""
        assert self._generator is not None
        try:
            return self._generator.send(chunk)
        except StopIteration as stop:
            raise StopStream(stop.value) from None

    def local_term(self) -> Any:
        """Raise `GeneratorExit` at the ``yield``; return the last chunk that it returns."""
        assert self._generator is not None
        last, self._last = self._last, None
        try:
            self._generator.throw(GeneratorExit)
        except GeneratorExit:
            return last
        except StopIteration as stop:
            return stop.value
        raise StepError(
            f"the step {name_of(self)} yields when it is closed. In 'except GeneratorExit', use "
            "'return chunk' for a last chunk, 'return iter(chunks)' for several."
        )

    def _fresh(self) -> GeneratorStep:
        return GeneratorStep(self.make, self.args, self.kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> GeneratorStep:
        return self._fresh()

    def __reduce__(self) -> tuple[Any, ...]:
        return (GeneratorStep, (self.make, self.args, self.kwargs))


def step(function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., GeneratorStep]:
    """Decorate a generator function so that each call of it makes a step.

    Parameters
    ----------
    function : generator function
        ``chunk = yield result`` passes on the result for the last chunk and receives the next
        one. The value of the first ``yield`` is not used. The local variables are the state.

    Returns
    -------
    callable
        Call it with the parameters of the generator function. It returns a new step that waits at
        its first ``yield``.

    Notes
    -----
    At the end of the stream, `GeneratorExit` is raised at the ``yield``, so ``finally`` runs. The
    generator may then return a last chunk, or an iterator of chunks. A generator that returns
    earlier ends the stream: its return value is the last result, and no more chunks are taken.

    `fresh` and unpickling call the generator function again with the same arguments. So it must not
    write into them.

    Examples
    --------
    >>> @step
    ... def differences(before=0):
    ...     difference = None
    ...     while True:
    ...         number = yield difference
    ...         difference, before = number - before, number
    >>> difference = differences()
    >>> difference(3), difference(10)
    (3, 7)
    >>> differences(before=1)(3)
    2
    """
    if not inspect.isgeneratorfunction(function):
        raise StepError(
            f"@step is for generator functions, but {name_of(function)} has no 'yield'. Use a "
            "plain function without it, and derive a class with a method run(self, chunk) from "
            "Step."
        )

    @functools.wraps(function)
    def make(*args: Any, **kwargs: Any) -> GeneratorStep:
        made = GeneratorStep(make, args, kwargs)
        begin(made)
        return made

    setattr(make, _MAKES_STEPS, function)
    return make


consumer = step


def as_step(what: Any) -> Step:
    """Return any kind of step as a `Step`.

    Parameters
    ----------
    what : object
        A `Step`, an object with a method ``run``, or a callable that takes a chunk.

    Returns
    -------
    Step
        The step itself, or a `Step` that calls it.

    Raises
    ------
    StepError
        If it is not a step.
    """
    if isinstance(what, Step):
        return what
    name = name_of(what)
    if hasattr(what, _MAKES_STEPS):
        raise StepError(f"{name} makes steps; to get one, call it: {name}(...)")
    has_run = callable(getattr(what, "run", None))
    if has_run and isinstance(what, type):
        raise StepError(f"{name} is a class of steps; to get one, call it: {name}(...)")
    if has_run:
        return ObjectStep(what)
    if callable(what):
        return FunctionStep(what)
    raise StepError(
        f"{what!r} is not a step. A step is a function that takes a chunk, a generator function "
        "decorated with @step and called, or an object with a method run(chunk)."
    )


def fresh(what: Any) -> Any:
    """Return another step with the same parameters, in its initial state.

    Parameters
    ----------
    what : object
        Any step, used or not.

    Returns
    -------
    object
        A function, or any other callable that is not a `Step` and has no ``run``, is returned
        unchanged. A generator function is called again with the same arguments. A `Step` is copied
        as it was before ``local_init``; an object of another class is copied as it is now. A
        composed step gets fresh parts.

    Raises
    ------
    StepError
        If it is not a step, or cannot be copied.
    """
    other = as_step(what)
    if other is what:
        return other._fresh()
    if isinstance(other, ObjectStep):
        copied = other._fresh()
        assert isinstance(copied, ObjectStep)
        return copied.wrapped
    return what


def _is_stateless(function: Any) -> bool:
    """Return whether a callable is known to remember nothing."""
    if isinstance(function, functools.partial):
        return _is_stateless(function.func)
    if inspect.isfunction(function):
        return function.__closure__ is None or function.__module__.partition(".")[0] == "numpy"
    if inspect.isbuiltin(function):
        return function.__self__ is None or inspect.ismodule(function.__self__)
    kind = type(function)
    return kind is type or (kind.__module__ == "numpy" and kind.__name__ in _NUMPY_FUNCTIONS)
