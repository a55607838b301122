"""What this process keeps of the memory that one file has left, for the next one.

Owns the thresholds of glibc's allocator. By itself that gives a large array back to the system as
soon as it is freed, and the system has to clear each page of the next one first. How much a worker
may keep is decided in `bigpipe.memory`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bigpipe.input_files import file_size
from bigpipe.projection import size_class

__all__ = ["KeptMemory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
# What glibc comes to by itself once arrays of 32 MiB were freed; that it would, is lost for ever
# as soon as a threshold has been set.
_USUAL_TRIM, _USUAL_MMAP = 64 << 20, 32 << 20
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")

_are_set = False  # in this process, or the one that it was forked from


class KeptMemory:
    """Keep freed memory from file to file, as long as there is room and files are alike.

    Parameters
    ----------
    most : callable
        Returns the bytes that may be kept at present; 0: none.

    Notes
    -----
    Only where the allocator is glibc's, and nobody has set it by environment variables. The memory
    stays that of the process, so that what is measured of a file is no less than what was kept: it
    is given back before a file whose size on disk is of another `size_class`.
    """

    def __init__(self, most: Callable[[], int]) -> None:
        self._most = most
        self._library: Any = None
        self._kept_of: int | None = None
        self.is_keeping = False
        if _are_set:  # by the worker whose hook has started this one
            self._library = _c_library()
            self._set(_USUAL_TRIM, _USUAL_MMAP)
            self._library.malloc_trim(0)

    def begin(self, in_name: Any) -> None:
        """Give back what is kept, unless it is of use for a file. To be called if `is_keeping`."""
        if not self._most():
            self._set(_USUAL_TRIM, _USUAL_MMAP)
            self.is_keeping = False
        elif _class_of(in_name) == self._kept_of:
            return
        self._library.malloc_trim(0)

    def end(self, in_name: Any, held: Callable[[], int]) -> None:
        """Keep what is freed from now on, after a file that has taken much.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The file.
        held : callable
            Returns the bytes that this process holds beyond those before its first file.
        """
        most = self._most()
        if not most:
            return
        if not self.is_keeping:
            self._library = _allocator()
            if self._library is None:
                return
            self._set(most, most)
            self.is_keeping = True
        self._kept_of = _class_of(in_name)
        # What lies below something that a hook has made last, and keeps, is below no threshold.
        if held() > most:
            self._library.malloc_trim(0)

    def _set(self, trim: int, mmap: int) -> None:
        global _are_set
        _are_set = True
        self._library.mallopt(_M_TRIM_THRESHOLD, trim)
        if not self._library.mallopt(_M_MMAP_THRESHOLD, mmap):
            self._library.mallopt(_M_MMAP_THRESHOLD, _USUAL_MMAP)  # the most that old ones admit


def _class_of(in_name: Any) -> int | None:
    size = file_size(in_name)
    return None if size is None else size_class(size)


def _allocator() -> Any:
    """Return the C library, if its allocator is one that can be told what to keep."""
    if any(name in os.environ for name in _OF_THE_USER):
        return None
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library = _c_library()
    return library if hasattr(library, "gnu_get_libc_version") else None


def _c_library() -> Any:
    import ctypes

    return ctypes.CDLL(None)
