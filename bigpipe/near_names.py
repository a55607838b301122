"""Which name was probably meant by one that is unknown.

Owns when two names are alike. Callers decide which names are valid and how to tell.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

__all__ = ["name_meant", "names_meant"]

ALIKE = 0.85  # ratio of difflib from which a name is a slip of another; arbitrary
HARDLY_ALIKE = 0.7  # likewise where a wrong guess does little harm; arbitrary
LEAST_LETTERS = 3  # of an abbreviated word, such as mem
LEAST_COMMON = 4  # letters with which two words begin, such as retry and retries
MAX_NAMES = 3  # names of one suggestion; arbitrary


def name_meant(name: str, known: Iterable[str]) -> str | None:
    """Return the known name of which another one is probably a slip, or ``None``.

    Parameters
    ----------
    name : str
        The other name.
    known : iterable of str
        The known names.

    Notes
    -----
    Names are alike if few letters differ, if only their order differs, or if they have equally
    many words, each of which is the same or abbreviates the other.

    Examples
    --------
    >>> names = ["mem_available", "mem_frac", "num_processes", "outdir"]
    >>> [name_meant(each, names) for each in ("num_procs", "outdri", "mem_fraction", "memory")]
    ['num_processes', 'outdir', 'mem_frac', None]
    """
    plain = {other.lower(): other for other in sorted(known)}
    near = difflib.get_close_matches(name.lower(), plain, n=1, cutoff=ALIKE)
    letters = sorted(name.lower())
    near += [other for other in plain if len(other) > 2 and sorted(other) == letters]
    if near:
        return plain[near[0]]
    words = _words(name)
    if len(words) < 2:  # one word, such as proc, may mean too much
        return None
    return next((other for other in plain.values() if _have_same_words(words, other)), None)


def names_meant(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that may have been meant, best first, for an unknown one.

    Parameters
    ----------
    name : str
        The unknown name.
    known : iterable of str
        The known names.

    Examples
    --------
    >>> names_meant("mem", ["mem_available", "mem_frac", "null", "num_processes"])
    ['mem_available', 'mem_frac']
    >>> names_meant("nums", ["null", "num_processes"])
    ['num_processes']
    """
    known = list(known)
    if (slip := name_meant(name, known)) is not None:
        return [slip]
    longer = [other for other in known if _plain(other).startswith(_plain(name))]
    if len(_plain(name)) >= LEAST_LETTERS and longer:
        return longer[:MAX_NAMES]
    with_word = [
        other
        for other in known
        if any(_are_one_word(a, b) for a in _words(name) for b in _words(other))
    ]
    plain = {_plain(other): other for other in known}
    near = difflib.get_close_matches(_plain(name), plain, n=1, cutoff=HARDLY_ALIKE)
    return with_word[:MAX_NAMES] or [plain[each] for each in near]


def _plain(name: str) -> str:
    return name.lower().strip("-_")


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+|\d+", _plain(name))


def _have_same_words(words: list[str], other: str) -> bool:
    others = _words(other)
    return len(words) == len(others) and all(map(_are_one_word, words, others))


def _are_one_word(a: str, b: str) -> bool:
    """Return whether two words are the same, or differ only in how they end."""
    short, long = sorted((a, b), key=len)
    if long.startswith(short):
        return short == long or len(short) >= LEAST_LETTERS
    return len(short) > LEAST_COMMON and long.startswith(short[:-1])
