"""A real terminal, and what is to be seen in it."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import termios
import tty
from typing import IO

__all__ = ["Screen"]


class Screen:
    """The other side of a terminal of so many columns.

    Attributes
    ----------
    fd : int
        The terminal.
    ours : int
        Where what was written there can be read.
    """

    def __init__(self, n_columns: int) -> None:
        self.ours, self.fd = os.openpty()
        tty.setraw(self.fd)
        self._streams: list[IO[str]] = []
        self.resize(n_columns)

    def resize(self, n_columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, n_columns, 0, 0))

    def open(self) -> IO[str]:
        """Return a stream to write there."""
        stream = os.fdopen(os.dup(self.fd), "w", encoding="utf-8")
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        os.close(self.fd)
        os.close(self.ours)

    def text(self) -> str:
        """Close the terminal; return what was written until nobody has it open any more."""
        for stream in self._streams:
            stream.close()
        os.close(self.fd)
        read = b""
        while True:
            try:
                data = os.read(self.ours, 65536)
            except OSError:  # on Linux, how a terminal ends
                break
            if not data:
                break
            read += data
        self.fd = os.open(os.devnull, os.O_RDONLY)
        return read.decode()

    def states(self) -> list[str]:
        """Return all that has stood in a line, one after another."""
        return [line for line in re.split(r"[\r\n]+", self.text()) if line.strip()]

    def lines(self) -> list[str]:
        """Return what is to be seen in the end, where later text may stand over earlier."""
        rows = [""]
        at = 0
        for char in self.text():
            if char == "\n":
                rows.append("")
            if char in "\r\n":
                at = 0
                continue
            rows[-1] = rows[-1][:at] + char + rows[-1][at + 1 :]
            at += 1
        return [row.rstrip() for row in rows if row.strip()]
