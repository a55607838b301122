"""A one-way link between two processes that carries objects, and arrays in shared memory.

Owns both ends of a link: the messages, who may use which memory when, and how much may be in
transit. `bigpipe.sharing.parcels` splits objects; the caller decides which processes to connect,
and why.

::

    Sender                                                            Receiver
      send(obj) -- pickle, spans ---------- socket ----------------->  receive() -> obj
          |        (a new segment's descriptor along with it)            |
          `-- one copy --->  segment: an anonymous file, mapped  <-- views, no copy
                                  ^       by both                        |
                                  `------ given back when the last array of it has gone
      room for more   <--- taken, segments given back -- socket ----  with the next receive()

The ends, by example::

    sending, receiving = open_link()              # two descriptors; pass one to each process
    sender = Sender(sending, max_count=2)         # there, in one process
    sender.send({"data": array})                  # waits while too much is under way
    sender.close()                                # ends the stream: what was sent still arrives
    receiver = Receiver(receiving)                # and in the other
    obj = receiver.receive()                      # waits; EOFError after the last

- The descriptors may be inherited, sent by ``SCM_RIGHTS``, or used in two threads. An end belongs
  to one thread at a time and cannot be used after a fork. No other process should have a copy of a
  descriptor: as long as a copy exists, the other end does not notice that this one is gone.
- Bounded: at most ``max_count`` objects, with at most ``max_bytes`` in arrays, are in transit: sent
  but not yet taken by `Receiver.receive`. A larger object is sent alone. Both may change any time.
- A received array belongs to the receiver, which may keep it and write into it. Its segment returns
  to the sender when no part of it is in use. A receiver that holds more than `segments.MAX_HELD`
  objects gets private copies from then on, so neither shared memory nor descriptors run out, and
  nothing ever waits for an array to be released.
- `Sender.send` waits until it may send and the socket has taken everything; `Sender.may_send` says
  whether it would wait, and `Sender.post` never waits. `Receiver.receive` waits;
  `Receiver.may_receive` says whether it would. To wait for several ends, use `wait_for`, or poll
  each ``fileno()`` with its current ``events()``; then call `may_send` or `may_receive`.
- An exception from a signal handler interrupts every wait, and the link stays intact.
- If the receiver is gone or closed, `send` raises `BrokenPipeError`. If the sender is gone,
  `receive` returns what was sent, then raises `ConnectionResetError`; after `Sender.close`,
  `EOFError`. An object that cannot be unpickled raises `UnsendableError`; the next one follows.
- An object takes each process about 30 us, and one copy of its arrays (two for tiny ones).
"""

from __future__ import annotations

import os
import select
import socket
import struct
from array import array
from collections import deque
from collections.abc import Iterable
from typing import Any

from bigpipe.sharing.parcels import Parcel, unpacked
from bigpipe.sharing.polling import polled
from bigpipe.sharing.segments import BorrowedSegments, OwnSegments, Segment

__all__ = ["Receiver", "Sender", "open_link", "wait_for"]

MAX_INLINE = 16 * 1024  # bytes of words in a message; longer ones go into a segment
AT_ONCE = 256 * 1024  # bytes read at once
UNLIMITED = 1 << 62

_OBJECT, _FORGET, _END = range(3)
_HAS_DESCRIPTOR, _ARE_WORDS_ASIDE = 1, 2

_HEADER = struct.Struct("<BBxxIIQQ")  # kind, flags, bytes of words, segment, its size, bytes used
_WORD = struct.Struct("<I")
_TAKEN = 0xFFFFFFFF  # in place of a segment's number: an object was taken
_NO_SEGMENT = 0xFFFFFFFF

_NOW, _CUT_OFF = int(socket.MSG_DONTWAIT), int(socket.MSG_CTRUNC)  # enumerations are slow
_CLOEXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))  # Linux
_ROOM_FOR_FDS = socket.CMSG_SPACE(array("i").itemsize)  # no message has more than one


