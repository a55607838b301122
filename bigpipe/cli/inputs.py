"""Names of inputs from the arguments of a command.

Owns what an argument may stand for. Whether an input exists and can be read is checked later, when
it is planned or run.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from bigpipe.errors import OptionError

__all__ = ["expanded"]

_FOLDERS_THAT_ARE_FILES = (".zarr",)


def expanded(
    arguments: Iterable[str | list[str]],
    *,
    pattern: str | None = None,
    are_null_ended: bool = False,
    are_groups: bool = False,
) -> list[str | list[str]]:
    """Return the names of the inputs that arguments stand for, in order and without duplicates.

    Parameters
    ----------
    arguments : iterable of str or list of str
        Names; folders, whose files that match ``pattern`` are taken; patterns; ``@name`` for a
        file that lists names, one per line; ``-`` for such a list on standard input. A list of
        these makes one group of all the files that it stands for.
    pattern : str, optional
        Pattern of the files to take from folders; begin it with ``**/`` to search subfolders.
    are_null_ended : bool, optional
        Names in lists end with NUL instead of a newline.
    are_groups : bool, optional
        The files that one argument stands for are a group, read together.

    Raises
    ------
    OptionError
        If no file in a folder matches, no file matches a pattern, or a list cannot be read.
    """
    found: dict[tuple[str, ...] | str, None] = {}
    for argument in arguments:
        is_group = are_groups or not isinstance(argument, str)
        parts = [argument] if isinstance(argument, str) else argument
        names = [name for part in parts for name in _names_of(part, pattern, are_null_ended)]
        unique = tuple(dict.fromkeys(names))
        if is_group and not unique:
            raise OptionError(f"the group {argument!r} has no files")
        found.update(dict.fromkeys([unique] if is_group else unique))
    return [name if isinstance(name, str) else list(name) for name in found]


def _names_of(argument: str, pattern: str | None, are_null_ended: bool) -> Iterator[str]:
    if argument == "-":
        yield from _listed(sys.stdin.buffer.read(), are_null_ended)
    elif argument.startswith("@"):
        try:
            yield from _listed(Path(argument[1:]).read_bytes(), are_null_ended)
        except OSError as error:
            raise OptionError(f"cannot read the list {argument[1:]!r}: {error}") from None
    elif _is_folder(argument):
        if pattern is None:
            raise OptionError(
                f"{argument!r} is a folder: choose its files with --glob, such as '*.fits'"
            )
        yield from _matching(os.path.join(glob.escape(argument), pattern))
    elif glob.has_magic(argument) and not os.path.lexists(argument):
        yield from _matching(argument)
    elif pattern is not None and not os.path.lexists(argument) and not _fits(argument, pattern):
        raise OptionError(f"there is no folder {argument!r}")
    else:
        yield argument


def _fits(name: str, pattern: str) -> bool:
    return fnmatch(os.path.basename(name.rstrip(os.sep)), os.path.basename(pattern))


def _listed(content: bytes, are_null_ended: bool) -> list[str]:
    names = content.split(b"\0") if are_null_ended else content.splitlines()
    return [os.fsdecode(name) for name in names if name]


def _matching(pattern: str) -> list[str]:
    names = [name for name in sorted(glob.glob(pattern, recursive=True)) if not _is_folder(name)]
    if not names:
        raise OptionError(f"no file matches {pattern!r}")
    return names


def _is_folder(name: str) -> bool:
    return os.path.isdir(name) and not name.rstrip(os.sep).endswith(_FOLDERS_THAT_ARE_FILES)
