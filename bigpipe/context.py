"""The file that is being processed here, available to any function that a hook calls.

Owns the record of the current file and where it is kept. `bigpipe.executors.worker` fills it in;
`bigpipe.log` and `bigpipe.steps` read it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigpipe.claims.register import Claimant
    from bigpipe.outputs import Stager

__all__ = ["FileContext", "copied", "current", "enter", "members_of", "name_of"]


class FileContext:
    """The state of one file while it passes through the hooks.

    Notes
    -----
    One is made for every file, so only attributes that differ from file to file are set by the
    constructor. The others are class attributes until they change.
    """

    in_name: Any
    """The input as it was given: a name, or a (nested) list of names."""
    index: int | None
    """Position of the input in ``in_names``, from 0; ``None`` if a hook is called directly."""
    worker: int | None
    """Process id of the worker; in threads, the native id of the thread."""
    pipe: object
    """The pipeline that processes the file; only its `file_process` uses this record."""
    stager: Stager | None
    """Where outputs are written before they appear under their final names."""
    claimant: Claimant | None
    """Asked before an output is put in place."""
    on_hook: Callable[[str], None] | None
    """Called with the name of each hook as it begins."""
    seconds: dict[str, float]
    """Wall-clock seconds in each hook that has ended."""
    outputs: list[str]
    """Files put in place for this input, including side files."""
    members: Any
    """Names of the members of a group's data, nested like ``in_name``; ``None`` if the input is
    not a group. Dropped members are removed, so the list stays aligned with the data. It is a
    copy: ``in_name`` does not change."""
    hook: str | None = None
    """The running hook, with the function of the list after a colon
    (``'post_process: median'``); ``None`` before the first."""
    rejected_by: str | None = None
    """Hook, or hook and function, that returned ``None``."""
    has_written: bool = False
    """Whether the final name of an output exists, whatever `file_write` returned. If the
    `file_process` of a subclass writes several outputs: whether any of them does."""
    unnamed: str | None = None
    """Final name of an output that `file_write` wrote without returning its name."""
    side_files: Mapping[str, bool] = MappingProxyType({})
    """Side files put in place; the values say whether there was something before."""
    batched: tuple[Any, ...] = ()
    """The result of `data_process`, if it was computed in a batch with other files."""
    chunk: int | None = None
    """Number of the chunk being processed, from 0; ``None`` if the file is not cut into chunks."""
    passage: Any = None
    """The file's passage, for hooks that need more of it than their arguments."""

    _timed: str | None = None  # the hook that is being timed
    _since = 0.0

    def __init__(
        self,
        in_name: Any,
        *,
        index: int | None = None,
        worker: int | None = None,
        pipe: object = None,
        stager: Stager | None = None,
        claimant: Claimant | None = None,
        on_hook: Callable[[str], None] | None = None,
    ) -> None:
        self.in_name = in_name
        self.index = index
        self.worker = worker
        self.pipe = pipe
        self.stager = stager
        self.claimant = claimant
        self.on_hook = on_hook
        self.seconds = {}
        self.outputs = []
        self.members = None if type(in_name) is str else members_of(in_name)

    def begin(self, hook: str, function: Any = None) -> None:
        """Record that a hook, or a function of its list, begins and the one before it ends."""
        now, before = perf_counter(), self._timed
        if before is not None:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self._since
        self._timed, self._since = hook, now
        self.hook = hook = hook if function is None else f"{hook}: {name_of(function)}"
        if self.on_hook is not None:
            self.on_hook(hook)

    def resume(self, hook: str | None) -> None:
        """Record that an earlier `hook` continues after others have run."""
        if hook is not None:
            self.begin(hook.partition(":")[0])
            self.hook = hook
            if self.on_hook is not None:
                self.on_hook(hook)

    def end(self) -> None:
        """Record that the last hook has ended and the next has not begun."""
        before, self._timed = self._timed, None
        if before is not None:
            self.seconds[before] = self.seconds.get(before, 0.0) + perf_counter() - self._since

    def reject(self) -> None:
        """Record that the running hook or function returned ``None``."""
        self.rejected_by = self.hook

    def pair(self, returned: Any, contents: str, hook: str | None = None) -> tuple[Any, Any]:
        """Check that a hook returned a pair, and return it; an array of two rows is not a pair.

        Parameters
        ----------
        returned : object
            The return value of the hook.
        contents : str
            What the hook should return, for the message.
        hook : str, optional
            Name of the hook, if it is not the one that began last.

        Raises
        ------
        TypeError
            If the value is not a pair.
        """
        if isinstance(returned, (tuple, list)) and len(returned) == 2:
            return returned[0], returned[1]
        found = "None" if returned is None else type(returned).__name__
        if isinstance(returned, (tuple, list)):
            found += f" of {len(returned)}"
        hook = hook or (self.hook or "").partition(":")[0]
        remedy = ": to reject a file, return (None, {})" if returned is None else ""
        raise TypeError(f"{hook} returned {found}, not {contents}{remedy}")

    def remaining_names(self, in_name: Any = None) -> Any:
        """Return the names that belong to the data: the input without dropped members."""
        if self.members is not None and (
            isinstance(self.in_name, list) or self.members != members_of(self.in_name)
        ):
            return copied(self.members)  # a hook may keep them, and drop members later
        return self.in_name if in_name is None else in_name

    @contextmanager
    def renamed(self, in_name: Any) -> Iterator[None]:
        """Use another input in place of the file's own inside a ``with`` block."""
        before = self.in_name, self.members
        self.in_name, self.members = in_name, members_of(in_name)
        try:
            yield
        finally:
            self.in_name, self.members = before


def name_of(function: Any) -> str:
    """Return the name of a function; for a callable object, that of its class."""
    return getattr(function, "__name__", None) or type(function).__name__


def copied(in_name: Any) -> Any:
    """Return a copy of an input whose lists, if it is a group, may be changed."""
    return [copied(name) for name in in_name] if isinstance(in_name, list) else in_name


def members_of(in_name: Any) -> list[Any] | None:
    """Return the names of a group as a new list; a tuple is a group if it holds only names."""
    if not (isinstance(in_name, list) or _is_tuple_of_names(in_name)):
        return None
    members = ((name, members_of(name)) for name in in_name)
    return [name if below is None else below for name, below in members]


def _is_tuple_of_names(in_name: Any) -> bool:
    return isinstance(in_name, tuple) and all(
        isinstance(name, (str, os.PathLike, list)) or _is_tuple_of_names(name) for name in in_name
    )


_current: ContextVar[FileContext | None] = ContextVar("bigpipe_file", default=None)

# The two halves of `enter`, for the hot path, which enters a record for every file.
set_current = _current.set
reset_current = _current.reset


# Return the record of the file being processed in this thread, or ``None``.
current: Callable[[], FileContext | None] = _current.get


@contextmanager
def enter(context: FileContext) -> Iterator[FileContext]:
    """Make a record the current one until the ``with`` block ends.

    Parameters
    ----------
    context : FileContext
        The file that is processed inside the block.

    Yields
    ------
    FileContext
        The same record.

    Notes
    -----
    Blocks may be nested: a hook that runs another pipeline in the same thread gets the record of
    its own file back afterwards. Threads that a hook starts do not inherit the record.

    Examples
    --------
    >>> with enter(FileContext("raw/b0042.fits")):
    ...     current().in_name
    'raw/b0042.fits'
    >>> current() is None
    True
    """
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
