"""The state of steps: what a checkpoint keeps of them.

Owns which steps can be saved. When a checkpoint is made, and where it is kept, is not decided here.
"""

from __future__ import annotations

from typing import Any

from bigpipe.context import name_of
from bigpipe.errors import StepError
from bigpipe.streaming.steps.base import begin
from bigpipe.streaming.steps.kinds import as_step

__all__ = ["can_save", "restore", "state_of"]


def can_save(step: Any) -> bool:
    """Whether the state of a step can be saved and brought back.

    Parameters
    ----------
    step : step
        Any step.

    Returns
    -------
    bool
        True for plain functions: those without a closure, those written in C, functions of numpy,
        and `functools.partial` of them. True for objects with the methods ``get_state()`` and
        ``set_state(state)``. False for generators, methods, and functions with a closure, as nobody
        knows what they remember. What is composed can be saved if all its parts can.

    Examples
    --------
    >>> can_save(abs)
    True
    >>> can_save([].append)
    False
    """
    return as_step(step)._can_save()


def state_of(step: Any) -> Any:
    """Return the state of a step that `can_save` says can be saved.

    Parameters
    ----------
    step : step
        A step; all chunks that it gave have been taken.

    Returns
    -------
    object
        Numbers, text, arrays, and lists and dicts of them, if that is what the parts say.

    Raises
    ------
    StepError
        If it cannot be saved.
    StreamError
        If chunks that it gave are not yet taken.
    """
    step = as_step(step)
    if not step._can_save():
        raise StepError(
            f"The state of the step {name_of(step)} cannot be saved. Use a class with the methods "
            "run(chunk), get_state() and set_state(state)."
        )
    begin(step)
    return step.get_state()


def restore(step: Any, state: Any, /, **kwargs: Any) -> None:
    """Bring a step into a state that `state_of` has returned.

    Parameters
    ----------
    step : Step
        A fresh one, with the same parameters. It is begun first, as ``set_state`` comes after
        ``local_init``.
    state : object
        The state.
    **kwargs : dict
        Handed to `Step.local_init`.
    """
    step = as_step(step)
    begin(step, **kwargs)
    step.set_state(state)
