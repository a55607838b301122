"""A night of files, and a pipeline over them that can be told to get into trouble.

Owns the folder of a night and the points that each file passes. At each of them, what a file
beside the inputs says is done: told in that way, a fault changes no keyword of the run. What
can be done is in `tests.faults.deeds`; what must be true afterwards, in
`tests.faults.trial`::

    in worker                                        in parent
    before read, after read,
    in data_process, in post_process,
    mid-write, before commit, [commit],
    after commit  -------------------------------->  before journal, [journal], after journal
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bigpipe import BigMultiPipe, FileFinished, FileResult

RECORD = 4  # bytes; an input holds nothing but whole records
IN_WORKER = (
    "before read",
    "after read",
    "in data_process",
    "in post_process",
    "mid-write",
    "before commit",
    "after commit",
)
IN_PARENT = ("before journal", "after journal")
POINTS = IN_WORKER + IN_PARENT


@dataclass(frozen=True)
class Fault:
    """A fault, and where it happens."""

    deed: Callable[[str], Any]
    """Called with the file's base name; what it returns becomes metadata, at that point."""
    point: str | None = None
    """One of `POINTS`; ``None`` for any."""
    name: str | None = None
    """Base name of a file; ``None`` for any."""
    nth: int | None = None
    """Number of points that all files together must have passed; ``None`` for any number."""
    mark: str | None = None
    """Name of a file that says it has happened, once and for all; ``None``: each time."""

    def is_due(self, point: str, name: str, n_passed: int) -> bool:
        return (
            self.point in (point, None)
            and self.name in (name, None)
            and self.nth in (n_passed, None)
        )


@dataclass(frozen=True)
class Night:
    """A folder with inputs, outputs, a journal, and all that is known of what happened there."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def journal(self) -> Path:
        return self.folder / "journal" / "night.bigpipe"

    def names(self) -> list[str]:
        return sorted(os.fspath(path) for path in (self.folder / "in").iterdir())

    def results(self, names: list[Any] | None = None, **options: Any) -> Iterator[FileResult]:
        """Run the night, or resume it."""
        self.journal.parent.mkdir(exist_ok=True)
        usual = {
            "executor": "processes",
            "num_processes": 2,
            "create_outdir": True,
            "journal": self.journal,
        }
        pipe = Reducer(outdir=self.out, night=self, progress=self.hear, **usual | options)
        for result in pipe.iter_pipeline(self.names() if names is None else names):
            self.passes("after journal", result.in_name)
            yield result

    def hear(self, event: Any) -> None:
        if isinstance(event, FileFinished):
            self.passes("before journal", event.result.in_name)

    def plan(self, *faults: Fault) -> None:
        """Say what is to happen from now on. Nothing, if nothing is given."""
        path = self.folder / "faults.pickle"
        path.unlink(missing_ok=True)
        if faults:
            path.write_bytes(pickle.dumps(faults))

    def passes(self, point: str, in_name: Any) -> Any:
        """Note that a file is at a point; do what is to be done there, and return what it gives."""
        name = os.path.basename(os.fspath(in_name))
        self._append("diary", json.dumps([os.getpid(), point, name]).encode() + b"\n")
        n_passed = self._append("passed", b".")
        given = None
        for fault in self._planned(name):
            if fault.is_due(point, name, n_passed) and self._is_first(fault.mark):
                given = fault.deed(name)
        return given

    def _planned(self, name: str) -> list[Fault]:
        path = self.folder / "faults.pickle"
        try:
            status = path.stat()
        except FileNotFoundError:
            return []
        planned = read_plan(path, (status.st_ino, status.st_mtime_ns))
        return [*planned.get(name, ()), *planned.get(None, ())]

    def _append(self, name: str, text: bytes) -> int:
        """Add to a file, which others add to at the same time; return where that ended."""
        fd = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(fd, text)
            return os.lseek(fd, 0, os.SEEK_CUR)
        finally:
            os.close(fd)

    def _is_first(self, mark: str | None) -> bool:
        if mark is None:
            return True
        try:
            (self.folder / mark).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def diary(self) -> list[tuple[int, str, str]]:
        """Return who has passed which point with which file, in that order."""
        try:
            lines = (self.folder / "diary").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [tuple(json.loads(line)) for line in lines]

    def passed(self, point: str) -> list[str]:
        """Return base names of the files at a point, as often as they came there."""
        return [name for _, where, name in self.diary() if where == point]


@cache
def read_plan(path: Path, version: tuple[int, int]) -> dict[str | None, list[Fault]]:
    """Return faults by the base name of the file that is to have them."""
    planned: dict[str | None, list[Fault]] = {}
    for fault in pickle.loads(path.read_bytes()):
        planned.setdefault(fault.name, []).append(fault)
    return planned


class Reducer(BigMultiPipe):
    """Doubles records and writes them, with a side file; passes each point with each file."""

    def worker_init(self, night, **kwargs):
        night.passes("worker_init", "")

    def file_process(self, in_name, night, **kwargs):
        result = super().file_process(in_name, night=night, **kwargs)
        night.passes("after commit", in_name)
        return result

    def file_read(self, in_name, night, **kwargs):
        night.passes("before read", in_name)
        data = super().file_read(in_name, night=night, **kwargs)
        night.passes("after read", in_name)
        if len(data) % RECORD:
            raise EOFError(f"the last record has {len(data) % RECORD} of {RECORD} bytes")
        return data

    def data_process(self, data, night, in_name, **kwargs):
        night.passes("in data_process", in_name)
        return data + data

    def post_process(self, data, night, in_name, **kwargs):
        data, meta = super().post_process(data, night=night, in_name=in_name, **kwargs)
        meta["size"] = len(data)
        given = night.passes("in post_process", in_name)
        if given is not None:
            meta["given"] = given
        return data, meta

    def file_write(self, data, outname, night, in_name, **kwargs):
        super().file_write(data, outname, night=night, in_name=in_name, **kwargs)
        half = len(data) // 2
        with (
            open(outname, "wb", buffering=0) as file,
            open(os.path.splitext(outname)[0] + ".txt", "w", encoding="utf-8") as side,
        ):
            write(file, data[:half])
            side.write(f"{len(data)} by")
            side.flush()
            night.passes("mid-write", in_name)
            write(file, data[half:])
            side.write("tes\n")
        night.passes("before commit", in_name)
        return outname


def write(file: Any, data: bytes) -> None:
    """Write everything: without a buffer, a disk that gets full takes a part, and says so later."""
    while data:
        data = data[file.write(data) :]
