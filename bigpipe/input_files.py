"""What inputs tell before they are read: how large they are on disk, whether compressed.

Owns the figures from which the memory of a file is guessed. How that is done is
`bigpipe.scheduling.projection`.
"""

from __future__ import annotations

import os
import stat
from typing import Any

__all__ = ["COMPRESSED_EXTENSIONS", "file_size", "is_compressed"]

COMPRESSED_EXTENSIONS = (
    *(".bz2", ".fz", ".gz", ".lz4", ".npz", ".xz", ".z", ".zip", ".zst"),  # in small letters
)


def file_size(in_name: Any) -> int | None:
    """Return how large an input is on disk.

    Parameters
    ----------
    in_name : str, os.PathLike or (nested) list of them
        An input; of a group, the sizes are added.

    Returns
    -------
    int or None
        Bytes; ``None`` if it, or a member of it, is no file, such as a folder, a key of a
        database or a name with something behind it (``'a.fits[1]'``).

    Examples
    --------
    >>> file_size([__file__, __file__]) == 2 * file_size(__file__)
    True
    >>> file_size("no such file") is None
    True
    """
    if type(in_name) is str:  # the most usual, for which the rest would take as long again
        try:
            status = os.stat(in_name)
        except (OSError, ValueError):  # ValueError: the name has a null character
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    if isinstance(in_name, list):
        sizes = [file_size(member) for member in in_name]
        known = [size for size in sizes if size is not None]
        return sum(known) if len(known) == len(sizes) else None
    if not isinstance(in_name, (str, os.PathLike)):  # a number would be a file descriptor
        return None
    return file_size(str.__str__(os.fsdecode(in_name)))


def is_compressed(in_name: Any) -> bool:
    """Return whether an input, or a member of it, is compressed, going by its extension.

    Examples
    --------
    >>> is_compressed("raw/b0042.fits.fz"), is_compressed(["a.fits", ["b.FITS.GZ"]])
    (True, True)
    """
    if isinstance(in_name, list):
        return any(map(is_compressed, in_name))
    if not isinstance(in_name, (str, os.PathLike)):
        return False
    return os.fsdecode(in_name).lower().endswith(COMPRESSED_EXTENSIONS)
