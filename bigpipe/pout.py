"""The result of a run as a list, and functions that prune and cache such lists.

Owns `Pout`, `prune_pout` and `cached_pout`. `bigpipe.records` documents the entries.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from bigpipe.budget import format_bytes
from bigpipe.durations import format_rate, format_seconds
from bigpipe.errors import BigpipeWarning, FileError, OptionError, shown, summarise
from bigpipe.moving import write_whole
from bigpipe.plurals import plural
from bigpipe.records import FileResult, MemoryUse, Outcome

if TYPE_CHECKING:
    import pandas
    from astropy.table import QTable

__all__ = ["Pout", "cached_pout", "prune_pout"]

Entry = tuple[str | None, dict[str, Any]]


class Pout(list[Entry]):
    """The result of a run: a list of ``(outname, meta)``, one for each input, in input order.

    It equals a plain list of the same tuples. Slices and copies of it are plain lists.

    Parameters
    ----------
    results : iterable of FileResult, optional
        The result of each input, in input order.
    elapsed_s : float, optional
        Duration of the run in seconds.
    memory : MemoryUse, optional
        Memory that the run used.

    Attributes
    ----------
    results : list of FileResult
        The result of each input. Changing the entries of the `Pout` does not change it.
    elapsed_s : float or None
        Duration of the run in seconds; ``None`` if it is not known.
    memory : MemoryUse or None
        Budget and peak of all workers together, and what they waited for.

    Examples
    --------
    >>> pout = Pout([FileResult(0, "a.fits", "a_bmp.fits", {"sky": 7}, Outcome.WRITTEN)])
    >>> pout
    [('a_bmp.fits', {'sky': 7})]
    >>> outnames, metas = zip(*pout)
    >>> print(pout.summary())
    1 file: 1 written
    """

    def __init__(
        self,
        results: Iterable[FileResult] = (),
        elapsed_s: float | None = None,
        memory: MemoryUse | None = None,
    ) -> None:
        self.results = list(results)
        self.elapsed_s = elapsed_s
        self.memory = memory
        super().__init__(map(attrgetter("outname", "meta"), self.results))

    @classmethod
    def from_results(cls, results: Iterable[FileResult], elapsed_s: float | None = None) -> Pout:
        """Make a `Pout` from the results of a run.

        Parameters
        ----------
        results : iterable of FileResult
            The result of each input, in input order.
        elapsed_s : float, optional
            Duration of the run in seconds.

        Returns
        -------
        Pout
            The same as from the constructor.
        """
        return cls(results, elapsed_s)

    @property
    def errors(self) -> list[FileError]:
        """Errors of the files that failed, were killed or timed out, in input order."""
        return [result.error for result in self.results if result.error is not None]

    @property
    def in_names(self) -> list[Any]:
        """The inputs as they were given."""
        return [result.in_name for result in self.results]

    def prune(self) -> Pout:
        """Return the result without rejected inputs that have no metadata.

        Returns
        -------
        Pout
            All entries except those that are ``(None, {})``. Its `in_names` match the entries.
        """
        kept = (x for x in self.results if not _is_empty(x.entry))
        return Pout(kept, self.elapsed_s, self.memory)

    def summary(self, failures: bool = True) -> str:
        """Return a short text: the number of files by outcome, the speed, and the failures.

        Parameters
        ----------
        failures : bool, optional
            Whether to add a line for each kind of error.

        Returns
        -------
        str
            A first line, then one for the memory, one for each hook or function that rejected
            files, and one for each kind of error.
        """
        n_files = len(self.results)
        counts = Counter(result.outcome for result in self.results)
        ends = [f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome]]
        text = f"{n_files} {plural(n_files, 'file')}"
        n_kept = sum(result.from_journal for result in self.results)
        if n_kept:
            text += f", {n_kept} of them from the journal"
        if ends:
            text += f": {', '.join(ends)}"
        if self.elapsed_s is not None:
            text += f" in {format_seconds(self.elapsed_s)}"
            if self.elapsed_s > 0 and n_files > n_kept:
                text += f" ({format_rate((n_files - n_kept) / self.elapsed_s)})"
        peaks = [result.peak_rss for result in self.results if result.peak_rss is not None]
        if peaks:
            text += f"; highest peak RSS {format_bytes(max(peaks))}"
        if self.memory is not None and self.memory.peak:
            text += f"\n{_told(self.memory, max(peaks, default=0))}"
        for who, names in self._rejected().items():
            text += f"\n  {len(names)} x rejected by {who}, first: {shown(names[0])}"
        errors = self.errors if failures else []
        return f"{text}\n{summarise(errors)}" if errors else text

    def _rejected(self) -> dict[str, list[Any]]:
        """Return the rejected inputs, by the hook or function that rejected them."""
        found: dict[str, list[Any]] = {}
        for result in self.results:
            if result.rejected_by is not None:
                found.setdefault(result.rejected_by, []).append(result.in_name)
        return found

    def to_table(self) -> QTable:
        """Return the inputs and their metadata as a table.

        Returns
        -------
        astropy.table.QTable
            A row for each input: ``in_name``, ``outname``, ``outcome``, and a column for each
            key of the metadata; keys of nested dicts are joined with a dot. A column of
            quantities has one unit; times and coordinates become columns of their own types.
            Values of unrelated types are kept as objects. Missing keys and ``None`` are masked.
        """
        from bigpipe.pout_table import table_of

        return table_of(self.results)

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table of `to_table` as a pandas data frame.

        Returns
        -------
        pandas.DataFrame
            Units are in the column names, and coordinates take two columns. Missing values are
            NaN, NaT or ``None``.

        Raises
        ------
        ImportError
            If pandas is not installed; nothing else in bigpipe needs it.
        """
        from bigpipe.pout_table import pandas_of

        return pandas_of(self.results)

    def _repr_html_(self) -> str:
        from bigpipe.pout_table import html_of

        return html_of(self.results, self.summary())

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write a report of the run as an HTML page.

        Parameters
        ----------
        path : str or os.PathLike
            Name of the page, one file that needs no network. The command ``bigpipe report``
            makes the page from a journal, which also has the run's keywords and versions.
        """
        from bigpipe.report import write_page

        write_page(self, path)


def _told(memory: MemoryUse, highest_rss: int) -> str:
    # The RSS of one worker includes what all workers share, such as Python's libraries.
    without = " without shared pages" if memory.peak < highest_rss else ""
    text = (
        f"memory: peak {format_bytes(memory.peak)} in all workers{without}, budget "
        f"{format_bytes(memory.budget)}"
    )
    waits = [f"{what} {format_seconds(s)}" for what, s in memory.waited_s.items() if s >= 1]
    return f"{text}; workers waited: {', '.join(waits)}" if waits else text


def _is_empty(entry: Any) -> bool:
    outname, meta = entry
    return outname is None and isinstance(meta, Mapping) and not meta


def _is_pout(given: Any, items: list[Any]) -> bool:
    """Return whether this is the result of a run; in a `Pout`, metadata may be of any type."""
    return isinstance(given, Pout) or all(map(_looks_like_entry, items))


def _looks_like_entry(item: Any) -> bool:
    return (
        isinstance(item, (tuple, list))
        and len(item) == 2
        and isinstance(item[1], (Mapping, type(None)))
    )


def prune_pout(pout: Iterable[Any], in_names: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Remove rejected inputs that have no metadata from the result of a run.

    Parameters
    ----------
    pout : iterable of tuple
        The ``(outname, meta)`` of each input.
    in_names : iterable
        The inputs, in the same order.

    Returns
    -------
    pruned_pout, pruned_in_names : list
        Both lists without the entries that are ``(None, {})``. Entries with metadata but no
        output stay, including those of failed files.

    Raises
    ------
    OptionError
        If the two differ in length.

    Warns
    -----
    BigpipeWarning
        If the arguments are swapped. They are returned unchanged.

    Examples
    --------
    >>> prune_pout([("a_bmp.fits", {}), (None, {})], ["a.fits", "b.fits"])
    ([('a_bmp.fits', {})], ['a.fits'])
    """
    entries, names = list(pout), list(in_names)
    if len(entries) != len(names):
        raise OptionError(
            f"pout has {len(entries)} entries and in_names has {len(names)}: give the in_names "
            "of the same run"
        )
    if not _is_pout(pout, entries):
        if not _is_pout(in_names, names):
            raise OptionError(
                "pout is not a list of (outname, meta): give what pipeline() returned"
            )
        warnings.warn(
            "prune_pout(pout, in_names) was given in_names first and pout second: nothing is "
            "pruned. Swap the arguments.",
            BigpipeWarning,
            stacklevel=2,
        )
        return entries, names
    kept = [i for i, entry in enumerate(entries) if not _is_empty(entry)]
    return [entries[i] for i in kept], [names[i] for i in kept]


