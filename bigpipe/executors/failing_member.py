"""Which member of a group an exception is about.

Owns the search in the frames of the traceback. `bigpipe.executors.failures` writes the message.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePath
from types import FrameType, TracebackType
from typing import Any

from bigpipe.context import members_of

__all__ = ["failing_member"]


def failing_member(in_name: Any, frames: TracebackType | None) -> str | None:
    """Return the name of the member that a hook was working on when it raised.

    Parameters
    ----------
    in_name : object
        The input, which may be a group.
    frames : types.TracebackType or None
        The traceback of the exception.

    Returns
    -------
    str or None
        The member; ``None`` if the input is no group, or no call was about one member alone.

    Notes
    -----
    Only the arguments of calls count. A local variable may hold a member for another reason, such
    as the first name of a group, from which the output's name is made.

    Examples
    --------
    >>> def read(in_name):
    ...     return [read(name) for name in in_name] if isinstance(in_name, list) else 1 / 0
    >>> try:
    ...     read(["a.fits", "b.fits"])
    ... except ZeroDivisionError as error:
    ...     failing_member(["a.fits", "b.fits"], error.__traceback__)
    'a.fits'
    """
    group = members_of(in_name)
    if group is None:
        return None
    members = set(_names(group))
    while frames is not None:
        found = members.intersection(_names(_arguments(frames.tb_frame)))
        if len(found) == 1:  # a call with two members is about both
            return found.pop()
        frames = frames.tb_next
    return None


def _names(values: list[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, (str, PurePath)):
            with suppress(Exception):  # of a path half made, or of a class that may raise anything
                yield os.fspath(value)
        elif isinstance(value, list):
            yield from _names(value)


def _arguments(frame: FrameType) -> list[Any]:
    """Return what a call was given, without lists."""
    names, _, keywords, values = inspect.getargvalues(frame)
    arguments = [values.get(name) for name in names]
    if keywords is not None and isinstance(values.get(keywords), dict):
        arguments.append(values[keywords].get("in_name"))
    return [value for value in arguments if not isinstance(value, list)]
