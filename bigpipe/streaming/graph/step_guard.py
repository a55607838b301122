"""Errors of steps, kept apart from other errors around them.

Owns the wrapping of errors of steps, sources and the functions of switches.
`bigpipe.streaming.graph.part` handles them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from bigpipe.interrupts import Terminated
from bigpipe.streaming.steps.base import Step, note_second, outputs_of
from bigpipe.streaming.steps.combine import Combined
from bigpipe.streaming.steps.kinds import GeneratorStep

__all__ = ["StepFailed", "as_failure", "closing", "flushed", "guarded", "is_broken", "results_of"]


class StepFailed(Exception):
    """A step has raised an exception, which is the cause of this one."""


@contextmanager
def as_failure() -> Iterator[None]:
    """Wrap exceptions of a step in `StepFailed`, unless the process is to end."""
    try:
        yield
    except (Terminated, StepFailed):
        raise
    except BaseException as error:  # a step may raise anything, SystemExit too
        raise StepFailed from error


@contextmanager
def closing(close: Callable[[], object]) -> Iterator[None]:
    """Close a step when a block ends; an error in the block has precedence."""
    try:
        yield
    except StepFailed as failed:
        try:
            close()
        except StepFailed as second:
            if failed.__cause__ is not None and second.__cause__ is not None:
                note_second(failed.__cause__, second.__cause__)
        raise
    except BaseException:
        close()
        raise
    close()


def guarded(results: Iterator[Any]) -> Iterator[Any]:
    """Iterate over the elements of a step or a source."""
    while True:
        with as_failure():
            try:
                result = next(results)
            except StopIteration:
                return
        yield result


def results_of(step: Step, element: Any) -> Iterator[Any]:
    """Run a step on an element; iterate over the results."""
    with as_failure():
        results = outputs_of(step(element))
    return guarded(results)


def flushed(step: Step) -> Iterator[Any]:
    """End a step; iterate over its last results."""
    with as_failure():
        results = outputs_of(step.flush())
    return guarded(results)


def is_broken(step: Step) -> bool:
    """Return whether a generator has ended by raising an exception."""
    if isinstance(step, Combined):
        return any(map(is_broken, step.parts))
    return isinstance(step, GeneratorStep) and step.is_exhausted
