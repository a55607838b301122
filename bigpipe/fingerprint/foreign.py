"""Objects of other libraries that count by something else than what they would be pickled as.

Owns what counts of each of them. `bigpipe.fingerprint.content` makes the digest of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from bigpipe.file_states import State, state_of

__all__ = ["foreign_parts"]


def foreign_parts(obj: Any) -> tuple[str, list[Any]] | None:
    """Return a label for an object and the parts that count; ``None`` for any other object."""
    kind = type(obj)
    take_apart = _BY_NAME.get((kind.__module__, kind.__name__))
    return None if take_apart is None else take_apart(obj)


def _header(header: Any) -> tuple[str, list[Any]]:
    """Count the cards of a FITS header as text.

    A header parses its cards only when they are read, and formats them only when they are written.
    So its attributes depend on how it was used, not only on its content.
    """
    return "header", [[card.image for card in header.cards]]


def _opened(manager: Any) -> tuple[str, list[Any]]:
    """Count how xarray opens a file that it reads later, and the file's size and time.

    xarray gives each opening a random name.
    """
    opener, args, mode, keywords, *_ = manager.__getstate__()
    states = [_state(each) for each in args] if mode == "r" else []
    return "opened file", [opener, args, str(mode), keywords, states]


def _store(store: Any) -> tuple[str, list[Any]] | None:
    """Count a folder that zarr only reads by name, and by the size and time of what is in it.

    One that zarr writes to is an output: it counts as any other object.
    """
    if not store.read_only:
        return None
    return "opened folder", [str(store.root), _state(store.root)]


def _lock(lock: Any) -> tuple[str, list[Any]]:
    """Count a lock by its type: it has a random name, and nothing else."""
    return f"lock {type(lock).__name__}", []


def _state(name: Any) -> State | None:
    """Return bytes and latest change in ns; ``None`` for an address, or if nothing is there."""
    return state_of(os.fsdecode(name)) if isinstance(name, (str, os.PathLike)) else None


_BY_NAME: dict[tuple[str, str], Callable[[Any], tuple[str, list[Any]] | None]] = {
    ("astropy.io.fits.header", "Header"): _header,
    ("dask.utils", "SerializableLock"): _lock,
    ("xarray.backends.file_manager", "CachingFileManager"): _opened,
    ("xarray.backends.locks", "CombinedLock"): _lock,
    ("xarray.backends.locks", "SerializableLock"): _lock,
    ("zarr.storage._local", "LocalStore"): _store,
}
