"""Reading a journal, during a run or after it.

Owns how the file is opened, checked and queried. `bigpipe.journal_store.file` writes it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from bigpipe.errors import JournalError
from bigpipe.journal_store.rows import FileRow, LiveRow, RunRow
from bigpipe.records import Sample

__all__ = [
    "APPLICATION_ID",
    "FORMAT",
    "JournalReader",
    "check",
    "explained",
    "opened",
    "uri",
]

APPLICATION_ID = 0x62706A31  # "bpj1": tells a journal from other SQLite files
FORMAT = 1  # version of the tables; increased when an older bigpipe could not read them

_FILE_COLUMNS = ", ".join(f"files.{name}" for name in FileRow._fields)
_RUN_COLUMNS = ", ".join(RunRow._fields)


class JournalReader:
    """Queries of a journal.

    Parameters
    ----------
    database : sqlite3.Connection
        The file, open.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def runs(self) -> dict[int, RunRow]:
        """Return all runs by their numbers."""
        rows = self._database.execute(f"SELECT id, {_RUN_COLUMNS} FROM runs ORDER BY id")
        return {row[0]: RunRow(*row[1:]) for row in rows}

    def is_new(self, before: int) -> bool:
        """Return whether earlier runs than this one have left no rows."""
        found = self._database.execute("SELECT min(run) FROM files").fetchone()[0]
        return found is None or found >= before

    def rows_of(self, key: str, before: int) -> Iterator[tuple[int, FileRow]]:
        """Yield the numbers and rows of an input from earlier runs, newest first."""
        rows = self._database.execute(
            f"SELECT id, {_FILE_COLUMNS} FROM files WHERE key = ? AND run < ? ORDER BY id DESC",
            (key, before),
        )
        return ((row[0], FileRow(*row[1:])) for row in rows)

    def of_run(self, run: int) -> Iterator[FileRow]:
        """Yield the last row of each input of a run, in the order of its inputs."""
        rows = self._database.execute(
            f"SELECT place, {_FILE_COLUMNS} FROM files WHERE run = :run AND is_final "
            f"UNION ALL SELECT kept.place, {_FILE_COLUMNS} FROM kept "
            "JOIN files ON files.id = kept.file WHERE kept.run = :run ORDER BY 1",
            {"run": run},
        )
        return (FileRow(*row[1:])._replace(place=row[0]) for row in rows)

    def attempts(self, where: str = "1", *values: Any) -> Iterator[FileRow]:
        """Yield all attempts for which an SQL condition holds, oldest first."""
        rows = self._database.execute(
            f"SELECT {_FILE_COLUMNS} FROM files WHERE {where} ORDER BY id", values
        )
        return (FileRow(*row) for row in rows)

    def shared_outputs(self) -> frozenset[str]:
        """Return the outputs that several inputs of one run have in common."""
        rows = self._database.execute(
            "SELECT json_extract(outputs, '$[0][0]') AS name FROM files "
            "WHERE outcome = 'written' AND is_final "
            "GROUP BY name, run HAVING count(DISTINCT key) > 1"
        )
        return frozenset(row[0] for row in rows if row[0] is not None)

    def measured(self, n: int, pipe: str | None = None) -> list[FileRow]:
        """Return the last files whose growth of a worker is known, oldest first.

        If `pipe` is given (see `pipe_name`), only those of that pipeline.
        """
        return self._last("growth IS NOT NULL", n, pipe)

    def written(self, n: int, pipe: str) -> list[FileRow]:
        """Return the last files of a pipeline that were written, oldest first."""
        return self._last("outcome = 'written'", n, pipe)

    def _last(self, where: str, n: int, pipe: str | None) -> list[FileRow]:
        rows = self._database.execute(
            f"SELECT {_FILE_COLUMNS} FROM files WHERE {where} AND (:pipe IS NULL "
            "OR run IN (SELECT id FROM runs WHERE pipe = :pipe)) ORDER BY id DESC LIMIT :n",
            {"n": n, "pipe": pipe},
        )
        return [FileRow(*row) for row in rows][::-1]

    def samples(self, run: int) -> list[Sample]:
        """Return the samples of a run, oldest first."""
        columns = ", ".join(Sample._fields)
        rows = self._database.execute(
            f"SELECT {columns} FROM samples WHERE run = ? ORDER BY rowid", (run,)
        )
        return [Sample(*row) for row in rows]

    def now(self, run: int, n: int = 1) -> tuple[list[Sample], list[LiveRow]]:
        """Return the last samples of a run, oldest first, and the current files of its workers.

        Both are from the same instant. The first sample of the run precedes the last ones.
        """
        columns = ", ".join(Sample._fields)
        self._database.execute("BEGIN")
        try:
            chosen = f"SELECT {columns} FROM samples WHERE run = ? ORDER BY rowid"
            samples = self._database.execute(f"{chosen} DESC LIMIT ?", (run, n)).fetchall()[::-1]
            first = self._database.execute(f"{chosen} LIMIT 1", (run,)).fetchall()
            columns = ", ".join(LiveRow._fields)
            rows = self._database.execute(f"SELECT {columns} FROM live ORDER BY worker").fetchall()
        finally:
            self._database.execute("COMMIT")
        samples = samples if first == samples[:1] else first + samples
        return [Sample(*row) for row in samples], [LiveRow(*row) for row in rows]

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def opened(path: str) -> JournalReader:
    """Open a journal to read it.

    Raises
    ------
    JournalError
        If the journal does not exist or cannot be read.
    """
    if not os.path.exists(path):
        raise JournalError(f"there is no journal {path!r}")
    if os.path.isdir(path):
        raise JournalError(f"{path!r} is a folder: give the name of a journal")
    with explained(path):
        database = sqlite3.connect(uri(path, "ro"), uri=True, isolation_level=None)
        try:
            check(database, path, is_new_good=False)
            return JournalReader(database)
        except BaseException:
            database.close()
            raise


def uri(path: str, mode: str, vfs: str | None = None) -> str:
    """Return a path as a URI that tells SQLite how to open it."""
    query = f"mode={mode}" + (f"&vfs={vfs}" if vfs else "")
    return f"file:{quote(os.fsencode(os.path.abspath(path)))}?{query}"


def check(database: sqlite3.Connection, path: str, *, is_new_good: bool) -> None:
    """Raise `JournalError` if the file is not a journal that can be used here."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (form,) = database.execute("PRAGMA user_version").fetchone()
    (n_tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if is_new_good and not n_tables and not application:
        return
    if application != APPLICATION_ID:
        raise JournalError(f"{path!r} is not a journal of bigpipe: give another name")
    if form > FORMAT:
        raise JournalError(
            f"the journal {path!r} was written by a newer bigpipe: use that version, or another "
            "journal"
        )


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn errors of SQLite into a `JournalError` with a remedy."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise JournalError(
            f"the journal {path!r} cannot be used ({error}): make sure that the disk is not full "
            "and that the file and its folder are writable, or give another journal"
        ) from error
    except sqlite3.Error as error:
        raise JournalError(
            f"{path!r} is not a journal, or is damaged ({error}): give another journal; if this "
            "is a damaged one, remove it to start over"
        ) from error
