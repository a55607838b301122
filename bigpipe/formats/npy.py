"""Arrays in numpy's own formats: ``.npy`` and ``.npz``."""

from __future__ import annotations

from typing import Any

from bigpipe.formats.common import array_of, chosen, one_or_all, part_of

__all__ = ["read_npy", "read_npy_slice", "read_npz", "write_npy", "write_npz"]


def read_npy(name: str) -> Any:
    """Return the array of a file."""
    import numpy as np

    return np.load(name)


def read_npy_slice(name: str, part: slice) -> Any:
    """Return a part of the array, along the first axis; only this part is read."""
    import numpy as np

    try:
        mapped = np.load(name, mmap_mode="r")
    except ValueError:  # an empty array cannot be mapped
        return part_of(np.load(name), part, name)
    return np.array(part_of(mapped, part, name))


def read_npz(name: str, dataset: str | None) -> Any:
    """Return the array of a file, several by name, or the one asked for."""
    import numpy as np

    # Opened here, as numpy leaves a damaged file open.
    with open(name, "rb") as raw, np.load(raw) as file:
        if dataset is not None:
            return file[chosen(file.files, dataset, name)]
        return one_or_all(dict(file), name)


def write_npy(data: Any, name: str) -> None:
    """Write an array."""
    import numpy as np

    array = array_of(data, name)
    with open(name, "wb") as file:  # given a name, numpy might append an extension
        np.save(file, array)


def write_npz(arrays: dict[str, Any], name: str) -> None:
    """Write arrays by name."""
    import numpy as np

    with open(name, "wb") as file:
        np.savez(file, **arrays)
