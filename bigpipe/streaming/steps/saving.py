"""The state of steps, for checkpoints.

Owns which steps can be saved. `bigpipe.streaming.chunked.checkpoint` decides when to save them.
"""

from __future__ import annotations

from typing import Any

from bigpipe.context import name_of
from bigpipe.errors import StepError
from bigpipe.streaming.steps.base import begin
from bigpipe.streaming.steps.kinds import as_step

__all__ = ["can_save", "restore", "state_of"]


def can_save(step: Any) -> bool:
    """Return whether the state of a step can be saved and restored.

    Parameters
    ----------
    step : step
        Any step.

    Returns
    -------
    bool
        True for plain functions: those without a closure, those written in C, functions of numpy,
        and `functools.partial` of these. True for objects with the methods ``get_state()`` and
        ``set_state(state)``. False for generators, methods, and functions with a closure, because
        their state is hidden. A composed step can be saved if all its parts can.

    Examples
    --------
    >>> can_save(abs)
    True
    >>> can_save([].append)
    False
    """
    return as_step(step)._can_save()


def state_of(step: Any) -> Any:
    """Return the state of a step that `can_save`.

    Parameters
    ----------
    step : step
        A step. All its chunks must have been taken.

    Returns
    -------
    object
        For ready-made steps: numbers, text, arrays, and lists and dicts of these.

    Raises
    ------
    StepError
        If it cannot be saved.
    StreamError
        If some of its chunks are not yet taken.
    """
    step = as_step(step)
    if not step._can_save():
        raise StepError(
            f"the state of the step {name_of(step)} cannot be saved. Use a class with the methods "
            "run(chunk), get_state() and set_state(state)."
        )
    begin(step)
    return step.get_state()


def restore(step: Any, state: Any, /, **kwargs: Any) -> None:
    """Restore a state that `state_of` has returned.

    Parameters
    ----------
    step : Step
        A fresh step with the same parameters. It is begun first, because ``set_state`` comes after
        ``local_init``.
    state : object
        The state.
    **kwargs : dict
        Keywords for `Step.local_init`.
    """
    step = as_step(step)
    begin(step, **kwargs)
    step.set_state(state)
