"""Arrays in files that hold only their raw bytes.

Owns how their shape follows from the caller's arguments and the length of the file.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from bigpipe.errors import StoreError
from bigpipe.streaming.stores.flat import FlatStore

__all__ = ["RawStore"]


class RawStore(FlatStore):
    """The raw bytes of an array, in C order, after a header that is skipped."""

    @classmethod
    def open(
        cls,
        name: str,
        mode: str,
        *,
        dtype: Any = None,
        shape: tuple[int, ...] = (-1,),
        offset: int = 0,
    ) -> RawStore:
        """Open a file of a given dtype; a first length of -1 is taken from the file's size."""
        if dtype is None:
            raise StoreError(
                f"{name!r} has no header that gives the type of its numbers: give dtype=, such as "
                "'int16', and shape=(-1, n) if a sample has more than one number"
            )
        stored = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if shape[0] == -1:
            shape = (_n_samples(name, mode, stored, shape, offset), *shape[1:])
        return cls.of_whole(name, mode, shape=shape, stored=stored, start=offset)

    def opening(self) -> dict[str, Any]:
        """Return the keywords with which `open` finds the present array."""
        return {"dtype": self.stored, "shape": list(self.shape), "offset": self._start}


def _n_samples(
    name: str, mode: str, stored: np.dtype[Any], shape: tuple[int, ...], offset: int
) -> int:
    found = os.path.getsize(name) - offset
    sample = stored.itemsize * math.prod(shape[1:])
    if sample <= 0:
        raise StoreError(
            f"shape={shape} has no numbers in a sample of {name!r}: give lengths of 1 or more"
        )
    if found % sample and mode == "r":  # a file that is still being written may end anywhere
        raise StoreError(
            f"{name!r} has {found} bytes, which is not a whole number of samples of {sample} "
            "bytes: it is truncated, or dtype=, shape= or offset= is wrong. To read only the "
            f"complete samples, give {found // sample} as the first length of shape."
        )
    return found // sample
