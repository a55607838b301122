"""Which input may write which output: no two inputs one name, and no output over an input.

Owns the register of names, for the parent and for workers. A file's usual name is granted when
the file is submitted, so most workers never have to ask. If the name depends on the data, the
worker asks, and reads the answer just before it puts the output in place::

    parent                                   worker
    grant(files) -> 'out/a_bmp.fits'  ---->  name as granted, nothing there yet: go ahead
    claim(index, name) -> Answer      <----  any other name: ask, write to staging,
                                      ---->  wait for the answer, put in place

Executors carry questions and answers; `bigpipe.running.questions` delays a question until another
file has ended. Where workers cannot ask, `bigpipe.claims.folder_claims` is used.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from bigpipe.claims.bloom import BloomFilter
from bigpipe.claims.spool import MAX_IN_MEMORY, Spool
from bigpipe.claims.usual_names import UsualNames
from bigpipe.errors import CollisionError, shown
from bigpipe.file_states import flat_names

if TYPE_CHECKING:
    import sqlite3

__all__ = ["NOT_RUN", "Answer", "Claimant", "Claims", "DirectClaimant", "clash"]

NOT_RUN = -1  # in place of an index: the owner is a finished file that is not run again


@dataclass(slots=True)
class Answer:
    """The answer of `Claims.claim` for a name."""

    refusal: str = ""
    """Why the name may not be written; empty if it may."""
    wait_for: int | None = None
    """Index of a file in flight that has the name but may not use it: ask again when that file
    has ended."""


class Claimant:
    """The worker's side: asks for a name, and waits for the answer only when it must.

    Parameters
    ----------
    granted : str or None
        The name that this file may write without asking, if nothing is there yet.
    end_if_over : callable, optional
        Called before an output is put in place; raises if the file or its worker has been ended.
    """

    def __init__(
        self, granted: str | None = None, end_if_over: Callable[[], None] | None = None
    ) -> None:
        self.granted = granted
        self._end_if_over = end_if_over
        self._asked = False

    def ask(self, outname: str, exists: bool) -> None:
        """Ask for a name, unless it is the granted one and nothing exists under it."""
        if self._asked:  # for an output that has been given up since
            self._receive()
        self._asked = exists or outname != self.granted
        if self._asked:
            self._send(outname, exists)

    def confirm(self) -> None:
        """Wait for the answer.

        Raises
        ------
        CollisionError
            If the name belongs to another input, or is that of an input.
        """
        if self._end_if_over is not None:
            self._end_if_over()
        if self._asked:
            self._asked = False
            refusal = self._receive()
            if refusal:
                raise CollisionError(refusal)

    def _send(self, outname: str, exists: bool) -> None:
        """Send the question. Outside a run there is nobody to ask: do nothing."""

    def _receive(self) -> str:
        """Wait for the refusal; empty if the name is free."""
        return ""


class DirectClaimant(Claimant):
    """Asks by a function call, in the process that has the register."""

    def __init__(
        self,
        granted: str | None,
        claim: Callable[[str, bool], str],
        end_if_over: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(granted, end_if_over)
        self._claim = claim
        self._refusal = ""

    def _send(self, outname: str, exists: bool) -> None:
        self._refusal = self._claim(outname, exists)

    def _receive(self) -> str:
        return self._refusal


class Claims:
    """The register of one run, in the parent.

    Parameters
    ----------
    predict : callable or None
        Returns a file's usual output name from its input alone; ``None`` if names cannot be
        predicted.
    inputs : iterable or None
        All inputs if they are in memory anyway; ``None`` for inputs from an iterator, which are
        then recorded as they come.

    Notes
    -----
    Names of files in flight are in memory. Names that have been written go to a temporary file,
    some hundred at a time, so memory stays flat for any number of files. A filter of fixed size
    tells most new names from old ones. Only when it cannot are the names in the file moved to a
    temporary SQLite database and looked up there. If all usual names differ, nothing is
    registered until a worker asks for a name.
    """

    def __init__(
        self, predict: Callable[[Any], str] | None, inputs: Iterable[Any] | None = None
    ) -> None:
        self._predict = predict
        self._inputs = inputs
        self._seen = BloomFilter()
        self._spooled_inputs = Spool()
        # Names with the index and input (as text) of their file: claims that may still be freed,
        # and claims that stay.
        self._in_flight: dict[str, tuple[str, int, str]] = {}
        self._kept = Spool()
        self._freed: set[str] = set()  # some of those that were freed last: nobody has them
        self._granted: dict[int, str] = {}
        self._asked: dict[int, str] = {}
        self._folders: dict[str, str] = {}
        self._usual = UsualNames.of(predict, inputs)  # until a name is asked for
        if self._usual is not None:
            self._key(self._usual.outnames[0])  # notes the folder, as paths lead there now

    @cached_property
    def _database(self) -> sqlite3.Connection:
        """Database of names by key and inputs by id. Most runs never need it."""
        import sqlite3

        database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute(
            "CREATE TABLE claims (key BLOB PRIMARY KEY, owner INTEGER, in_name) WITHOUT ROWID"
        )
        database.execute(
            "CREATE TABLE ids (device, inode, name, PRIMARY KEY (device, inode)) WITHOUT ROWID"
        )
        database.execute("BEGIN")
        return database

    def protect(self, in_name: Any) -> None:
        """Protect an input, or any other file, from being overwritten by an output."""
        self._spooled_inputs.extend(flat_names(in_name))

    def grant(self, files: Sequence[tuple[int, Any]]) -> list[str | None]:
        """Register submitted files; return the names that each may write without asking."""
        if self._inputs is None:
            for _, in_name in files:
                self.protect(in_name)
        if self._predict is None:
            return [None] * len(files)
        if self._usual is not None:
            usual = self._usual.grant(files)
            if usual is not None:
                return usual
            self._register_usual()
        predicted = [self._predicted(in_name) for _, in_name in files]
        seen = iter(self._seen.add([key for _, key in predicted if key is not None]))
        granted: list[str | None] = []
        for (index, in_name), (outname, key) in zip(files, predicted, strict=True):
            if key is not None and self._register(key, index, in_name, next(seen)):
                self._granted[index] = key
                granted.append(outname)
            else:
                granted.append(None)
        return granted

    def _predicted(self, in_name: Any) -> tuple[str | None, str | None]:
        """Return the usual name of an output, and its key in the register."""
        assert self._predict is not None
        try:
            outname = self._predict(in_name)
            return outname, self._key(outname)
        except Exception:  # for example a group: the hook itself will report what is wrong
            return None, None

    def claim(self, index: int, in_name: Any, outname: str, exists: bool) -> Answer:
        """Decide whether a file may write a name."""
        self._register_usual()
        if exists:
            overwritten = self._input_at(outname)
            if overwritten is not None:
                return Answer(
                    f"the output {outname!r} of {shown(in_name)} would overwrite the input "
                    f"{overwritten!r}; give another outdir, outname_append or outname"
                )
        is_link = exists and os.path.islink(outname)
        key = self._key(os.path.realpath(outname) if is_link else outname)
        if self._granted.get(index, key) != key:
            self.withdraw(index)
        if not self._register(key, index, in_name, *self._seen.add((key,))):
            owner, owner_name = self._owner(key) or (index, "")
            if owner != index:
                is_in_flight = owner in self._granted or owner in self._asked
                if is_in_flight and index not in self._asked:  # a file that waits holds no name
                    return Answer(wait_for=owner)
                return Answer(clash(shown(in_name), owner_name, outname))
        before = self._asked.get(index, key)
        if before != key:  # the `file_process` of a subclass writes several outputs
            self._keep(before)
        self._asked[index] = key
        return Answer()

    def keep(self, in_name: Any, outname: Any) -> bool:
        """Register the output of an input that is not run again; return whether that is allowed.

        Several such inputs may have the same output, if ``file_write`` gave them one name.
        """
        if self._inputs is None:
            self.protect(in_name)
        if not isinstance(outname, (str, os.PathLike)):
            return True
        self._register_usual()
        name = os.fsdecode(outname)
        key = self._key(os.path.realpath(name) if os.path.islink(name) else name)
        in_name = _absolute(in_name)
        if not self._register(key, NOT_RUN, in_name, *self._seen.add((key,))):
            owner = self._owner(key)  # if it is the same input, that was given twice
            return owner is not None and owner[0] == NOT_RUN and owner[1] != shown(in_name)
        self._keep(key)
        return True

    def taken(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return all inputs, and all outputs that stay, with their inputs."""
        self._register_usual()
        self._identify_inputs()
        inputs = self._database.execute("SELECT name FROM ids")
        outputs = self._looked_up().execute("SELECT key, in_name FROM claims")
        return (
            [os.fsdecode(name) for (name,) in inputs],
            [(os.fsdecode(key), os.fsdecode(in_name)) for key, in_name in outputs],
        )

    def withdraw(self, index: int) -> None:
        """Free the name of a file that is recalled, or that turns out to have another name."""
        if self._usual is not None:
            self._usual.finish([(index, False)])
            return
        for held in (self._granted, self._asked):
            key = held.pop(index, None)
            if key is not None and self._in_flight.pop(key, None) is not None:
                self._note_freed(key)

    def finish(self, files: Iterable[tuple[int, bool]]) -> None:
        """Record the ends of files: the name stays taken if the file wrote it, else it is freed."""
        if self._usual is not None:
            self._usual.finish(files)
            return
        for index, wrote in files:
            if not wrote:
                self.withdraw(index)
                continue
            if index in self._granted:
                self._keep(self._granted.pop(index))
            if self._asked and (asked := self._asked.pop(index, None)) is not None:
                self._keep(asked)

    def _register_usual(self) -> None:
        """Register the usual names that were granted or written so far."""
        if self._usual is None:
            return
        usual, self._usual = self._usual, None
        for index, in_name, outname, was_written in usual.taken():
            key = self._granted[index] = self._key(outname)
            self._register(key, index, in_name, *self._seen.add((key,)))
            if was_written:
                self.finish([(index, True)])

    def _keep(self, key: str) -> None:
        claim = self._in_flight.pop(key, None)
        if claim is not None:  # otherwise it was claimed twice and is registered already
            self._kept.extend((claim,))

    def _note_freed(self, key: str) -> None:
        if len(self._freed) >= MAX_IN_MEMORY:
            self._freed.clear()
        self._freed.add(key)

    def close(self) -> None:
        """Drop the register."""
        self._kept.close()
        self._spooled_inputs.close()
        if "_database" in vars(self):
            self._database.close()

    def _register(self, key: str, index: int, in_name: Any, was_seen: bool) -> bool:
        """Give a name to a file unless another has it; return whether it was free."""
        if was_seen:
            if key in self._freed:
                self._freed.remove(key)
            elif self._owner(key) is not None:
                return False
        self._in_flight[key] = (key, index, shown(in_name))
        return True

    def _owner(self, key: str) -> tuple[int, str] | None:
        """Return index and input (as text) of the file that has a name, or ``None``."""
        if key in self._in_flight:
            return self._in_flight[key][1:]
        found = (
            self._looked_up()
            .execute("SELECT owner, in_name FROM claims WHERE key = ?", (os.fsencode(key),))
            .fetchone()
        )
        return None if found is None else (found[0], os.fsdecode(found[1]))

    def _looked_up(self) -> sqlite3.Connection:
        """Return the database, with all names that stay so far."""
        self._database.executemany(
            "INSERT INTO claims VALUES (?, ?, ?)",
            (
                (os.fsencode(key), owner, os.fsencode(in_name))
                for key, owner, in_name in self._kept.read_on()
            ),
        )
        return self._database

    def _key(self, outname: str) -> str:
        folder, slash, base = outname.rpartition(os.sep)
        real = self._folders.get(folder)
        if real is None:
            if len(self._folders) > 1000:  # arbitrary: a run with a folder for each output
                self._folders.clear()
            real = self._folders[folder] = os.path.realpath(folder or slash or os.curdir)
        return outname if real == folder else f"{real}{os.sep}{base}"

    def _input_at(self, outname: str) -> str | None:
        """Return the input that a path leads to, by any of its names, or ``None``."""
        try:
            found = os.stat(outname)
        except OSError:
            return None
        self._identify_inputs()
        row = self._database.execute(
            "SELECT name FROM ids WHERE device = ? AND inode = ?", _id_of(found)
        ).fetchone()
        return None if row is None else os.fsdecode(row[0])

    def _identify_inputs(self) -> None:
        """Look up the files of inputs that came since the last call."""
        names: list[str] = []
        if self._inputs is not None:
            names, self._inputs = list(flat_names(list(self._inputs))), []
        for name in chain(names, self._spooled_inputs.read_on()):
            try:
                stat = os.stat(name)
            except (OSError, ValueError):  # not there, or no file name: nothing to protect
                continue
            self._database.execute(
                "INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", (*_id_of(stat), os.fsencode(name))
            )


def _id_of(stat: os.stat_result) -> tuple[str, str]:
    """Return device and inode as text: they may exceed the database's integers."""
    return (str(stat.st_dev), str(stat.st_ino))


def _absolute(in_name: Any) -> Any:
    """Return an input with absolute, normalised names, as in a journal: ``a/../b`` is ``b``."""
    if isinstance(in_name, (str, os.PathLike)):
        return os.path.abspath(os.fsdecode(in_name))
    if isinstance(in_name, (list, tuple)):
        return [_absolute(member) for member in in_name]
    return in_name


def clash(in_name: str, owner: str, outname: str) -> str:
    """Say why an input cannot be written to a name that another one has."""
    if in_name == owner:
        return f"{in_name} is among the inputs twice, but {outname!r} is written once: omit one"
    return (
        f"{in_name} and {owner} would both be written to {outname!r}; "
        "give each a different outname, outdir or outname_append"
    )
