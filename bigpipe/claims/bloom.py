"""Which names may have been met before, in memory that does not grow with their number.

Owns the table of bits. Who has a name is `bigpipe.claims.register`'s.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

__all__ = ["BloomFilter"]

N_WORDS = 1 << 18  # 2 MiB: of 100,000 names, hardly one is looked up in vain; of a million, some


class BloomFilter:
    """Tell of a text whether it may have been added before; say no only if it has not.

    Notes
    -----
    A text has up to six bits, as in the table of Bloom [1]_, but all in one word: that is one
    look instead of six, and costs only a few more of the bits that are set by chance.

    References
    ----------
    .. [1] B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors",
       Communications of the ACM 13(7), 422-426 (1970).

    Examples
    --------
    >>> names = BloomFilter()
    >>> names.add(["out/a_bmp.fits", "out/b_bmp.fits", "out/a_bmp.fits"])
    [False, False, True]
    """

    def __init__(self) -> None:
        # Pages come as they are written to.
        self._words = memoryview(mmap.mmap(-1, 8 * N_WORDS)).cast("Q")

    def add(self, texts: Iterable[str]) -> list[bool]:
        """Add texts; return for each whether it may have been there."""
        words, three_bits, in_words = self._words, _THREE_BITS, N_WORDS - 1
        seen = []
        for digest in map(hash, texts):
            place = digest & in_words
            bits = three_bits[digest >> 18 & 1023] | three_bits[digest >> 28 & 1023]
            word = words[place]
            if word & bits == bits:
                seen.append(True)
            else:
                words[place] = word | bits
                seen.append(False)
        return seen


def _three_bits() -> Iterator[int]:
    """Yield words in which three bits are set, by chance (Park and Miller's generator) fewer."""
    state = 1
    for _ in range(1024):
        state = state * 48271 % (2**31 - 1)
        yield 1 << (state & 63) | 1 << (state >> 6 & 63) | 1 << (state >> 12 & 63)


_THREE_BITS = list(_three_bits())
