"""A gate at which processes and threads wait until a test lets them through."""

from __future__ import annotations

import os
import select
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

TIMEOUT = 60.0  # seconds; only a test that fails ever waits so long


@dataclass
class Gate:
    """Where hooks wait until the test lets them through, in any process or thread.

    The test uses it as a context manager, calls `arrived` to learn that a hook waits, and
    `open` to let hooks through. A gate that is never opened is a hook that hangs.
    """

    folder: Path
    _ends: dict[str, int] = field(default_factory=dict)

    def __call__(self, name: str) -> None:
        """Tell the test who is here, then wait. Called in a hook, as trouble."""
        arrivals = os.open(self.folder / "arrivals", os.O_WRONLY)
        os.write(arrivals, f"{os.getpid()} {name}\n".encode())
        os.close(arrivals)
        opening = os.open(self.folder / "opening", os.O_RDONLY)
        os.read(opening, 1)
        os.close(opening)

    def arrived(self) -> tuple[int, str]:
        """Wait until a hook is at the gate; return its process id and the file's base name."""
        pid, _, name = self._line().partition(" ")
        return int(pid), name

    def _line(self) -> str:
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._ends["arrivals"]], [], [], TIMEOUT)
            assert ready, f"nobody came to the gate in {TIMEOUT} s"
            line += os.read(self._ends["arrivals"], 1)
        return line.decode().rstrip("\n")

    def open(self, n: int = 1) -> None:
        """Let hooks through: as many as ``n``, now or when they come."""
        os.write(self._ends["opening"], b"." * n)

    def __enter__(self) -> Gate:
        self.folder.mkdir()
        for end in ("arrivals", "opening"):
            os.mkfifo(self.folder / end)
            # Open at both ends here, so that neither a hook nor the test waits in open().
            self._ends[end] = os.open(self.folder / end, os.O_RDWR)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for end in self._ends.values():
            os.close(end)
        self._ends.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_ends": {}}


@dataclass(frozen=True)
class Opener:
    """Let one through at a gate, from a worker."""

    gate: Gate

    def __call__(self, name: str) -> None:
        with (self.gate.folder / "opening").open("wb", buffering=0) as opening:
            opening.write(b".")
