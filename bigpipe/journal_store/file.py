"""A journal on disk: an SQLite file that one run writes, and anyone may read meanwhile.

Owns the tables, how rows are written in batches, and what happens when they cannot be.
`bigpipe.journal_store.rows` defines the rows; `bigpipe.running.resume` decides which files need not
be run again::

    file ends -> add() -> waiting rows -> flush() -> one transaction, before the caller is told

Readers do not block the writer, nor does the writer block them (write-ahead log). On a network
file system, where locks and shared memory may not work, the writer locks the file exclusively,
and the existence of the lock file alone keeps other writers out.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from bigpipe.errors import JournalError, warn
from bigpipe.journal_store.lock import JournalLock
from bigpipe.journal_store.reader import APPLICATION_ID, FORMAT, check, explained, uri
from bigpipe.journal_store.rows import (
    SAMPLE_COLUMNS,
    WRITTEN,
    WRITTEN_COLUMNS,
    FileRow,
    LiveRow,
    RunRow,
)
from bigpipe.system.filesystems import file_system, is_network

__all__ = ["JournalFile"]

MAX_WAITING = 10_000  # rows kept while the disk is full; those after them are lost
RETRY_S = 5.0  # seconds between attempts to write to a disk that was full; arbitrary
MAX_PART = 0.1  # maximum fraction of the time for writing to a network file system
MAX_BEHIND_S = 0.5  # seconds that rows wait at most to keep to that fraction

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, {", ".join(RunRow._fields)});
CREATE TABLE IF NOT EXISTS files (id INTEGER PRIMARY KEY, {", ".join(FileRow._fields)});
CREATE TABLE IF NOT EXISTS kept (run, place, file, PRIMARY KEY (run, place)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS samples ({", ".join(SAMPLE_COLUMNS)});
CREATE TABLE IF NOT EXISTS live ({", ".join(LiveRow._fields)});
CREATE INDEX IF NOT EXISTS files_by_key ON files (key);
"""


def _insertion(table: str, columns: Sequence[str], **constants: object) -> str:
    """Return a statement that inserts rows of these columns, and the same constants in each."""
    names = ", ".join((*columns, *constants))
    values = ", ".join((*"?" * len(columns), *map(repr, constants.values())))
    return f"INSERT INTO {table} ({names}) VALUES ({values})"


_ADD_RUN = _insertion("runs", RunRow._fields)
_ADD_FILE = _insertion("files", FileRow._fields)
_ADD_KEPT = _insertion("kept", ("run", "place", "file"))
_ADD_SAMPLE = _insertion("samples", SAMPLE_COLUMNS)
_ADD_LIVE = _insertion("live", LiveRow._fields)


