"""Which side files a run has written, to notice one that several inputs have written.

Owns the memory of their names. Side files are not claimed: the register of claims is for outputs.
"""

from __future__ import annotations

from collections.abc import Mapping

from bigpipe.claims.bloom import BloomFilter

__all__ = ["SideFiles"]


class SideFiles:
    """The side files of one run, in memory that does not grow with their number.

    Examples
    --------
    >>> side_files = SideFiles()
    >>> side_files.add({"out/a.png": False, "out/all.csv": False})
    >>> side_files.add({"out/b.png": True, "out/all.csv": True})
    'out/all.csv'
    """

    def __init__(self) -> None:
        self._seen = BloomFilter()
        self._seen_backwards = BloomFilter()

    def add(self, written: Mapping[str, bool]) -> str | None:
        """Add the side files of one input; return one that replaced another input's, if any.

        Parameters
        ----------
        written : mapping
            Absolute names; the values say whether there was something before. So a file of an
            earlier run is not mistaken for another input's, nor is a rare wrong answer of the
            filters taken for true where nothing was replaced. When a run is repeated, every side
            file replaces one, so a single filter would be wrong too often.
        """
        seen = self._seen.add(written)
        again = self._seen_backwards.add(name[::-1] for name in written)
        found = zip(written.items(), seen, again, strict=True)
        return next((name for (name, existed), *twice in found if existed and all(twice)), None)
