"""Links between threads of one process, which pass on the objects themselves.

Owns the twins of `bigpipe.sharing.transport`'s ends, with the methods that a part uses. These never
wait; whoever must wait polls the ends. A pair of sockets wakes them up; the objects are in memory
that both ends see.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from typing import Any

__all__ = ["LocalReceiver", "LocalSender", "open_local_link"]

_HINT = b"."
_NOW = int(socket.MSG_DONTWAIT)  # an enumeration is slow


class _Between:
    """State that both ends see. Each field is written by only one of them."""

    def __init__(self) -> None:
        self.objects: deque[Any] = deque()
        self.n_taken = 0
        self.has_ended = False


class _LocalEnd:
    def __init__(self, between: _Between, end: socket.socket) -> None:
        self._between = between
        self._socket = end
        self._is_gone = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def is_closed(self) -> bool:
        return self._socket.fileno() < 0

    @property
    def n_taken(self) -> int:
        """Elements taken so far."""
        return self._between.n_taken

    def events(self) -> int:
        return select.POLLIN

    def _wake_other(self) -> None:
        try:
            self._socket.send(_HINT, _NOW)
        except BlockingIOError:  # enough hints are waiting there
            pass
        except OSError:
            self._is_gone = True

    def _listen(self) -> None:
        """Read all hints, so that the next wait is for something new."""
        if self.is_closed:
            raise ValueError("this end of the link is closed")
        try:
            while self._socket.recv(4096, _NOW):
                pass
            self._is_gone = True
        except BlockingIOError:
            pass
        except OSError:
            self._is_gone = True


class LocalSender(_LocalEnd):
    """As `bigpipe.sharing.transport.Sender`."""

    has_unsent = False

    def __init__(self, between: _Between, end: socket.socket, max_count: int) -> None:
        super().__init__(between, end)
        self.max_count = max_count
        self.n_sent = 0

    @property
    def n_under_way(self) -> int:
        """Elements sent and not yet taken."""
        return self.n_sent - self._between.n_taken

    def may_send(self) -> bool:
        """Return whether there is room for an object, or the receiver is gone."""
        self._listen()
        return self._is_gone or self.n_under_way < self.max_count

    def post(self, obj: Any) -> None:
        """Hand over an object, whether there is room or not."""
        self._listen()
        if self._is_gone:
            raise BrokenPipeError("the receiver is gone")
        self.n_sent += 1
        self._between.objects.append(obj)
        self._wake_other()

    def finish(self) -> None:
        """End the stream; `close` must follow."""
        self._between.has_ended = True

    def close(self) -> None:
        """End the stream, and close this end."""
        self.finish()
        self._socket.close()

    def abandon(self) -> None:
        """Close this end as its death would."""
        self._socket.close()


class LocalReceiver(_LocalEnd):
    """As `bigpipe.sharing.transport.Receiver`."""

    def may_receive(self) -> bool:
        """Return whether `receive` would return, or raise, at once."""
        if not self._between.objects:
            self._listen()
        return self._is_gone or bool(self._between.objects)

    def receive(self) -> Any:
        """Return the next object; only after `may_receive`."""
        if not self._between.objects:
            if self._between.has_ended:
                raise EOFError("the stream has ended")
            raise ConnectionResetError("the sender is gone")
        obj = self._between.objects.popleft()
        self._between.n_taken += 1
        self._wake_other()
        return obj

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
        self._between.objects.clear()


def open_local_link(max_count: int) -> tuple[LocalSender, LocalReceiver]:
    """Make a link; return both ends."""
    between = _Between()
    sending, receiving = socket.socketpair()
    return LocalSender(between, sending, max_count), LocalReceiver(between, receiving)
