"""Keeps memory that one file has freed, for the next file.

Owns the thresholds of glibc's allocator. By default it returns a large array to the system as soon
as it is freed, and the system then has to clear each page for the next one.
`bigpipe.running.memory_watch` decides how much a worker may keep.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bigpipe.input_files import file_size
from bigpipe.scheduling.projection import size_class

__all__ = ["KeptMemory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
# The value that glibc reaches by itself once arrays of 32 MiB have been freed. It stops adapting
# for good as soon as a threshold has been set.
_USUAL_TRIM, _USUAL_MMAP = 64 << 20, 32 << 20
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")

_are_set = False  # in this process, or the one that it was forked from


class KeptMemory:
    """Keep freed memory from file to file, as long as there is room and files are alike.

    Parameters
    ----------
    most : callable
        Returns the bytes that may currently be kept; 0 for none.

    Notes
    -----
    Has an effect only if the allocator is glibc's and is not configured by environment variables.
    Kept memory still belongs to the process, so a file's measured memory is at least what was
    kept. It is therefore given back before a file whose size is of another `size_class`.
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
        """Give back kept memory, unless this file can use it. Call it only if `is_keeping`."""
        if not self._most():
            self._set(_USUAL_TRIM, _USUAL_MMAP)
            self.is_keeping = False
        elif _class_of(in_name) == self._kept_of:
            return
        self._library.malloc_trim(0)

    def end(self, in_name: Any, held: Callable[[], int]) -> None:
        """Keep memory freed from now on, after a file that took much.

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
        # The threshold does not apply to memory below an object that a hook made last and keeps.
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
    """Return the C library if its allocator can be configured."""
    if any(name in os.environ for name in _OF_THE_USER):
        return None
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return None
    library = _c_library()
    return library if hasattr(library, "gnu_get_libc_version") else None


def _c_library() -> Any:
    import ctypes

    return ctypes.CDLL(None)
