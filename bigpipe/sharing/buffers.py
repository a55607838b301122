"""Memory of large buffers that is lent to one file and restored for the next.

Owns how written pages are restored, and when memory that a hook still holds is left to it.
`bigpipe.sharing.snapshot` knows the objects that the buffers belong to, `bigpipe.sharing.pages`
asks the kernel about pages.

::

    MappedBuffers      a private mapping of a file   written pages: read back from the file
    InheritedBuffers   the parent's own memory,      the same, but somebody who still has the
                       since a fork                  pages is asked to put them into the file first

A hook may keep an array for longer than its file. Such an array must not change, so the next file
then gets other memory.
"""

from __future__ import annotations

import gc
import mmap
import os
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from bigpipe.sharing import pages
from bigpipe.sharing.pages import PAGE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "BuffersLost",
    "InheritedBuffers",
    "MappedBuffers",
    "Range",
    "map_privately",
    "write_all",
]

Range = tuple[int, int, int]
"""Part of a buffer: the buffer's number, the first byte, and the byte after the last."""

MAX_RANGES = 1000  # parts requested singly; beyond that, all between the first and the last

_inherited: weakref.WeakSet[InheritedBuffers] = weakref.WeakSet()


class BuffersLost(ConnectionError):
    """The process that kept the buffers is gone: this one cannot restore them and should end."""


def write_all(fd: int, view: memoryview, start: int) -> None:
    """Write a buffer into a file, starting at a byte."""
    done = 0
    while done < view.nbytes:
        done += os.pwrite(fd, view[done : done + (1 << 30)], start + done)


def _read_all(fd: int, view: memoryview, start: int) -> None:
    done = 0
    while done < view.nbytes:
        n_read = os.preadv(fd, [view[done : done + (1 << 30)]], start + done)
        if n_read == 0:
            raise EOFError("the file of the keywords is shorter than the keywords")
        done += n_read


def map_privately(fd: int, spans: Sequence[tuple[int, int]]) -> tuple[mmap.mmap, list[memoryview]]:
    """Map a file so that writes to the memory stay in this process.

    Parameters
    ----------
    fd : int
        The file.
    spans : sequence of (int, int)
        Where in the file each buffer begins, and its bytes. Not empty.

    Returns
    -------
    mmap.mmap
        The mapping.
    list of memoryview
        The buffers, which keep the mapping alive.
    """
    size = max(start + n_bytes for start, n_bytes in spans)
    mapped = mmap.mmap(fd, size, access=mmap.ACCESS_COPY)
    whole = memoryview(mapped)
    return mapped, [whole[start : start + n_bytes] for start, n_bytes in spans]


class _Loan:
    """Views of memory that a hook may hold."""

    def __init__(self, views: Sequence[memoryview]) -> None:
        import numpy as np

        # Whatever is made of a view holds, in the end, the array below it: so its end can be seen.
        arrays = [np.frombuffer(view, np.uint8) for view in views]
        self._held = [weakref.ref(array) for array in arrays]
        self.views = [array.data for array in arrays]

    def hand_over(self) -> list[memoryview]:
        """Return the views; the loan then only knows whether they are still held."""
        views, self.views = self.views, []
        return views

    @property
    def is_over(self) -> bool:
        return all(array() is None for array in self._held)


class MappedBuffers:
    """Buffers in a file that is mapped privately.

    Parameters
    ----------
    spans : sequence of (int, int)
        Where in the file each buffer begins, and its bytes.
    """

    def __init__(self, spans: Sequence[tuple[int, int]]) -> None:
        self._spans = spans
        self._mapped: mmap.mmap | None = None
        self._views: list[memoryview] = []
        self._loan: _Loan | None = None
        self._can_be_watched = pages.can_be_watched()

    def fresh(self, fd: int) -> list[memoryview]:
        """Return the buffers as they are in the file, shared with no earlier call.

        Parameters
        ----------
        fd : int
            The file.
        """
        if not self._can_be_watched:
            return map_privately(fd, self._spans)[1]
        if not self._is_clean(fd):
            self._mapped, self._views = map_privately(fd, self._spans)
        self._loan = _Loan(self._views)
        return self._loan.hand_over()

    def _is_clean(self, fd: int) -> bool:
        """Restore the written parts of the mapping, if nobody holds it."""
        if self._mapped is None or self._loan is None or not self._loan.is_over:
            return False
        whole = memoryview(self._mapped)
        try:
            private = pages.private_pages(pages.address_of(whole), whole.nbytes)
        except OSError:  # no more descriptors, or the like: a new mapping will do
            return False
        for first, end in pages.runs(private):
            # Dropping the pages would be simpler, but a hook that writes into all of them would
            # pay about five times as much at its next file.
            _read_all(fd, whole[first * PAGE : end * PAGE], first * PAGE)
        return True


