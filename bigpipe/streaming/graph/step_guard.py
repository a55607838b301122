"""What a step raises, told from all else that may be raised around it.

Owns the wrapping of errors of steps, sources and the functions of switches. What is done about
them is up to `bigpipe.streaming.graph.part`.
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
    """Has what a step raised as its cause."""


@contextmanager
def as_failure() -> Iterator[None]:
    """Turn what a step raises into `StepFailed`, unless the process is to end."""
    try:
        yield
    except (Terminated, StepFailed):
        raise
    except BaseException as error:  # a step may raise anything, SystemExit too
        raise StepFailed from error


@contextmanager
def closing(close: Callable[[], object]) -> Iterator[None]:
    """Close a step when a block ends; what it raised in the block is what is told of it."""
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
    """Iterate what a step or a source gives."""
    while True:
        with as_failure():
            try:
                result = next(results)
            except StopIteration:
                return
        yield result


def results_of(step: Step, element: Any) -> Iterator[Any]:
    """Run a step on an element; iterate what it gives."""
    with as_failure():
        results = outputs_of(step(element))
    return guarded(results)


def flushed(step: Step) -> Iterator[Any]:
    """End a step; iterate what it gives last."""
    with as_failure():
        results = outputs_of(step.flush())
    return guarded(results)


def is_broken(step: Step) -> bool:
    """Whether a generator is at its end, as it has raised."""
    if isinstance(step, Combined):
        return any(map(is_broken, step.parts))
    generator = getattr(step, "_generator", None)
    return isinstance(step, GeneratorStep) and generator is not None and generator.gi_frame is None
