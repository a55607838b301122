"""The plan of a run: its inputs, options and keywords, checked before anything starts.

Owns the record, and checks and reads the inputs. `bigpipe.pipeline` makes the plan.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from itertools import islice
from typing import Any

from bigpipe.errors import InNamesError, warn
from bigpipe.options import Options

__all__ = ["Inputs", "Plan", "checked_in_names", "plain"]


@dataclass(frozen=True)
class Plan:
    """What a run has to do."""

    in_names: Iterable[Any]
    """The inputs."""
    options: Options
    """All options, checked."""
    control: dict[str, Any]
    """Keywords of the hooks."""
    predict: Callable[[Any], str] | None
    """Returns a file's usual output name, if names can be predicted."""
    project: Callable[[Any], Any] | None = None
    """Returns the bytes that a worker needs for a file, if the caller or the class knows them."""
    has_outputs: bool = True
    """Whether anything is written."""

    @property
    def protected(self) -> Iterable[Any] | None:
        """Inputs that no output may overwrite; ``None`` if they come one by one."""
        if not self.has_outputs:
            return ()
        return self.in_names if isinstance(self.in_names, Sequence) else None

    @property
    def n_files(self) -> int | None:
        """Number of inputs, if it can be known without reading them."""
        return len(self.in_names) if isinstance(self.in_names, Sized) else None


class Inputs:
    """The inputs of a run, numbered, and read as they are needed.

    Parameters
    ----------
    in_names : iterable
        The inputs.
    order : iterable of int, optional
        Their positions, in the order in which to read them.

    Attributes
    ----------
    are_kept : bool
        Whether all are in memory, so that reading them takes no time.
    have_ended : bool
        Whether there are no more.
    """

    def __init__(self, in_names: Iterable[Any], order: Iterable[int] | None = None) -> None:
        self.are_kept = isinstance(in_names, Sized)
        self.have_ended = False
        self._numbered: Iterator[tuple[int, Any]] = enumerate(in_names)
        if order is not None and isinstance(in_names, Sequence):
            self._numbered = ((i, in_names[i]) for i in order)

    def read(self, n: int) -> list[tuple[int, Any]]:
        """Return the next `n` inputs with their numbers; fewer at the end."""
        numbered = [
            (i, in_name if type(in_name) is str else plain(in_name))
            for i, in_name in islice(self._numbered, n)
        ]
        self.have_ended = len(numbered) < n
        return numbered


def checked_in_names(in_names: Any) -> Iterable[Any]:
    """Return the inputs, or raise an error that says what is wrong with them.

    Any collection (array, column, set, keys of a dict) is returned as a list, so all inputs are
    known and protected before the first output is written.

    Raises
    ------
    InNamesError
        If the value is a single name, or not iterable.
    """
    if isinstance(in_names, (str, bytes, os.PathLike)):
        raise InNamesError(
            f"in_names is the single name {in_names!r}; give a list of names: [{in_names!r}]"
        )
    try:
        iter(in_names)
    except TypeError:
        raise InNamesError(
            f"in_names is of type {type(in_names).__name__}; give a list of names"
        ) from None
    if isinstance(in_names, Mapping):
        _warn_of_groups(in_names)
    names: Iterable[Any] = in_names
    if isinstance(in_names, Sized) and not isinstance(in_names, Sequence):
        names = list(names)
    return names


def _warn_of_groups(in_names: Mapping[Any, Any]) -> None:
    """Warn if the values of a dict, not its keys, seem to be the inputs."""
    for key, value in in_names.items():
        is_file = isinstance(key, (str, os.PathLike)) and os.path.lexists(key)
        if is_file or not isinstance(value, (list, tuple)):
            return
    if in_names:
        warn(
            "in_names is a dict, of which the keys are the inputs, but they are no files and the "
            "values are lists: to process each list as a group, give list(groups.values())"
        )


def plain(in_name: Any) -> Any:
    """Return an input with numpy's strings and arrays as Python's own."""
    if isinstance(in_name, str):
        return str(in_name)
    if isinstance(in_name, list):
        return [plain(member) for member in in_name]
    if hasattr(in_name, "tolist") and hasattr(in_name, "dtype"):
        return in_name.tolist()
    return in_name