class JournalFile:
    """The journal of one run, which is the only one that may write to it.

    Parameters
    ----------
    path : str
        The file; created if it does not exist.

    Raises
    ------
    JournalError
        If another run uses the journal, or it cannot be used: not a journal, damaged, from a
        newer bigpipe, or in a folder that is missing or not writable.

    Notes
    -----
    The file survives a SIGKILL at any instant: a transaction is in it whole or not at all. After
    a crash of the machine the last seconds may be missing, but nothing before them. Those files
    are run again, as are files whose outputs did not reach the disk.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        self._is_shared = is_network(path)
        self._lock = _locked(path, by_name=self._is_shared)
        try:
            if self._is_shared:
                _warn_of_network(path)
            self.database = self._opened()
        except BaseException:
            self._lock.release()
            raise
        self._files: list[tuple[Any, ...]] = []
        self._kept: list[tuple[int, int, int]] = []
        self._samples: list[tuple[Any, ...]] = []
        self._live: list[LiveRow] = []
        self._due_at = 0.0
        self._n_lost = 0
        self._is_failing = False
        self._add_of: dict[int, str] = {}  # statements by the lengths of rows
        self.run = 0

    def begin(self, run: RunRow) -> int:
        """Record a run; return its number."""
        with explained(self.path):
            self.run = self.database.execute(_ADD_RUN, run).lastrowid or 0
        # An insertion takes longer with more values, so constants are left to the statement.
        add_written = _insertion("files", WRITTEN_COLUMNS, run=self.run, **WRITTEN)
        self._add_of = {len(FileRow._fields): _ADD_FILE, len(WRITTEN_COLUMNS): add_written}
        return self.run

    def add(self, row: tuple[Any, ...]) -> None:
        """Record the end of a file, or of an attempt, given as a `FileRow` or a `written_row`."""
        if self._has_room(self._files):
            self._files.append(row)
        else:
            self._n_lost += 1

    def add_kept(self, place: int, file: int) -> None:
        """Record that an input of this run was skipped, because an earlier row has its result."""
        if self._has_room(self._kept):
            self._kept.append((self.run, place, file))

    def _has_room(self, waiting: list[Any]) -> bool:
        if len(waiting) >= MAX_WAITING and (self.until_due == 0.0 or not self._is_failing):
            self._write()
        return len(waiting) < MAX_WAITING

    def sample(self, sample: tuple[Any, ...], live: list[LiveRow]) -> None:
        """Record a sample of the run, and replace the current files of the workers."""
        if len(self._samples) < MAX_WAITING:
            self._samples.append(sample)
        self._live = live

    @property
    def until_due(self) -> float | None:
        """Seconds until waiting rows should be written; ``None`` if there are none."""
        if not self._has_more:
            return None
        return max(0.0, self._due_at - time.monotonic())

    @property
    def _has_more(self) -> bool:
        return bool(self._files or self._kept or self._samples)

    def flush(self) -> None:
        """Write the waiting rows, unless writing is slow here and was done a moment ago.

        Warns
        -----
        BigpipeWarning
            Once, if the rows cannot be written. They are kept and retried.
        """
        if self.until_due == 0.0:
            self._write()

    def _write(self) -> None:
        began_at = time.monotonic()
        try:
            with self.database:  # one transaction
                self.database.execute("BEGIN")
                for length, rows in groupby(self._files, len):  # in their order
                    self.database.executemany(self._add_of[length], rows)
                self.database.executemany(_ADD_KEPT, self._kept)
                if self._samples:
                    self.database.executemany(_ADD_SAMPLE, self._samples)
                    self.database.execute("DELETE FROM live")
                    self.database.executemany(_ADD_LIVE, self._live)
        except sqlite3.Error as error:
            self._due_at = time.monotonic() + RETRY_S
            self._warn_once(error)
            return
        self._files.clear()
        self._kept.clear()
        self._samples.clear()
        self._is_failing = False
        if self._is_shared:
            now = time.monotonic()
            self._due_at = now + min(MAX_BEHIND_S, (now - began_at) / MAX_PART)

    def _warn_once(self, error: sqlite3.Error) -> None:
        if self._is_failing:
            return
        self._is_failing = True
        warn(
            f"the journal {self.path!r} cannot be written ({error}). The run continues, and its "
            f"outputs are not affected; missing entries are retried every {RETRY_S:g} s. Make "
            "room, or the files that are not in the journal will be run again.",
        )

    def close(self, end: str | None) -> None:
        """Write all rows, record how the run ended, and release the journal.

        Parameters
        ----------
        end : str or None
            `RunRow.end`.
        """
        if os.getpid() != self._pid:  # in a forked child: the journal belongs to the parent
            return
        try:
            if self._has_more:
                self._write()
            with suppress(sqlite3.Error):  # the disk is full: the run counts as interrupted
                self.database.execute("DELETE FROM live")
                self.database.execute(
                    "UPDATE runs SET end = ?, ended_at = ? WHERE id = ?",
                    (end, time.time(), self.run),
                )
            self._n_lost += len(self._files)
            if self._n_lost:
                warn(
                    f"{self._n_lost} files are not in the journal {self.path!r}, which could not "
                    "be written; a later run with it will run them again",
                )
            with suppress(sqlite3.Error):  # a reader has it open: leave it in this mode
                # A single file, which can be copied, and read from a read-only folder.
                self.database.execute("PRAGMA busy_timeout = 0")
                self.database.execute("PRAGMA journal_mode = DELETE")
        finally:
            with suppress(sqlite3.Error):
                self.database.close()
            self._lock.release()

    def _opened(self) -> sqlite3.Connection:
        """Open the file, as it is or new."""
        with explained(self.path):
            database = sqlite3.connect(
                uri(self.path, "rwc", "unix-none" if self._is_shared else None),
                uri=True,
                isolation_level=None,
                check_same_thread=False,  # a run may be closed from another thread
            )
            try:
                check(database, self.path, is_new_good=True)
                if self._is_shared:
                    database.execute("PRAGMA locking_mode = EXCLUSIVE")
                    database.execute("PRAGMA journal_mode = TRUNCATE")
                else:
                    database.execute("PRAGMA journal_mode = WAL")
                # What a killed process has written is safe. Only a crash of the machine could
                # lose the last transactions, and would then lose the outputs themselves.
                database.execute("PRAGMA synchronous = NORMAL")
                database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                database.execute(f"PRAGMA user_version = {FORMAT}")
                database.executescript(_SCHEMA)
            except BaseException:
                database.close()
                raise
        return database


def _warn_of_network(path: str) -> None:
    warn(
        f"the journal {path!r} is on a network file system ({file_system(path)}), where locks may "
        "not work: nobody can read it during the run, and writing is slower. Use a local disk if "
        "you can."
    )


def _locked(path: str, *, by_name: bool) -> JournalLock:
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise JournalError(f"journal={path!r} is a folder: give the name of a file in it")
    if not os.path.isdir(folder):
        raise JournalError(f"the folder of journal={path!r} does not exist: make it")
    try:
        return JournalLock(path, by_name=by_name)
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room, or give another" if is_full else "make its folder writable"
        raise JournalError(f"the journal {path!r} cannot be locked ({error}): {remedy}") from error
