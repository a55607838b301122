"""`Journal`: read what runs have recorded of their files.

Owns the queries that users make: results, errors, a table, the origin of an output. Runs write
the journal through `bigpipe.journal_store.file`.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from bigpipe.durations import format_seconds
from bigpipe.errors import FileError, JournalError
from bigpipe.file_states import key_of, names_of, state_of
from bigpipe.journal_store.lock import holder_of
from bigpipe.journal_store.reader import JournalReader, explained, opened
from bigpipe.journal_store.rows import FileRow, RunRow, result_of
from bigpipe.origin import JournalRun, Origin
from bigpipe.plurals import plural
from bigpipe.pout import Pout
from bigpipe.records import FileResult, Outcome

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["Journal", "JournalRun", "Origin", "runs_of"]


class Journal:
    """A journal, open for reading, even while a run writes it.

    Parameters
    ----------
    path : str or os.PathLike
        The file that was given to a pipeline as ``journal``.

    Raises
    ------
    JournalError
        If the file does not exist or is not a journal.

    Notes
    -----
    Reading a journal never runs code from it: values are JSON, and only of known types.

    Examples
    --------
    >>> import os, tempfile
    >>> from bigpipe import BigMultiPipe
    >>> folder = tempfile.mkdtemp()
    >>> name, path = os.path.join(folder, "a.txt"), os.path.join(folder, "night1.bigpipe")
    >>> with open(name, "w") as file:
    ...     _ = file.write("quiet")
    >>> pout = BigMultiPipe(outdir=folder, journal=path).pipeline([name])
    >>> with Journal(path) as journal:
    ...     journal.pout() == pout, [run.state for run in journal.runs]
    (True, ['finished'])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._reader = opened(self.path)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Journal({self.path!r})"

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    @property
    def runs(self) -> list[JournalRun]:
        """All runs, oldest first."""
        with explained(self.path):
            return runs_of(self._reader, self.path)

    def results(
        self, outcome: Outcome | str | None = None, run: int | None = None
    ) -> Iterator[FileResult]:
        """Yield the results of a run, in input order.

        Parameters
        ----------
        outcome : Outcome or str, optional
            Yield only results with this outcome.
        run : int, optional
            Number of the run; the last one if not given.

        Yields
        ------
        FileResult
            One for each input, including files skipped because an earlier run finished them.
        """
        for row in self._rows(run):
            if outcome is None or row.outcome == outcome:
                yield _result(row)

    def attempts(self, in_name: Any = None) -> Iterator[FileResult]:
        """Yield all attempts of all runs, oldest first.

        Parameters
        ----------
        in_name : str, os.PathLike or list, optional
            Yield only attempts at this input.

        Yields
        ------
        FileResult
            One for each attempt.
        """
        where = ("1",) if in_name is None else ("key = ?", key_of(in_name))
        with explained(self.path):
            for row in self._reader.attempts(*where):
                yield _result(row)

    def errors(self, run: int | None = None) -> list[FileError]:
        """Return the errors of a run, in input order.

        Parameters
        ----------
        run : int, optional
            Number of the run; the last one if not given.
        """
        return [result.error for result in self.results(run=run) if result.error is not None]

    def pout(self, run: int | None = None) -> Pout:
        """Return the result of a run, as `BigMultiPipe.pipeline` did.

        Parameters
        ----------
        run : int, optional
            Number of the run; the last one if not given.

        Returns
        -------
        Pout
            For a run that was interrupted, only the inputs that had ended. Metadata that could
            not be stored is missing.
        """
        return Pout(self.results(run=run))

    def growths(self, n: int = 200) -> list[tuple[Any, int, int]]:
        """Return the memory that the last files took, from which the next run projects.

        Parameters
        ----------
        n : int, optional
            Number of files.

        Returns
        -------
        list of tuple
            The input, its size on disk in bytes, and the bytes by which it made a worker grow.
        """
        with explained(self.path):
            rows = self._reader.measured(n)
        return [(row.given, row.n_bytes or 0, row.growth or 0) for row in rows]

    def to_table(self, run: int | None = None) -> Table:
        """Return the inputs of a run as a table.

        Parameters
        ----------
        run : int, optional
            Number of the run; the last one if not given.

        Returns
        -------
        astropy.table.Table
            A row for each input: ``in_name``, ``outcome``, ``outname``, ``seconds`` (s),
            ``size`` (bytes on disk), ``peak_rss`` and ``projected`` (bytes), ``attempts``,
            ``ended`` (local time), ``error``. Missing values are masked.
        """
        from astropy.table import MaskedColumn, Table

        columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        for row in self._rows(run):
            for name, value in zip(_COLUMNS, _cells(row), strict=True):
                columns[name].append(value)
        table = Table(masked=True)
        for name, values in columns.items():
            kind, unit = _COLUMNS[name]
            filled = [kind() if value is None else value for value in values]
            mask = [value is None for value in values]
            table[name] = MaskedColumn(filled, mask=mask, unit=unit, dtype=kind)
        return table

    def trace(self, output: str | os.PathLike[str]) -> Origin:
        """Return the input, keywords, code and versions that made an output.

        Parameters
        ----------
        output : str or os.PathLike
            An output, or another file written with it.

        Raises
        ------
        JournalError
            If the journal has no record of it.
        """
        name = os.path.abspath(output)
        base = json.dumps(os.path.basename(name))[1:-1]
        with explained(self.path):
            rows = list(self._reader.attempts("instr(outputs, ?) > 0", base))
        for row in reversed(rows):
            outputs = dict(row.placed)
            found = next((x for x in outputs if x == name or _is_same(x, name)), None)
            if found is not None:
                return self._origin(name, outputs[found], row)
        raise JournalError(f"the journal {self.path!r} has no record of {name!r}")

    def _origin(self, name: str, then: Any, row: FileRow) -> Origin:
        inputs = []
        for in_name, state in zip(names_of(row.key), row.states, strict=False):
            now = state_of(in_name)
            same = now is not None and state is not None and list(now) == state[:2]
            checksum = state[2] if state is not None and len(state) > 2 else None
            inputs.append((in_name, None if state is None else state[0], checksum, same))
        now = state_of(name)
        return Origin(
            name,
            now is not None and then is not None and list(now) == then,
            _result(row),
            datetime.fromtimestamp(row.ended_at),
            tuple(inputs),
            next(run for run in self.runs if run.number == row.run),
        )

    def status(self) -> str:
        """Return a short text: the state of the last run and its progress."""
        runs = self.runs
        if not runs:
            return f"{self.path}: no run yet"
        last = runs[-1]
        head = f"{self.path}: {len(runs)} {plural(len(runs), 'run')}"
        when = f"{last.began:%Y-%m-%d %H:%M:%S}"
        head += f"; the last, of {last.pipe}, began {when} on {last.host} and "
        if last.state == "running":
            head += f"is running (process {last.pid})"
        elif last.ended is None:
            head += "was killed"
        else:
            head += f"{last.state if last.state == 'finished' else 'was interrupted'} "
            head += f"{last.ended:%Y-%m-%d %H:%M:%S}"
        rows = [(row.outcome, row.run == last.number) for row in self._rows(last.number)]
        counts = Counter(outcome for outcome, _ in rows)
        n_ended, n_run = len(rows), sum(was_run for _, was_run in rows)
        n_files = n_ended if last.n_files is None else last.n_files
        total = "" if last.n_files is None else f" of {n_files}"
        ends = ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome if counts[outcome])
        text = f"{head}\n{n_ended}{total} {plural(n_files, 'file')} ended"
        text += f": {ends}" if ends else ""
        if last.state == "running" and last.n_files is not None and n_run:
            elapsed_s = time.time() - last.began.timestamp()
            left_s = elapsed_s * (last.n_files - n_ended) / n_run
            text += f"\nabout {format_seconds(left_s)} to go"
        return text

    def _rows(self, run: int | None) -> Iterator[FileRow]:
        with explained(self.path):
            numbers = list(self._reader.runs())
            if not numbers:
                return
            if run is not None and run not in numbers:
                raise JournalError(
                    f"the journal {self.path!r} has no run {run}; the last is {numbers[-1]}"
                )
            yield from self._reader.of_run(numbers[-1] if run is None else run)