def cached_pout(
    pipe_code: Callable[..., Any],
    poutname: str | os.PathLike[str] | None = None,
    read_pout: bool = False,
    write_pout: bool = False,
    create_outdir: bool = False,
    **kwargs: Any,
) -> Any:
    """Run a pipeline, or read the result of an earlier run from a file.

    Parameters
    ----------
    pipe_code : callable
        Called as ``pipe_code(create_outdir=create_outdir, **kwargs)``; returns the result of
        the run. Not called if the result is read from the file.
    poutname : str or os.PathLike, optional
        Name of the file. Required to read or write.
    read_pout : bool, optional
        Read the result from the file. If the file is missing or damaged, run the pipeline.
    write_pout : bool, optional
        Write the result to the file after a run, as a pickle. It is written whole or not at all.
    create_outdir : bool, optional
        Create the folder of the file if it is missing. Also passed to `pipe_code`.
    **kwargs : dict
        Passed to `pipe_code`.

    Returns
    -------
    object
        What `pipe_code` returned in this run, or in the one that wrote the file.

    Raises
    ------
    OptionError
        Before anything runs, if `poutname` is missing or cannot be written because its folder
        does not exist or is not writable.

    Warns
    -----
    BigpipeWarning
        If the file cannot be read or the result cannot be written; the warning says why. The
        result is returned in either case.

    Notes
    -----
    Reading a pickle runs the code in it: read only files that you wrote yourself.

    Examples
    --------
    >>> import tempfile
    >>> def reduce(create_outdir, **kwargs):
    ...     print("runs")
    ...     return [("a_bmp.fits", {})]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = os.path.join(folder, "night.pout")
    ...     first = cached_pout(reduce, name, write_pout=True)
    ...     second = cached_pout(reduce, name, read_pout=True)
    runs
    >>> first == second
    True
    """
    if not (read_pout or write_pout):
        return pipe_code(create_outdir=create_outdir, **kwargs)
    if poutname is None or not os.fspath(poutname):
        raise OptionError("read_pout and write_pout need a file: give poutname")
    path = os.fspath(poutname)
    if read_pout:
        try:
            return _read(path)
        except _UnreadableError as error:
            warnings.warn(
                f"{path!r} cannot be read: {error}. The pipeline runs instead.",
                BigpipeWarning,
                stacklevel=2,
            )
    if write_pout:
        _prepare_folder(path, create_outdir)
    pout = pipe_code(create_outdir=create_outdir, **kwargs)
    if write_pout:
        try:
            write_whole(path, pickle.dumps(pout, protocol=pickle.HIGHEST_PROTOCOL))
        except Exception as error:  # a foreign __reduce__ may raise anything; keep the result
            warnings.warn(
                f"{path!r} could not be written: {type(error).__name__}: {error}. The result is "
                "returned but not saved.",
                BigpipeWarning,
                stacklevel=2,
            )
    return pout


class _UnreadableError(Exception):
    """The file is missing or damaged; the message says which."""


def _read(path: str) -> Any:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise _UnreadableError("there is no such file") from None
    try:
        return pickle.loads(content)
    except (ImportError, AttributeError) as error:
        error.add_note(
            f"{path!r} may be intact, but it contains an object whose class cannot be imported. "
            "Make the class importable, or remove the file (or read_pout) to run the pipeline "
            "again."
        )
        raise
    # What the unpickler raises for bytes that are not a pickle, or only the start of one.
    except (pickle.UnpicklingError, EOFError, ValueError, LookupError, OverflowError) as error:
        raise _UnreadableError(f"it is damaged ({type(error).__name__}: {error})") from error


def _prepare_folder(path: str, create: bool) -> None:
    """Check before a long run that its result can be written."""
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise OptionError(f"poutname={path!r} is a folder: give the name of a file in it")
    if not os.path.isdir(folder):
        if not create:
            raise OptionError(
                f"the folder of poutname={path!r} does not exist: make it, or give "
                "create_outdir=True"
            )
        os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(f"the folder of poutname={path!r} cannot be written to")
