"""Which file is being processed here: readable from any function that a hook calls.

Owns the record of the current file and where it is kept. Who fills it in is
`bigpipe.executors.worker`; who reads it are `bigpipe.log` and `bigpipe.steps`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigpipe.claims import Claimant
    from bigpipe.outputs import Stager

__all__ = ["FileContext", "copied", "current", "enter", "name_of"]


class FileContext:
    """What is known of one file on its way through the hooks.

    Notes
    -----
    One is made for every file: only what differs from file to file is set in each, the rest
    is the class's own until something happens.
    """

    in_name: Any
    """The input as it was given: a name, or a (nested) list of names."""
    index: int | None
    """Place of the input in ``in_names``, from 0; ``None`` if a hook is called directly."""
    worker: int | None
    """Process id of the worker; in threads, the native id of the thread."""
    pipe: object
    """The pipeline whose file this is; its `file_process` alone uses this record."""
    stager: Stager | None
    """Where outputs are written before they appear under their final names."""
    claimant: Claimant | None
    """Whom to ask before an output is put in place."""
    on_hook: Callable[[str], None] | None
    """Told the name of each hook as it begins."""
    seconds: dict[str, float]
    """Wall-clock seconds in each hook that has ended."""
    outputs: list[str]
    """What has been put in place for it, side files too."""
    members: Any
    """Names that belong to the members of a group's data, nested as ``in_name`` is;
    ``None`` if the input is no group. A member that is dropped leaves this list, so
    that it stays aligned with the data. A copy, made here: ``in_name`` stays as it is."""
    hook: str | None = None
    """The hook that runs, with the function of the list behind a colon
    (``'post_process: median'``); ``None`` before the first."""
    rejected_by: str | None = None
    """Hook, or hook and function, that returned ``None``."""
    has_written: bool = False
    """Whether something is under the final name of an output, whatever `file_write` returned;
    of any output, if a `file_process` of a subclass writes several."""
    unnamed: str | None = None
    """Final name of an output that `file_write` has written without returning a name."""
    batched: tuple[Any, ...] = ()
    """What `data_process` is to return, if that was found beside other files."""
    chunk: int | None = None
    """Number of the chunk that is at work, from 0; ``None`` where a file is one data."""
    passage: Any = None
    """The file's way through the hooks, for hooks that need more of it than they are given."""

    _timed: str | None = None  # the hook that time goes to now
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
        self.members = None if type(in_name) is str else _members_of(in_name)

    def begin(self, hook: str, function: Any = None) -> None:
        """Note that a hook, or a function of its list, begins and the one before it ends."""
        now, before = perf_counter(), self._timed
        if before is not None:
            self.seconds[before] = self.seconds.get(before, 0.0) + now - self._since
        self._timed, self._since = hook, now
        self.hook = hook = hook if function is None else f"{hook}: {name_of(function)}"
        if self.on_hook is not None:
            self.on_hook(hook)

    def resume(self, hook: str | None) -> None:
        """Note that a hook goes on, which was `hook` here before others began."""
        if hook is not None:
            self.begin(hook.partition(":")[0])
            self.hook = hook
            if self.on_hook is not None:
                self.on_hook(hook)

    def end(self) -> None:
        """Note that the last hook has ended, and the next does not begin yet."""
        before, self._timed = self._timed, None
        if before is not None:
            self.seconds[before] = self.seconds.get(before, 0.0) + perf_counter() - self._since

    def reject(self) -> None:
        """Note that what runs now returned ``None``."""
        self.rejected_by = self.hook

    def pair(self, returned: Any, contents: str, hook: str | None = None) -> tuple[Any, Any]:
        """Return what a hook has returned, if it is a pair: an array of two rows is none.

        Parameters
        ----------
        returned : object
            What it has returned.
        contents : str
            What it is to return.
        hook : str, optional
            Its name, if it is not the one that began last.

        Raises
        ------
        TypeError
            If it is no pair.
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
        """Return the names that belong to the data now: the input, less what was dropped."""
        if self.members is not None and (
            isinstance(self.in_name, list) or self.members != _members_of(self.in_name)
        ):
            return copied(self.members)  # a hook may keep them, and drop members later
        return self.in_name if in_name is None else in_name

    @contextmanager
    def renamed(self, in_name: Any) -> Iterator[None]:
        """Take another input for the file's own while a `file_process` is called with it."""
        before = self.in_name, self.members
        self.in_name, self.members = in_name, _members_of(in_name)
        try:
            yield
        finally:
            self.in_name, self.members = before


def name_of(function: Any) -> str:
    """Return what a person calls a function: its name, or its class's for an object."""
    return getattr(function, "__name__", None) or type(function).__name__


def copied(in_name: Any) -> Any:
    """Return an input whose lists, if it is a group, may be changed."""
    return [copied(name) for name in in_name] if isinstance(in_name, list) else in_name


def _members_of(in_name: Any) -> list[Any] | None:
    """Return the names of a group as a new list; a tuple is one if it holds nothing but names."""
    if not (isinstance(in_name, list) or _is_tuple_of_names(in_name)):
        return None
    members = ((name, _members_of(name)) for name in in_name)
    return [name if below is None else below for name, below in members]


def _is_tuple_of_names(in_name: Any) -> bool:
    return isinstance(in_name, tuple) and all(
        isinstance(name, (str, os.PathLike, list)) or _is_tuple_of_names(name) for name in in_name
    )


_current: ContextVar[FileContext | None] = ContextVar("bigpipe_file", default=None)

# The two halves of `enter`, for the one caller that enters a record for every file.
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
    Blocks may be nested: a hook that runs a pipeline of its own in the same thread gets
    its own file's record back afterwards. Threads that a hook starts do not inherit it.

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
