"""What a file's way through a night can be disturbed by; beside those, see `tests.mischief`.

Everything here is at top level, so that a worker of any start method can be told to do it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.faults.night import Night


@dataclass(frozen=True)
class Send:
    """Send signals, one after the other; to the process that this is done in, last."""

    night: Night
    signals: tuple[tuple[str, int], ...]
    """To whom ('worker', 'parent', or 'group' for the parent as a terminal does it), and which."""
    then_wait: bool = False
    """Stay there until the end comes: the run gets no further than this point."""

    def __call__(self, name: str) -> None:
        parent = int((self.night.folder / "parent").read_text())
        myself = "parent" if os.getpid() == parent else "worker"
        for target, number in sorted(self.signals, key=lambda each: each[0] == myself):
            if target == "group":
                os.killpg(parent, number)
            else:
                pid = parent if target == "parent" else self._worker(parent)
                if pid is not None:
                    os.kill(pid, number)
        while self.then_wait:
            signal.pause()

    def _worker(self, parent: int) -> int | None:
        """Return the worker that this is done in, or one that runs if it is done in the parent."""
        if os.getpid() != parent:
            return os.getpid()
        workers = {pid for pid, point, _ in self.night.diary() if point == "worker_init"}
        for pid in sorted(workers - {parent}):
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                is_ours = os.getsid(pid) == os.getsid(parent)  # else its number is another's now
                if is_ours and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                    return pid
        return None


def kill(night: Night, victims: str, then_wait: bool = False) -> Send:
    """Return the deed of killing 'worker', 'parent' or 'both'."""
    targets = ("parent", "worker") if victims == "both" else (victims,)
    return Send(night, tuple((target, signal.SIGKILL) for target in targets), then_wait)


@dataclass(frozen=True)
class RemoveFolder:
    """Remove a folder with all that is in it."""

    folder: Path

    def __call__(self, name: str) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class RemoveFile:
    """Remove a file."""

    path: Path

    def __call__(self, name: str) -> None:
        self.path.unlink()


@dataclass(frozen=True)
class CutShort:
    """Cut a file to its first bytes."""

    path: Path
    n_bytes: int

    def __call__(self, name: str) -> None:
        os.truncate(self.path, self.n_bytes)


@dataclass(frozen=True)
class StopWithinCommit:
    """Let each output pass one more point: its side file is in place, and it is not.

    Not by a hook: to be called before the run, whose workers must be forked.
    """

    night: Night
    point = "within commit"

    def __call__(self) -> None:
        replace = os.replace

        def pass_and_replace(source: str, destination: str) -> None:
            name = os.path.basename(destination)
            if name.endswith("_bmp.bin"):
                self.night.passes(self.point, name.replace("_bmp", ""))
            replace(source, destination)

        os.replace = pass_and_replace


@dataclass(frozen=True)
class KillWithinDatabase:
    """Let this process be killed while it opens, reads or writes a database.

    Not by a hook: to be called before the run.
    """

    nth: int
    """After so many instructions of SQLite's."""

    def __call__(self) -> None:
        n_left = iter(range(self.nth, 0, -1))
        connect = sqlite3.connect

        def count() -> int:
            if next(n_left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return 0

        def connect_and_count(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            database = connect(*args, **kwargs)
            database.set_progress_handler(count, 1)
            return database

        sqlite3.connect = connect_and_count


# Metadata that makes trouble, each made in the worker.


class Odd:
    """Can be sent from process to process, and has no form that is safe to read from a file."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd)

    def __hash__(self) -> int:
        return 0


@dataclass(frozen=True)
class Give:
    """Return something that is made of arguments there."""

    make: Any
    arguments: tuple[Any, ...] = ()

    def __call__(self, name: str) -> Any:
        return self.make(*self.arguments)
