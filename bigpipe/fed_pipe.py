"""A pipeline that sends its data to the caller's process instead of writing a file.

Owns the passage of one input: the hooks of the caller's pipeline read, prepare and process it, and
its data is handed over. `bigpipe.executors.delivery` transports the data; `bigpipe.epoch_run`
decides when and in which order.
"""

from __future__ import annotations

import copy
import mmap
import os
import struct
from contextlib import nullcontext
from typing import Any

from bigpipe import context
from bigpipe.errors import UnsendableError
from bigpipe.executors.delivery import DataSender
from bigpipe.passage import Passage
from bigpipe.sharing.snapshot import anonymous_file
from bigpipe.slices import name_of, parts

__all__ = ["FedPipe", "Here"]

_FIRST = struct.Struct("=Q")


class Here:
    """Data that is already in the caller's process."""

    __slots__ = ("_data",)

    def __init__(self, data: Any) -> None:
        self._data = data

    def open(self) -> Any:
        """Return the data; can be called only once."""
        data, self._data = self._data, None
        return data


class FedPipe:
    """Wraps a pipeline and takes files through its hooks, except those that write.

    Parameters
    ----------
    pipe : BigMultiPipe
        The pipeline.
    fd : int
        File descriptor through which workers send.
    n_wanted : int
        Maximum number of data in transit or in use by the caller.

    Attributes
    ----------
    max_segments : int
        Maximum number of shared-memory segments per worker; set it before workers start.
    """

    def __init__(self, pipe: Any, fd: int, n_wanted: int) -> None:
        self._bmp_of = pipe
        self._n_wanted = n_wanted
        self.max_segments = 2
        self._home = os.getpid()
        page = anonymous_file()
        os.ftruncate(page, _FIRST.size)
        self._page: mmap.mmap | None = mmap.mmap(page, _FIRST.size)
        self._bmp_descriptors: tuple[int, ...] = (fd, page)
        self._sender: DataSender | None = None

    def close(self) -> None:
        """Close the descriptors that this object owns."""
        descriptors, self._bmp_descriptors = self._bmp_descriptors, ()
        for fd in descriptors[1:]:
            os.close(fd)
        self._page = None

    @property
    def first(self) -> int:
        """Number of the first input that is still wanted; earlier ones are dropped."""
        if self._page is None and self._bmp_descriptors:
            self._page = mmap.mmap(self._bmp_descriptors[1], _FIRST.size)
        if self._page is None:
            return 0
        number: int = _FIRST.unpack_from(self._page)[0]
        return number

    @first.setter
    def first(self, number: int) -> None:
        if self._page is not None:
            _FIRST.pack_into(self._page, 0, number)

    def worker_init(self, **kwargs: Any) -> None:
        """Prepare a worker."""
        self._bmp_of.worker_init(**kwargs)

    def worker_exit(self, **kwargs: Any) -> None:
        """End a worker."""
        self._bmp_of.worker_exit(**kwargs)

    def file_process(self, in_name: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Take one input through the hooks; return a token for its data."""
        file = context.current()
        assert file is not None
        assert file.index is not None
        if file.index < self.first:
            return None, {}
        name = name_of(in_name)
        with file.renamed(name) if name is not in_name else nullcontext():
            passage = _FedPassage(self._bmp_of, file, name, kwargs)
            passage.part = parts(in_name)
            if not (passage.read() and passage.prepare() and passage.process()):
                return None, {}
        data, passage.data = passage.data, None
        if file.index < self.first:
            return None, {}
        file.begin("stream")
        return self._handed_over(data), {}

    def _handed_over(self, data: Any) -> Any:
        if os.getpid() == self._home:
            return Here(data)
        if self._sender is None:
            fd = self._bmp_descriptors[0] if self._bmp_descriptors else None
            self._sender = DataSender(fd, self._n_wanted, self.max_segments)
        try:
            return self._sender.send(data)
        except MemoryError:
            raise
        except Exception as error:  # pickling an arbitrary object may raise anything
            raise UnsendableError(
                f"data of type {type(data).__name__} cannot be sent from a worker process "
                f"({type(error).__name__}: {error}); let the last function return arrays, numbers "
                "or text, or use executor='threads'"
            ) from error

    def _bmp_passage(self, file: Any, in_name: Any, kwargs: dict[str, Any]) -> None:
        """Return ``None``: files do not pass the hooks in parts."""

    def __copy__(self) -> FedPipe:
        other = object.__new__(FedPipe)
        other.__dict__.update(self.__dict__, _bmp_of=copy.copy(self._bmp_of))
        return other

    def __getstate__(self) -> dict[str, Any]:
        nowhere = {"_home": 0, "_page": None, "_bmp_descriptors": (), "_sender": None}
        return self.__dict__ | nowhere


class _FedPassage(Passage):
    """The passage of one file whose data is not written."""

    __slots__ = ("part",)

    part: Any

    def read(self) -> bool:
        """Read the file, or a part of it."""
        if self.part is None:
            return super().read()
        self._file.begin("file_read")
        self.data = self._pipe._bmp_read_slice(*self.part, self.kwargs)
        return self.data is not None or self._reject()

    def _aim(self, data: Any) -> None:
        """Find no output name, as nothing is written."""