def open_link() -> tuple[int, int]:
    """Return descriptors for a `Sender` and a `Receiver`; executed programs do not inherit them."""
    sending, receiving = socket.socketpair()
    return sending.detach(), receiving.detach()


class _End:
    """Base of both ends: a socket and the data received from it."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._incoming = bytearray()
        self._is_gone = False  # the other end

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self._socket.fileno()

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._socket.fileno() < 0

    def _read(self) -> list[int]:
        """Read available data without waiting; return the descriptors that came with it."""
        descriptors: list[int] = []
        while not self._is_gone:
            try:
                # Not `socket.recv_fds`, which forgets the flags that it is given.
                data, ancillary, flags, _ = self._socket.recvmsg(
                    AT_ONCE, _ROOM_FOR_FDS, _NOW | _CLOEXEC
                )
            except BlockingIOError:
                break
            except ConnectionError:
                data, ancillary, flags = b"", [], 0
            self._is_gone = not data
            self._incoming += data
            fds = array("i")
            for _, _, packed in ancillary:
                fds.frombytes(packed[: len(packed) - len(packed) % fds.itemsize])
            descriptors += fds
            if flags & _CUT_OFF:
                raise OSError(
                    "this process cannot open more files, which shared memory needs: raise the "
                    "limit (ulimit -n)"
                )
            if len(data) < AT_ONCE and not fds:
                break
        return descriptors


class Sender(_End):
    """The sending end of a link.

    Parameters
    ----------
    fd : int
        The first descriptor of `open_link`; it belongs to the sender from now on.
    max_count : int, optional
        Maximum number of objects in transit. Default 2.
    max_bytes : int, optional
        Maximum size of arrays in transit in bytes. Default: no limit.

    Attributes
    ----------
    max_count, max_bytes : int
        As given; may be changed.
    n_sent, n_taken : int
        Objects sent so far, and those known to have been taken.
    """

    def __init__(self, fd: int, *, max_count: int = 2, max_bytes: int = UNLIMITED) -> None:
        super().__init__(fd)
        self.max_count = max_count
        self.max_bytes = max_bytes
        self.n_sent = 0
        self.n_taken = 0
        self._under_way: deque[int] = deque()  # bytes of each object
        self._n_bytes = 0
        self._segments = OwnSegments()
        self._outgoing: deque[tuple[memoryview, int | None]] = deque()
        self._is_amid = False
        self._has_finished = False

    @property
    def n_under_way(self) -> int:
        """Number of objects sent and not known to have been taken."""
        return len(self._under_way)

    @property
    def has_unsent(self) -> bool:
        """Whether data waits for room in the socket; a caller that polls must wait for it, too."""
        return bool(self._outgoing)

    def may_send(self) -> bool:
        """Return whether `send` would send, or raise, without waiting for an object to be taken.

        An object too large for ``max_bytes`` beside those in transit may still have to wait.
        """
        self._listen()
        return self._is_gone or self._has_room(0)

    def send(self, obj: Any) -> None:
        """Send an object in its current state; wait until that is allowed.

        Raises
        ------
        BrokenPipeError
            If the receiver is closed or gone.
        UnsendableError
            If it cannot be pickled. Nothing is sent then.
        """
        parcel = Parcel(obj, MAX_INLINE)
        self._listen()
        while not self._is_gone and not self._has_room(parcel.n_bytes):
            wait_for([self])
            self._listen()
        self._enqueue(parcel)
        while self._outgoing:
            wait_for([self])
            self._listen()

    def post(self, obj: Any) -> None:
        """Send an object without waiting, whatever is in transit; check `has_unsent` afterwards."""
        parcel = Parcel(obj, MAX_INLINE)
        self._listen()
        self._enqueue(parcel)

    def events(self) -> int:
        """Return what to wait for at `fileno`, as `select.poll` has it."""
        return select.POLLIN | (select.POLLOUT if self._outgoing else 0)

    def finish(self) -> None:
        """End the stream, without waiting: `close` must follow."""
        if not self._has_finished:
            self._has_finished = True
            header = _HEADER.pack(_END, 0, 0, _NO_SEGMENT, 0, 0)
            self._outgoing.append((memoryview(header), None))
            self._listen()

    def close(self) -> None:
        """End the stream: wait until the last has gone into the socket, then close it."""
        if self.is_closed:
            return
        self.finish()
        while self._outgoing and not self._is_gone:
            wait_for([self])
            self._listen()
        self.abandon()

    def abandon(self) -> None:
        """Close the sender as the death of its process would: the receiver sees that it is gone."""
        self._drop_outgoing()
        self._socket.close()
        self._segments.close()

    def _has_room(self, n_bytes: int) -> bool:
        if not self._under_way:
            return True
        return len(self._under_way) < self.max_count and self._n_bytes + n_bytes <= self.max_bytes

    def _listen(self) -> None:
        """Read which objects were taken and segments returned; send waiting data."""
        if self.is_closed:
            raise ValueError("the sender is closed")
        self._read()
        n_words = len(self._incoming) // _WORD.size
        for (word,) in _WORD.iter_unpack(self._incoming[: n_words * _WORD.size]):
            if word == _TAKEN:
                self._n_bytes -= self._under_way.popleft()
                self.n_taken += 1
            else:
                self._segments.give_back(word)
        del self._incoming[: n_words * _WORD.size]
        self._pump()

    def _enqueue(self, parcel: Parcel) -> None:
        if self._is_gone:
            raise BrokenPipeError("the receiver is gone")
        flags = _ARE_WORDS_ASIDE if parcel.are_words_aside else 0
        number, size, descriptor = _NO_SEGMENT, 0, None
        if parcel.n_bytes:
            segment, descriptor = self._segments.filled(parcel.n_bytes, parcel.lay_out)
            number, size = segment.number, segment.size
            for spare in self._segments.let_go(self.max_count, descriptor is not None):
                self._forget(spare)
            flags |= _HAS_DESCRIPTOR if descriptor is not None else 0
        header = _HEADER.pack(_OBJECT, flags, len(parcel.words), number, size, parcel.n_bytes)
        self._outgoing.append((memoryview(header + parcel.words), descriptor))
        self._under_way.append(parcel.n_bytes)
        self._n_bytes += parcel.n_bytes
        self.n_sent += 1
        self._pump()

    def _forget(self, number: int) -> None:
        header = _HEADER.pack(_FORGET, 0, 0, number, 0, 0)
        self._outgoing.append((memoryview(header), None))

    def _pump(self) -> None:
        """Write as many messages into the socket as it takes."""
        if self._is_amid:
            raise ConnectionAbortedError("a message was broken off")
        while self._outgoing and not self._is_gone:
            message, descriptor = self._outgoing[0]
            self._is_amid = True
            n_sent = self._put(message, descriptor)
            if n_sent:
                self._outgoing.popleft()
                if n_sent < len(message):
                    self._outgoing.appendleft((message[n_sent:], None))
            self._is_amid = False
            if not n_sent:
                break
            if descriptor is not None:
                os.close(descriptor)
        if self._is_gone:
            self._drop_outgoing()

    def _put(self, message: memoryview, descriptor: int | None) -> int:
        try:
            if descriptor is None:
                return self._socket.send(message, _NOW)
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))
            return self._socket.sendmsg([message], [rights], _NOW)
        except BlockingIOError:
            return 0
        except ConnectionError:
            self._is_gone = True
            return 0

    def _drop_outgoing(self) -> None:
        while self._outgoing:
            _, descriptor = self._outgoing.popleft()
            if descriptor is not None:
                os.close(descriptor)


class Receiver(_End):
    """The receiving end of a link.

    Parameters
    ----------
    fd : int
        The second descriptor of `open_link`; it belongs to the receiver from now on.

    Attributes
    ----------
    n_taken : int
        Objects that `receive` has returned.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.n_taken = 0
        self._descriptors: deque[int] = deque()
        self._segments = BorrowedSegments()
        self._unsent = b""
        self._has_ended = False

    def may_receive(self) -> bool:
        """Return whether `receive` would return or raise without waiting."""
        if self._whole_message() is not None:
            return True
        self._collect()
        return self._is_gone or self._whole_message() is not None

    def receive(self) -> Any:
        """Return the next object; wait for it.

        Raises
        ------
        EOFError
            After the last one, if the sender was closed.
        ConnectionResetError
            After the last one, if the sender is gone without having been closed.
        """
        while (end := self._whole_message()) is None:
            self._collect()
            if self._whole_message() is not None:
                continue
            if self._is_gone:
                if self._has_ended:
                    raise EOFError("the stream has ended")
                raise ConnectionResetError("the sender is gone")
            wait_for([self])
        return self._take(end)

    def events(self) -> int:
        """Return what to wait for at `fileno`, as `select.poll` has it."""
        self._reply()
        return select.POLLIN | (select.POLLOUT if self._unsent else 0)

    def close(self) -> None:
        """Stop receiving, and tell the sender. Arrays already received stay valid."""
        self._socket.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())
        self._segments.close()
        self._incoming.clear()

    def _collect(self) -> None:
        if self.is_closed:
            raise ValueError("the receiver is closed")
        self._reply()
        self._descriptors.extend(self._read())

    def _whole_message(self) -> int | None:
        """Return where the first object's message ends, if complete; handle other messages."""
        data = self._incoming
        while len(data) >= _HEADER.size:
            kind, _, n_words, number, _, _ = _HEADER.unpack_from(data)
            if kind == _OBJECT:
                end = int(_HEADER.size + n_words)
                return end if len(data) >= end else None
            if kind == _FORGET:
                self._segments.forget(number)
            else:
                self._has_ended = self._is_gone = True
            del data[: _HEADER.size]
        return None

    def _take(self, end: int) -> Any:
        """Rebuild the first object from its message."""
        data = bytes(self._incoming[:end])
        _, flags, _, number, size, n_bytes = _HEADER.unpack_from(data)
        if flags & _HAS_DESCRIPTOR:
            self._map(number, size)
        memory = self._segments.borrow(number, n_bytes) if n_bytes else None
        del self._incoming[:end]
        self.n_taken += 1
        self._unsent += _WORD.pack(_TAKEN)
        self._reply()
        return unpacked(memoryview(data)[_HEADER.size :], memory, bool(flags & _ARE_WORDS_ASIDE))

    def _map(self, number: int, size: int) -> None:
        if number in self._segments:  # a signal came after it was mapped and before it was used
            return
        self._segments.add(Segment.of(self._descriptors[0], number, size))
        os.close(self._descriptors.popleft())

    def _reply(self) -> None:
        """Send which objects were taken and segments returned, without waiting."""
        given_back = self._segments.given_back
        while given_back:
            self._unsent += _WORD.pack(given_back.popleft())
        if self._unsent and not self._is_gone:
            try:
                n_sent = self._socket.send(self._unsent, _NOW)
                self._unsent = self._unsent[n_sent:]
            except BlockingIOError:
                pass
            except OSError:  # the sender is gone, which shows when everything has been read
                self._unsent = b""
        elif self._is_gone:
            self._unsent = b""


def wait_for(ends: Iterable[Sender | Receiver], timeout: float | None = None) -> bool:
    """Wait until something has happened at one of several ends, or until the timeout.

    Returns
    -------
    bool
        Whether something has happened, which may be irrelevant to the caller: ask the ends.
    """
    poller = select.poll()
    for end in ends:
        poller.register(end, end.events())
    return bool(polled(poller, timeout))
