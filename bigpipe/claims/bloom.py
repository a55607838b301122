"""Which names may have been seen before, in memory that does not grow with their number.

Owns the table of bits. `bigpipe.claims.register` knows who owns a name.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator

__all__ = ["BloomFilter"]

N_WORDS = 1 << 18  # 2 MiB: almost no false answers with 100,000 names, some with a million


class BloomFilter:
    """A set of texts that may answer wrongly that it contains a text, but never that it does not.

    Notes
    -----
    A text has up to six bits, as in Bloom's table [1]_, but all of them in one word. A test then
    reads one word instead of six, at the price of a few more false answers.

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
        # The system provides a page only when it is written to.
        self._words = memoryview(mmap.mmap(-1, 8 * N_WORDS)).cast("Q")

    def add(self, texts: Iterable[str]) -> list[bool]:
        """Add texts; return for each whether it may have been added before."""
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
    """Yield words with three random bits set (Park and Miller's generator), or fewer by chance."""
    state = 1
    for _ in range(1024):
        state = state * 48271 % (2**31 - 1)
        yield 1 << (state & 63) | 1 << (state >> 6 & 63) | 1 << (state >> 12 & 63)


_THREE_BITS = list(_three_bits())
