"""Who writes which output: no two inputs to one name, no output over an input.

Owns the register of names and the two sides' view of it. A file's usual name is granted
when the file is handed out, so that most workers never have to ask; a name that the data
decided is asked for, and the answer read just before the output is put in place::

    parent                                   worker
    grant(index) -> 'out/a_bmp.fits'  ---->  name as granted, nothing there yet: go ahead
    claim(index, name) -> Answer      <----  any other name: ask, write to staging,
                                      ---->  wait for the answer, put in place

Carrying questions and answers is the executors' part; when a question must wait for
another file's end is told to `bigpipe.run`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bigpipe.errors import CollisionError, shown

__all__ = ["Answer", "Claimant", "Claims", "DirectClaimant", "FolderClaims", "flat_names"]

MAX_RECENT = 500  # claims that are written to the database at a time; arbitrary


@dataclass(slots=True)
class Answer:
    """What `Claims.claim` says of a name."""

    refusal: str = ""
    """Why the name may not be written; empty if it may."""
    wait_for: int | None = None
    """Index of a file in flight whose usual name this is: ask again once it has ended."""


class Claimant:
    """The worker's side: asks for a name, and waits for the answer only when it must.

    Parameters
    ----------
    granted : str or None
        The name that this file may write without asking, if nothing is there yet.
    """

    def __init__(self, granted: str | None = None) -> None:
        self.granted = granted
        self._asked = False

    def ask(self, outname: str, exists: bool) -> None:
        """Ask for a name if it is not the granted one or something is there already."""
        if self._asked:  # for an output that was given up since
            self._receive()
        self._asked = exists or outname != self.granted
        if self._asked:
            self._send(outname, exists)

    def confirm(self) -> None:
        """Wait for the answer.

        Raises
        ------
        CollisionError
            If the name belongs to another input, or is one.
        """
        if self._asked:
            self._asked = False
            refusal = self._receive()
            if refusal:
                raise CollisionError(refusal)

    def _send(self, outname: str, exists: bool) -> None:
        """Send the question. Here: nobody to ask, for hooks called outside a run."""

    def _receive(self) -> str:
        """Wait for the refusal; empty if the name is free."""
        return ""


class DirectClaimant(Claimant):
    """Asks by a call, in the process that keeps the register."""

    def __init__(self, granted: str | None, claim: Callable[[str, bool], str]) -> None:
        super().__init__(granted)
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
        Returns a file's usual output name from its input and nothing else; ``None`` if
        names cannot be known beforehand.
    inputs : iterable or None
        All inputs if they are kept anyway; ``None`` for inputs that come one by one,
        which are then noted as they come.

    Notes
    -----
    The register is a temporary SQLite database, which goes to disk as it grows: memory
    stays flat however many files a run has. Names go there some hundred at a time, and a
    Bloom filter [1]_ of fixed size tells most new names from old ones without asking it.

    References
    ----------
    .. [1] B. H. Bloom, "Space/time trade-offs in hash coding with allowable errors",
       Communications of the ACM 13(7), 422-426 (1970).
    """

    def __init__(
        self, predict: Callable[[Any], str] | None, inputs: Iterable[Any] | None = None
    ) -> None:
        import sqlite3

        self._predict = predict
        self._inputs = inputs
        self._n_identified = 0
        self._seen = _BloomFilter()
        self._recent: dict[str, tuple[int, Any]] = {}  # claims not in the database yet
        self._granted: dict[int, str] = {}
        self._asked: dict[int, str] = {}
        self._folders: dict[str, str] = {}
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(
            "CREATE TABLE claims (key BLOB PRIMARY KEY, owner INTEGER, in_name) WITHOUT ROWID"
        )
        self._database.execute("CREATE TABLE inputs (name BLOB)")
        self._database.execute(
            "CREATE TABLE ids (device, inode, name, PRIMARY KEY (device, inode)) WITHOUT ROWID"
        )
        self._database.execute("BEGIN")

    def grant(self, index: int, in_name: Any) -> str | None:
        """Register a file that is handed out; return the name it may write without asking."""
        if self._inputs is None:
            self._note_inputs(in_name)
        if self._predict is None:
            return None
        try:
            outname = self._predict(in_name)
            key = self._key(outname)
        except Exception:  # a group, an odd name: its hook will say what is wrong with it
            return None
        if self._register(key, index, in_name):
            self._granted[index] = key
            return outname
        return None

    def claim(self, index: int, in_name: Any, outname: str, exists: bool) -> Answer:
        """Decide whether a file may write a name."""
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
        if not self._register(key, index, in_name):
            owner, owner_name = self._owner(key) or (index, "")
            if owner != index:
                if owner in self._granted and owner not in self._asked:
                    return Answer(wait_for=owner)
                return Answer(
                    f"{shown(in_name)} and {owner_name} would both be written to {outname!r}; "
                    "give outnames, outdirs or outname_appends that differ"
                )
        self._asked[index] = key
        return Answer()

    def withdraw(self, index: int) -> None:
        """Free what a file holds: it goes back unbegun, or leads to another name."""
        for held in (self._granted.pop(index, None), self._asked.pop(index, None)):
            if held is None:
                continue
            if held in self._recent:
                if self._recent[held][0] == index:
                    del self._recent[held]
            else:
                self._database.execute(
                    "DELETE FROM claims WHERE key = ? AND owner = ?", (os.fsencode(held), index)
                )

    def finish(self, index: int, wrote: bool) -> None:
        """Note a file's end: its name stays taken if it wrote, and is free again if not."""
        if wrote:
            self._granted.pop(index, None)
            self._asked.pop(index, None)
        else:
            self.withdraw(index)

    def close(self) -> None:
        """Drop the register."""
        self._database.close()

    def _register(self, key: str, index: int, in_name: Any) -> bool:
        """Give a name to a file unless another has it; return whether it was free."""
        if self._seen.add(key) and self._owner(key) is not None:
            return False
        self._recent[key] = (index, in_name)
        if len(self._recent) >= MAX_RECENT:
            rows = [
                (os.fsencode(key), index, os.fsencode(shown(in_name)))
                for key, (index, in_name) in self._recent.items()
            ]
            self._database.executemany("INSERT INTO claims VALUES (?, ?, ?)", rows)
            self._recent.clear()
        return True

    def _owner(self, key: str) -> tuple[int, str] | None:
        """Return index and input (as text) of the file that has a name, or ``None``."""
        if key in self._recent:
            index, in_name = self._recent[key]
            return index, shown(in_name)
        found = self._database.execute(
            "SELECT owner, in_name FROM claims WHERE key = ?", (os.fsencode(key),)
        ).fetchone()
        return None if found is None else (found[0], os.fsdecode(found[1]))

    def _key(self, outname: str) -> str:
        folder, slash, base = outname.rpartition(os.sep)
        real = self._folders.get(folder)
        if real is None:
            if len(self._folders) > 1000:  # arbitrary: a run with a folder for each output
                self._folders.clear()
            real = self._folders[folder] = os.path.realpath(folder or slash or os.curdir)
        return f"{real}{os.sep}{base}"

    def _note_inputs(self, in_name: Any) -> None:
        self._database.executemany(
            "INSERT INTO inputs VALUES (?)",
            [(os.fsencode(name),) for name in flat_names(in_name)],
        )

    def _input_at(self, outname: str) -> str | None:
        """Return the input that a path is, by any of its names, or ``None``."""
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
        """Look up what files the inputs are, those that came since the last time."""
        if self._inputs is None:
            rows = self._database.execute(
                "SELECT rowid, name FROM inputs WHERE rowid > ?", (self._n_identified,)
            ).fetchall()
            names = [os.fsdecode(name) for _, name in rows]
            self._n_identified += len(rows)
        else:
            names, self._inputs = list(flat_names(list(self._inputs))), []
        for name in names:
            try:
                stat = os.stat(name)
            except (OSError, ValueError):  # not there, or no file name: nothing to protect
                continue
            self._database.execute(
                "INSERT OR IGNORE INTO ids VALUES (?, ?, ?)", (*_id_of(stat), os.fsencode(name))
            )


