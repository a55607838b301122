"""What all formats need: their libraries, arrays, and error messages."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from bigpipe.errors import BigpipeError, FormatError
from bigpipe.outname import split_extension

__all__ = [
    "array_of",
    "arrays_of",
    "chosen",
    "damage_told",
    "format_of",
    "is_masked",
    "library",
    "nearest",
    "one_or_all",
    "part_of",
]

MAX_NAMES = 10  # shown in a message; arbitrary


def format_of(name: str) -> str:
    """Return the extension that names the format, without that of a compression."""
    extension = split_extension(name.rstrip(os.sep))[1].lower()
    return "." + extension.split(".")[1] if extension else ""


def library(name: str, *modules: tuple[str, str]) -> Any:
    """Import the first of these modules that is installed; each is given with its package."""
    for module, _ in modules:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            continue
    packages = " or ".join(package for _, package in modules)
    raise FormatError(
        f"{name!r} needs {packages}, which is not installed: python -m pip install "
        f"{modules[0][1]}; or give functions of your own as read and write"
    )


@contextmanager
def damage_told(name: str) -> Iterator[None]:
    """Name the file, and what to do, in errors of other libraries that cannot read it."""
    try:
        yield
    except (BigpipeError, MemoryError):
        raise
    except Exception as error:  # astropy, h5py, numpy, Pillow, tifffile and zlib raise many classes
        if getattr(error, "errno", None) is not None:  # from the system: it names the file
            raise
        # An OSError may be retried, as a file that is still being copied is read when it is whole.
        kind = OSError if isinstance(error, OSError) else FormatError
        raise kind(
            f"{name!r} cannot be read ({type(error).__name__}: {error}). If it is truncated or "
            "damaged, copy it again; otherwise give a function read."
        ) from error


def array_of(data: Any, name: str, key: Any = None) -> Any:
    """Return data as an array of numbers; ``key`` is its name if it is one of several."""
    import numpy as np

    what = "data" if key is None else f"array {key!r} in the data,"
    if is_masked(data):
        raise FormatError(
            f"{what} with masked values, cannot be written to {name!r}: fill them in process, for "
            "instance by data.filled(nan)"
        )
    try:
        array = np.asarray(data)
    except ValueError:  # lists of different lengths
        array = None
    if array is None or array.dtype.hasobject:
        kind = f"type {type(data).__name__}"
        if isinstance(data, np.ndarray):
            kind += f" with elements of {data.dtype}"
        raise FormatError(
            f"{what} of {kind} is not an array of numbers and cannot be written to {name!r}: give "
            "a function write, or another outname_ext"
        )
    return array


def is_masked(data: Any) -> bool:
    """Return whether any value of an array of numpy or astropy is masked.

    Examples
    --------
    >>> import numpy as np
    >>> is_masked(np.ma.array([1, 2], mask=[False, True])), is_masked(np.ma.array([1, 2]))
    (True, False)
    """
    import numpy as np

    # An attribute of another object may be a column.
    has_mask = isinstance(data, np.ndarray) and hasattr(type(data), "mask")
    return has_mask and _is_set(np.asarray(getattr(data, "mask", False)))


def _is_set(mask: Any) -> bool:
    """Return whether a mask masks anything. The mask of a structured array has its fields."""
    if mask.dtype.names is None:
        return bool(mask.any())
    return any(_is_set(mask[name]) for name in mask.dtype.names)


def arrays_of(data: Any, name: str, alone: str) -> dict[str, Any]:
    """Return arrays by name; a single array gets the name ``alone``."""
    if isinstance(data, dict):
        return {str(key): array_of(value, name, key) for key, value in data.items()}
    return {alone: array_of(data, name)}


def one_or_all(arrays: dict[str, Any], name: str) -> Any:
    """Return the only array, or several as a dict by name."""
    if not arrays:
        raise FormatError(f"there is no array in {name!r}: give a function read")
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def chosen(names: Any, dataset: str, name: str) -> str:
    """Return the name of a dataset, if there is one of that name."""
    if dataset not in names:
        shown, more = nearest(names, dataset)
        raise FormatError(f"there is no dataset {dataset!r} in {name!r}, which has {shown}{more}")
    return dataset


def part_of(array: Any, part: slice | None, name: str) -> Any:
    """Return a part of an array along its first axis; all of it, if no part is given."""
    if part is None:
        return array[()]
    if not getattr(array, "shape", True):  # text and bytes have none
        raise FormatError(
            f"the data in {name!r} is a single number or empty, with no axis to slice along: give "
            "the name of the file alone, without a start and an end"
        )
    return array[part]


def nearest(names: Iterable[str], wanted: str | None = None) -> tuple[list[str], str]:
    """Return names for a message: all, or the most similar ones and how many more there are."""
    known = list(names)
    if len(known) <= MAX_NAMES:
        return known, ""
    similar = difflib.get_close_matches(wanted or "", known, MAX_NAMES)
    others = [each for each in known if each not in similar]
    return [*similar, *others][:MAX_NAMES], f" and {len(known) - MAX_NAMES} more"
