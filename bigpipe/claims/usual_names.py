"""Usual output names that cannot collide, and which of them are in use or written.

Owns one byte for each input. `bigpipe.claims.register` needs no more until a worker asks for a
name; it then fills its register from here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

__all__ = ["UsualNames"]

MAX_NAMES = 100_000  # kept in memory, and registered all at once if necessary; arbitrary

_FREE, _GRANTED, _WRITTEN = range(3)


class UsualNames:
    """The usual output names of all inputs, which are all different.

    Parameters
    ----------
    in_names : sequence
        The inputs.
    outnames : list of str
        The output name of each input.

    Examples
    --------
    >>> names = UsualNames.of(lambda in_name: f"out/{in_name}", ["a", "b"])
    >>> names.grant([(1, "b")])
    ['out/b']
    >>> names.finish([(1, True)])
    >>> list(names.taken())
    [(1, 'b', 'out/b', True)]
    >>> UsualNames.of(lambda in_name: "out/sum", ["a", "b"]) is None
    True
    """

    def __init__(self, in_names: Sequence[Any], outnames: list[str]) -> None:
        self._in_names = tuple(in_names)  # the caller's own list may change meanwhile
        self.outnames = outnames
        self._states = bytearray(len(outnames))

    @classmethod
    def of(cls, predict: Callable[[Any], str] | None, in_names: Any) -> UsualNames | None:
        """Return the names of inputs; ``None`` if they may not be different files."""
        if predict is None or not isinstance(in_names, (list, tuple)) or len(in_names) > MAX_NAMES:
            return None
        try:
            outnames = list(map(predict, in_names))
            folders = {name.rpartition(os.sep)[0] for name in outnames}
        except Exception:  # a group, or an odd name: its hook will report what is wrong
            return None
        # In folders that are links, one file may have two names.
        is_distinct = len(folders) == 1 and len(set(outnames)) == len(outnames)
        return cls(in_names, outnames) if is_distinct else None

    def grant(self, files: Iterable[tuple[int, Any]]) -> list[str | None] | None:
        """Return the output names of files that start; ``None`` if one of them is unknown here."""
        in_names, states = self._in_names, self._states
        granted: list[str | None] = []
        for index, in_name in files:
            if index >= len(in_names) or in_names[index] is not in_name:
                return None
            states[index] = _GRANTED
            granted.append(self.outnames[index])
        return granted

    def finish(self, files: Iterable[tuple[int, bool]]) -> None:
        """Record that files have ended or were recalled, and whether each wrote its output."""
        states = self._states
        for index, wrote in files:
            if index < len(states):
                states[index] = _WRITTEN if wrote else _FREE

    def taken(self) -> Iterator[tuple[int, Any, str, bool]]:
        """Yield index, input, granted output name, and whether that is written, for each file."""
        for index, state in enumerate(self._states):
            if state != _FREE:
                yield index, self._in_names[index], self.outnames[index], state == _WRITTEN