_COLUMNS: dict[str, tuple[type, str | None]] = {
    "in_name": (str, None),
    "outcome": (str, None),
    "outname": (str, None),
    "seconds": (float, "s"),
    "size": (int, "byte"),
    "peak_rss": (int, "byte"),
    "projected": (int, "byte"),
    "attempts": (int, None),
    "ended": (str, None),
    "error": (str, None),
}


def _cells(row: FileRow) -> tuple[Any, ...]:
    """Return the cells of a row of the table."""
    result = _result(row._replace(meta=None))  # reading metadata may take long
    return (
        str(result.in_name),
        row.outcome,
        None if result.outname is None else str(result.outname),
        sum(result.seconds.values()) if result.seconds else None,
        row.n_bytes,
        result.peak_rss,
        result.projected,
        result.attempts,
        datetime.fromtimestamp(row.ended_at).isoformat(sep=" ", timespec="seconds"),
        None if result.error is None else str(result.error),
    )


def _result(row: FileRow) -> FileResult:
    return result_of(row, row.place, row.given)


def runs_of(reader: JournalReader, path: str) -> list[JournalRun]:
    """Return all runs of a journal that is open, the first one first."""
    rows = reader.runs()
    holder = holder_of(path)
    return [_run_of(number, row, holder) for number, row in rows.items()]


def _run_of(number: int, row: RunRow, holder: dict[str, Any] | None) -> JournalRun:
    state = row.end
    if state is None:
        is_there = holder is not None and (holder.get("pid"), holder.get("host")) == (
            row.pid,
            row.host,
        )
        state = "running" if is_there else "killed"
    return JournalRun(
        number,
        datetime.fromtimestamp(row.began_at),
        None if row.ended_at is None else datetime.fromtimestamp(row.ended_at),
        state,
        row.host,
        row.pid,
        row.folder,
        row.pipe,
        row.n_files,
        row.fingerprint,
        json.loads(row.parts),
        json.loads(row.keywords),
        json.loads(row.versions),
        json.loads(row.options or "{}"),
    )


def _is_same(name: str, other: str) -> bool:
    """Return whether two paths lead to the same file, through any links."""
    return os.path.realpath(name) == os.path.realpath(other)
