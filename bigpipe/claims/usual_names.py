"""Usual names of outputs that cannot collide, and what has become of them so far.

Owns one byte for each input. As long as no worker asks for a name, that is all that
`bigpipe.claims.register` needs to know; its register of names is filled from here when one does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

__all__ = ["UsualNames"]

MAX_NAMES = 100_000  # kept in memory, and registered all at once if it comes to that; arbitrary

_FREE, _GRANTED, _WRITTEN = range(3)


class UsualNames:
    """The usual names of all inputs, no two of them the same.

    Parameters
    ----------
    in_names : sequence
        The inputs.
    outnames : list of str
        The name of each.

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
        """Return the names of inputs; ``None`` if they are not known to be different files."""
        if predict is None or not isinstance(in_names, (list, tuple)) or len(in_names) > MAX_NAMES:
            return None
        try:
            outnames = list(map(predict, in_names))
            folders = {name.rpartition(os.sep)[0] for name in outnames}
        except Exception:  # a group, an odd name: its hook will say what is wrong with it
            return None
        # One file might have two names in folders that are links.
        is_distinct = len(folders) == 1 and len(set(outnames)) == len(outnames)
        return cls(in_names, outnames) if is_distinct else None

    def grant(self, files: Iterable[tuple[int, Any]]) -> list[str | None] | None:
        """Return the names of files that are handed out; ``None`` if one was not known before."""
        in_names, states = self._in_names, self._states
        granted: list[str | None] = []
        for index, in_name in files:
            if index >= len(in_names) or in_names[index] is not in_name:
                return None
            states[index] = _GRANTED
            granted.append(self.outnames[index])
        return granted

    def finish(self, files: Iterable[tuple[int, bool]]) -> None:
        """Note the ends of files, and whether they wrote; those that go back have not."""
        states = self._states
        for index, wrote in files:
            if index < len(states):
                states[index] = _WRITTEN if wrote else _FREE

    def taken(self) -> Iterator[tuple[int, Any, str, bool]]:
        """Yield index, input and name of files that have one, and whether it is written."""
        for index, state in enumerate(self._states):
            if state != _FREE:
                yield index, self._in_names[index], self.outnames[index], state == _WRITTEN
