"""Which pages of its memory this process has written into.

Owns how pages are read from the kernel (``/proc/self/pagemap`` and ``/proc/self/maps``, Linux).
`bigpipe.sharing.buffers` restores pages that were written into.

A page of a private mapping is shared with the file, or after a fork with the other process, until
a process writes into it. That process then gets a copy of the page.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "PAGE",
    "Canary",
    "address_of",
    "are_private",
    "can_be_watched",
    "exclusive_pages",
    "pages_of",
    "private_pages",
    "runs",
]

PAGE = mmap.PAGESIZE  # bytes
ENTRY = 8  # bytes for each page in the page map
AT_ONCE = 16 * 1024  # entries read at once: 128 KB, which fit into a processor's cache

# Bits of an entry: see Documentation/admin-guide/mm/pagemap.rst of Linux.
_PRESENT, _SWAPPED, _OF_FILE, _EXCLUSIVE = 1 << 63, 1 << 62, 1 << 61, 1 << 56


def can_be_watched() -> bool:
    """Return whether this process can read a page map, and has numpy."""
    return os.access("/proc/self/pagemap", os.R_OK) and _has_numpy()


def _has_numpy() -> bool:
    with suppress(ImportError):
        import numpy  # noqa: F401 - whether it is installed

        return True
    return False


def address_of(view: memoryview) -> int:
    """Return the address of a contiguous buffer."""
    import numpy as np

    return int(np.frombuffer(view, np.uint8).__array_interface__["data"][0])


def pages_of(address: int, n_bytes: int) -> tuple[int, int]:
    """Return the numbers of the first page of a range of memory, and of the page after its last."""
    return address // PAGE, -(-(address + n_bytes) // PAGE)


def private_pages(address: int, n_bytes: int) -> NDArray[np.bool_]:
    """Return for each page of a private mapping of a file whether it was written into.

    Raises
    ------
    OSError
        If the page map cannot be read.
    """

    def judge(entries: NDArray[np.uint64], flags: NDArray[np.bool_]) -> None:
        np.greater_equal(entries, np.uint64(_SWAPPED), out=flags)
        flags &= (entries & np.uint64(_OF_FILE)) == 0

    import numpy as np

    return _judged(address, n_bytes, _PRESENT | _SWAPPED | _OF_FILE, judge)


def exclusive_pages(address: int, n_bytes: int) -> NDArray[np.bool_]:
    """Return for each page of private memory whether this process may have written into it.

    This is right for memory that the process has shared since its fork with a process that is
    alive and does not write into it, as long as this process does not fork another. A page that
    is swapped out counts as written into, because the system gives no answer.

    Raises
    ------
    OSError
        If the page map cannot be read.
    """

    def judge(entries: NDArray[np.uint64], flags: NDArray[np.bool_]) -> None:
        np.equal(entries, np.uint64(_EXCLUSIVE), out=flags)
        flags |= entries >= np.uint64(_SWAPPED)

    import numpy as np

    return _judged(address, n_bytes, _SWAPPED | _OF_FILE | _EXCLUSIVE, judge)


def _judged(
    address: int,
    n_bytes: int,
    bits: int,
    judge: Callable[[NDArray[np.uint64], NDArray[np.bool_]], None],
) -> NDArray[np.bool_]:
    """Call `judge` to turn some bits of the entries into flags, in pieces that fit the cache."""
    import numpy as np

    first, end = pages_of(address, n_bytes)
    flags = np.empty(end - first, np.bool_)
    piece = np.empty(min(AT_ONCE, end - first), np.uint64)
    with open("/proc/self/pagemap", "rb", buffering=0) as file:
        file.seek(first * ENTRY)
        for start in range(0, len(flags), AT_ONCE):
            entries = piece[: len(flags) - start]
            if file.readinto(entries.data.cast("B")) != entries.nbytes:
                raise OSError("/proc/self/pagemap ends too early")
            entries &= np.uint64(bits)
            judge(entries, flags[start : start + AT_ONCE])
    return flags


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the runs of true flags, each as its first index and the index after its last."""
    import numpy as np

    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


class Canary:
    """A page that shows whether the system reports writes into pages after a fork.

    Make it before the fork. Call `has_sung` after the fork, in the parent, while the child is
    alive.
    """

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._page[0] = 1

    def has_sung(self) -> bool:
        """Write into the page; return whether the change was seen. Call it only once."""
        try:
            before = self._is_exclusive()
            self._page[0] = 2
            return not before and self._is_exclusive()
        except OSError:
            return False

    def _is_exclusive(self) -> bool:
        return bool(exclusive_pages(address_of(memoryview(self._page)), PAGE).all())


def are_private(ranges: Sequence[tuple[int, int, bool]]) -> list[bool]:
    """Return which ranges of memory a forked process cannot change for this one.

    Parameters
    ----------
    ranges : sequence of (int, int, bool)
        Address, bytes, and whether the range will be written into.

    Raises
    ------
    OSError
        If the list of mappings cannot be read.
    """
    with open("/proc/self/maps", "rb") as file:
        mappings = [_mapping(line) for line in file]
    return [_is_private(each, mappings) for each in ranges]


def _mapping(line: bytes) -> tuple[int, int, bytes]:
    limits, permissions, _ = line.split(None, 2)
    start, _, stop = limits.partition(b"-")
    return int(start, 16), int(stop, 16), permissions


def _is_private(wanted: tuple[int, int, bool], mappings: list[Any]) -> bool:
    address, n_bytes, is_written = wanted
    covered = 0
    for start, stop, permissions in mappings:
        overlap = min(stop, address + n_bytes) - max(start, address)
        if overlap <= 0:
            continue
        if permissions[3:4] != b"p" and (is_written or b"w" in permissions):
            return False
        covered += overlap
    return covered == n_bytes