class _BloomFilter:
    """Tells of a text whether it may have been added before; says no only if it has not."""

    N_BITS = 1 << 24  # 2 MiB: of a million names, one in a hundred is looked up in vain

    def __init__(self) -> None:
        self._bits = bytearray(self.N_BITS // 8)

    def add(self, text: str) -> bool:
        """Add a text; return whether it may have been there."""
        bits = self._bits
        digest = hash(text)
        was_there = 1
        for part in (digest, digest >> 32):
            place = part & (self.N_BITS - 1)
            was_there &= bits[place >> 3] >> (place & 7)
            bits[place >> 3] |= 1 << (place & 7)
        return bool(was_there)


def _id_of(stat: os.stat_result) -> tuple[str, str]:
    """Return device and inode as text: they may exceed the database's integers."""
    return (str(stat.st_dev), str(stat.st_ino))


def flat_names(in_name: Any) -> Iterator[str]:
    """Yield the file names of an input: its own, or those of a nested group."""
    if isinstance(in_name, (str, os.PathLike)):
        name = os.fspath(in_name)
        if isinstance(name, str):
            yield name
    elif isinstance(in_name, (list, tuple)):
        for member in in_name:
            yield from flat_names(member)


class FolderClaims:
    """A register that any process can write to, as names in a folder.

    For pools whose workers the parent cannot talk to while they run.

    Parameters
    ----------
    folder : str
        An empty folder that all workers can reach.
    inputs : iterable
        The inputs of the run, none of which may be overwritten.

    Notes
    -----
    Making a link fails if its name exists, so that the kernel decides who was first.
    """

    def __init__(self, folder: str, inputs: Iterable[Any] = ()) -> None:
        self.folder = folder
        for name in flat_names(list(inputs)):
            self._take(os.path.realpath(name), f"input\0{name}")

    def claim(self, index: int, in_name: Any, outname: str) -> str:
        """Take a name; return why that cannot be, or nothing."""
        found = self._take(os.path.realpath(outname), f"{index}\0{shown(in_name)}")
        if found is None:
            return ""
        sort, _, owner = found.partition("\0")
        if sort == str(index):
            return ""
        if sort == "input":
            return f"the output {outname!r} of {shown(in_name)} would overwrite the input {owner!r}"
        return f"{shown(in_name)} and {owner} would both be written to {outname!r}"

    def _take(self, path: str, label: str) -> str | None:
        digest = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
        link = os.path.join(self.folder, digest)
        text = os.fsencode(label).hex()  # a link's text takes no NUL and at most 4095 bytes
        try:
            os.symlink(text[:4000], link)
        except FileExistsError:
            return os.fsdecode(bytes.fromhex(os.readlink(link)))
        return None
