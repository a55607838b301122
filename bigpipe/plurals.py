"""Nouns of messages, in the singular or the plural."""

from __future__ import annotations

__all__ = ["plural"]


def plural(n: int, noun: str) -> str:
    """Return a noun as it follows a number.

    Parameters
    ----------
    n : int
        The number; of "2 of 3 files", the last one.
    noun : str
        The noun in the singular. Its plural ends in s, or in es if the noun ends in s.

    Examples
    --------
    >>> [f"{n} {plural(n, 'file')}" for n in (0, 1, 2)], plural(2, "process")
    (['0 files', '1 file', '2 files'], 'processes')
    """
    if n == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"