class InheritedBuffers:
    """Buffers of the parent, in a process that is forked from it.

    Made in the parent, before the first such fork, and right after forking a process that keeps
    the buffers unchanged.

    Parameters
    ----------
    views : sequence of memoryview
        The buffers. All in private memory, or read-only.
    spans : sequence of (int, int)
        Where in the file each buffer belongs, and its bytes.
    fetch : callable
        Called with a list of `Range`; requests that the original contents of those parts are
        written into the file.

    Notes
    -----
    The private pages of this process are those that it has written into. After a fork that is no
    longer true, so they are recorded before each fork.
    """

    def __init__(
        self,
        views: Sequence[memoryview],
        spans: Sequence[tuple[int, int]],
        fetch: Callable[[list[Range]], None],
    ) -> None:
        import numpy as np

        self._views = views
        self._spans = spans
        self._fetch = fetch
        self._addresses = [pages.address_of(view) for view in views]
        n_pages = [
            end - first
            for first, end in map(pages.pages_of, self._addresses, [view.nbytes for view in views])
        ]
        self._written = [np.zeros(n, np.bool_) for n in n_pages]
        self._fetched = [np.zeros(n, np.bool_) for n in n_pages]
        self._loan: _Loan | None = None
        self._mapped: MappedBuffers | None = None
        _inherited.add(self)

    def note_written(self) -> None:
        """Record which pages are now private to this process."""
        for i, (view, address) in enumerate(zip(self._views, self._addresses, strict=True)):
            if view.readonly:
                continue
            try:
                self._written[i] |= pages.exclusive_pages(address, view.nbytes)
            except OSError:  # no more descriptors, or the like: all is brought back
                self._written[i][:] = True

    def fresh(self, fd: int) -> list[memoryview]:
        """Return the buffers as they were, shared with no earlier call.

        Parameters
        ----------
        fd : int
            The file.
        """
        if self._mapped is None and not self._is_back():
            self._fetch([(i, 0, view.nbytes) for i, view in enumerate(self._views)])
            self._mapped = MappedBuffers(self._spans)
            _inherited.discard(self)
        if self._mapped is not None:
            return self._mapped.fresh(fd)
        self.note_written()
        self._restore(fd)
        self._loan = _Loan(self._views)
        return self._loan.hand_over()

    def _is_back(self) -> bool:
        if self._loan is None or self._loan.is_over:
            return True
        gc.collect()  # reference cycles may hold the array
        return self._loan.is_over

    def _restore(self, fd: int) -> None:
        missing: list[Range] = []
        for i, written in enumerate(self._written):
            wanted = written & ~self._fetched[i]
            if wanted.any():
                missing += self._ranges(i, wanted, MAX_RANGES)
        if missing:
            self._fetch(missing)
            for i, written in enumerate(self._written):
                self._fetched[i] |= written
        for i, written in enumerate(self._written):
            for _, start, stop in self._ranges(i, written) if written.any() else ():
                _read_all(fd, self._views[i][start:stop], self._spans[i][0] + start)

    def _ranges(
        self, number: int, flags: NDArray[np.bool_], most: int | None = None
    ) -> list[Range]:
        """Return the parts of a buffer that lie in flagged pages."""
        found = pages.runs(flags)
        if most is not None and len(found) > most:
            found = [(found[0][0], found[-1][1])]
        address, n_bytes = self._addresses[number], self._views[number].nbytes
        before = address % PAGE
        return [
            (number, max(0, first * PAGE - before), min(n_bytes, end * PAGE - before))
            for first, end in found
        ]


def _note_all() -> None:
    for buffers in list(_inherited):
        buffers.note_written()


os.register_at_fork(before=_note_all)
