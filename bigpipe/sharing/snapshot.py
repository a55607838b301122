"""Keywords that are fresh for each file: a hook's changes to them do not reach the next file.

Owns how the keywords of a run are stored and copied for each file. `bigpipe.pipeline` decides
which keywords there are.

Keywords are pickled once. Large buffers (arrays) stay out of the pickle; `bigpipe.sharing.buffers`
decides in which memory they are for one file, and restores it for the next::

    forked worker:  bytes + the parent's own memory ---unpickle---> keywords, for each file
    other worker:   bytes + private mapping of an anonymous file ---unpickle---> the same

So all workers together hold an array once. Forked workers use the caller's own memory; for
others the file is a second copy.
"""

from __future__ import annotations

import copy
import io
import itertools
import mmap
import os
import pickle
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from bigpipe.errors import UnsendableError
from bigpipe.interrupts import Heard
from bigpipe.sharing.arrays import pickler_class, reduced
from bigpipe.sharing.buffers import (
    BuffersLost,
    InheritedBuffers,
    MappedBuffers,
    map_privately,
    write_all,
)
from bigpipe.sharing.pages import address_of

__all__ = [
    "Beside",
    "LocalCopies",
    "LocalSnapshot",
    "Snapshot",
    "anonymous_file",
    "find_unsendable",
    "pickled_for_workers",
    "size_besides_arrays",
    "unpickled_beside",
]

TakeAside = Callable[[pickle.PickleBuffer], bool]
"""Takes a buffer out of a pickle; returns whether it stays in instead."""

Beside = tuple[bytes, list[tuple[int, int]]]
"""A pickle, and the start and size in bytes of its large buffers in the snapshot's file."""

MIN_BUFFER = 64 * 1024  # bytes: smaller arrays are copied faster than they are mapped
MIN_MAPPED = 1 << 20  # bytes: the same where no other process needs them; arbitrary

_ATOMS = (type(None), bool, int, float, complex, str, bytes, FunctionType, BuiltinFunctionType)
_BY_IDENTITY = (FunctionType, BuiltinFunctionType, ModuleType, type)
_OWNER = -1  # in place of an index among the objects that all copies share


def anonymous_file() -> int:
    """Open a file without a name, removed with its last descriptor; return the descriptor."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("bigpipe", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


class Snapshot:
    """Keywords on their way to other processes.

    Parameters
    ----------
    kwargs : dict
        The keywords.

    Attributes
    ----------
    fd : int
        Descriptor of the anonymous file with the large buffers. Code that sends the snapshot to
        another process passes the descriptor, too, and sets it there.
    buffers : list of memoryview
        The large buffers themselves, here and in processes forked from this one.
    spans : list of (int, int)
        Start and size in bytes of each large buffer in the file.

    Raises
    ------
    UnsendableError
        If a keyword cannot be pickled; the message names it.

    Notes
    -----
    `fill` or `inherit` must follow before it is used or sent. Can be pickled when filled, without
    its descriptor.
    """

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self._atoms = {name: value for name, value in kwargs.items() if _is_atom(value)}
        rest = {name: value for name, value in kwargs.items() if name not in self._atoms}
        self.fd = anonymous_file()
        self.buffers: list[memoryview] = []
        self._payload = b""
        if rest:
            self._payload = self._dump(rest)
        self.spans, self._end = _laid_out(self.buffers)
        self._memory: InheritedBuffers | MappedBuffers | None = None

    def _dump(self, rest: dict[str, Any]) -> bytes:
        file = io.BytesIO()
        try:
            with Heard():  # it may take long, and may be interrupted
                pickler_class()(file, protocol=5, buffer_callback=_aside(self.buffers)).dump(rest)
        except Exception as error:  # any object's own pickling may raise anything
            self.close()
            name, reason = find_unsendable(rest)
            raise UnsendableError(
                f"the keyword {name!r} cannot be sent to a worker process ({reason}); give a file "
                "name or a function that makes it, or use executor='threads' or 'serial'"
            ) from error
        except BaseException:  # interrupted
            self.close()
            raise
        return file.getvalue()

    def fill(self) -> None:
        """Copy the large buffers into the file, for processes that are not forked from here."""
        for buffer, (start, _) in zip(self.buffers, self.spans, strict=True):
            write_all(self.fd, buffer, start)
        self.use_file()

    def use_file(self) -> None:
        """Make the keywords from the contents of the file from now on."""
        self._memory = MappedBuffers(self.spans) if self.spans else None

    def inherit(self, memory: InheritedBuffers) -> None:
        """Let processes forked from this one use the memory that they inherit."""
        self._memory = memory

    def pickled_beside(self, content: Any, pipe: Any, control: dict[str, Any]) -> Beside:
        """Pickle an object with its large buffers in the file, which must be filled.

        A pipeline object holds the keywords of its constructor. Buffers that these share with
        other keywords are in the file only once.
        """
        buffers: list[memoryview] = []
        payload = pickled_for_workers(content, pipe, control, _aside(buffers))
        places = {
            _place(buffer): span for buffer, span in zip(self.buffers, self.spans, strict=True)
        }
        spans = []
        for buffer in buffers:
            span = places.get(_place(buffer))
            if span is None:
                span = places[_place(buffer)] = (self._end, buffer.nbytes)
                write_all(self.fd, buffer, self._end)
                self._end = _next_page(self._end + buffer.nbytes)
            spans.append(span)
        return payload, spans

    def fresh(self) -> dict[str, Any]:
        """Return the keywords as they were, none of them shared with an earlier call."""
        kwargs = dict(self._atoms)
        if self._payload:
            buffers = self._memory.fresh(self.fd) if self._memory is not None else ()
            kwargs.update(pickle.loads(self._payload, buffers=buffers))
        return kwargs

    def close(self) -> None:
        """Close the descriptor and release the caller's buffers."""
        self.buffers = []
        self._memory = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __getstate__(self) -> dict[str, Any]:
        memory = MappedBuffers(self.spans) if self.spans else None
        return {**self.__dict__, "fd": -1, "buffers": [], "_memory": memory}


def _aside(buffers: list[memoryview], at_least: int = MIN_BUFFER) -> TakeAside:
    """Return a ``buffer_callback`` that moves large buffers from the pickle into a list."""

    def take(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < at_least:
            return True  # it stays in the pickle
        buffers.append(view)
        return False

    return take


def unpickled_beside(beside: Beside, fd: int) -> Any:
    """Unpickle from `Snapshot.pickled_beside`; writes to the object stay in this process."""
    payload, spans = beside
    return pickle.loads(payload, buffers=map_privately(fd, spans)[1] if spans else ())


def _laid_out(buffers: list[memoryview]) -> tuple[list[tuple[int, int]], int]:
    """Assign each buffer its own pages in a file; return the spans and the end."""
    spans, end = [], 0
    for buffer in buffers:
        spans.append((end, buffer.nbytes))
        end = _next_page(end + buffer.nbytes)
    return spans, end


def _next_page(position: int) -> int:
    return -(-position // mmap.PAGESIZE) * mmap.PAGESIZE


def _place(buffer: memoryview) -> tuple[int, int]:
    """Return a key that is equal for two buffers with the same memory."""
    where = address_of(buffer) if "numpy" in sys.modules else id(buffer.obj)
    return where, buffer.nbytes


def _is_atom(value: Any) -> bool:
    return type(value) in _ATOMS or (type(value) is tuple and all(map(_is_atom, value)))


def pickled_for_workers(
    content: Any,
    pipe: Any,
    control: dict[str, Any],
    aside: TakeAside | None = None,
) -> bytes:
    """Pickle an object that holds a pipeline object and its keywords.

    Parameters
    ----------
    content : object
        The object to pickle.
    pipe, control
        The pipeline object and the keywords.
    aside : callable, optional
        Takes large buffers out of the pickle, as pickle's ``buffer_callback``.

    Raises
    ------
    UnsendableError
        If that is impossible; the message names the attribute or keyword.
    """
    file = io.BytesIO()
    try:
        pickler_class()(file, protocol=5, buffer_callback=aside).dump(content)
    except Exception as error:  # any object's own pickling may raise anything
        name, reason = find_unsendable({**control, **vars(getattr(pipe, "_bmp_of", pipe))})
        raise UnsendableError(
            f"the pipeline cannot be sent to a worker process because of its attribute or keyword "
            f"{name!r} ({reason}); make it in worker_init, or use executor='threads' or 'serial'"
        ) from error
    return file.getvalue()


def size_besides_arrays(value: Any) -> int:
    """Return the bytes of a pickled keyword without large arrays, 0 if it cannot be pickled."""
    file = io.BytesIO()
    try:
        pickler_class()(file, protocol=5, buffer_callback=_aside([])).dump(value)
    except Exception:  # any object's own pickling may raise anything
        return 0
    return len(file.getvalue())


def find_unsendable(objects: dict[str, Any]) -> tuple[str, str]:
    """Return the name of the first object that cannot be pickled, and why."""
    import cloudpickle

    for name, value in objects.items():
        try:
            cloudpickle.dumps(value)
        except Exception as error:  # any object's own pickling may raise anything
            return name, f"{type(error).__name__}: {error}"
    return ", ".join(objects), "together only"


class LocalSnapshot:
    """Keywords for hooks that run in this process.

    Functions, classes and modules are shared between files, and so are objects that can be
    neither pickled nor copied, such as an open connection.

    Parameters
    ----------
    kwargs : dict
        The keywords.
    owner : object, optional
        The object that they belong to, if they are attributes: `fresh` replaces references to it
        by references to another object.
    """

    def __init__(self, kwargs: dict[str, Any], owner: Any = None) -> None:
        self._owner = owner
        self._shared = {name: value for name, value in kwargs.items() if _is_atom(value)}
        self._identical: list[Any] = []
        self._parts: list[tuple[bytes, int]] = []
        self._copied: dict[str, Any] = {}
        self._buffers: list[memoryview] = []
        rest = {name: value for name, value in kwargs.items() if name not in self._shared}
        if rest and not self._add(rest):
            for name, value in rest.items():
                if not self._add({name: value}):
                    self._add_copied(name, value)
        self._keep_buffers()

    def _add(self, part: dict[str, Any]) -> bool:
        file = io.BytesIO()
        buffers: list[memoryview] = []
        pickler = _LocalPickler(file, self._identical, _aside(buffers, MIN_MAPPED), self._owner)
        try:
            pickler.dump(part)
            _LocalUnpickler(file.getvalue(), self._identical, buffers, self._owner).load()
        except Exception:  # pickling an object may raise anything: it is copied instead
            return False
        self._parts.append((file.getvalue(), len(buffers)))
        self._buffers += buffers
        return True

    def _add_copied(self, name: str, value: Any) -> None:
        try:
            self._copied[name] = self._deep_copy(value, self._owner)
        except Exception:  # cannot be copied at all: shared, as the class says
            self._shared[name] = value

    def _deep_copy(self, value: Any, owner: Any) -> Any:
        return copy.deepcopy(value, {} if owner is None else {id(self._owner): owner})

    def _keep_buffers(self) -> None:
        """Copy the large buffers into a file that lives as long as this object."""
        self._spans, _ = _laid_out(self._buffers)
        self._of_thread = threading.local()
        if self._buffers:
            self._fd = anonymous_file()
            self._closing = weakref.finalize(self, os.close, self._fd)
            for buffer, (start, _) in zip(self._buffers, self._spans, strict=True):
                write_all(self._fd, buffer, start)
        self._buffers = []

    def close(self) -> None:
        """Release the memory of large arrays, except arrays that hooks still hold."""
        self._of_thread = threading.local()
        if self._spans:
            self._closing()

    def _fresh_buffers(self) -> list[memoryview]:
        if not self._spans:
            return []
        if not self._closing.alive:
            raise BuffersLost("the run has ended")
        memory: MappedBuffers | None = getattr(self._of_thread, "memory", None)
        if memory is None:
            memory = self._of_thread.memory = MappedBuffers(self._spans)
        return memory.fresh(self._fd)

    def fresh(self, owner: Any = None) -> dict[str, Any]:
        """Return the keywords as they were, none of them shared with an earlier call."""
        kwargs = dict(self._shared)
        buffers = iter(self._fresh_buffers())
        for part, n_buffers in self._parts:
            own = list(itertools.islice(buffers, n_buffers))
            kwargs.update(_LocalUnpickler(part, self._identical, own, owner).load())
        for name, value in self._copied.items():
            kwargs[name] = self._deep_copy(value, owner)
        return kwargs


class LocalCopies:
    """Copies of a pipeline object for workers that run in this process.

    Parameters
    ----------
    pipe : object
        The object.

    Notes
    -----
    Attributes are treated like the keywords of `LocalSnapshot`, except bigpipe's own attributes.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe
        inner = getattr(pipe, "_bmp_of", pipe)
        theirs = {name: x for name, x in vars(inner).items() if not name.startswith("_bmp_")}
        self._attributes = LocalSnapshot(theirs, inner)

    def make(self) -> Any:
        """Return another copy."""
        pipe = copy.copy(self._pipe)
        inner = getattr(pipe, "_bmp_of", pipe)
        vars(inner).update(self._attributes.fresh(inner))
        return pipe

    def close(self) -> None:
        """Release the memory of large arrays, except arrays that copies still hold."""
        self._attributes.close()


class _LocalPickler(pickle.Pickler):
    def __init__(
        self, file: io.BytesIO, identical: list[Any], aside: TakeAside, owner: Any = None
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=aside)
        self._identical = identical
        self._owner = owner

    def persistent_id(self, obj: Any) -> int | None:
        if obj is self._owner and obj is not None:
            return _OWNER
        if not isinstance(obj, _BY_IDENTITY):
            return None
        self._identical.append(obj)
        return len(self._identical) - 1

    def reducer_override(self, obj: Any) -> Any:
        return reduced(obj)


class _LocalUnpickler(pickle.Unpickler):
    def __init__(
        self, data: bytes, identical: list[Any], buffers: list[memoryview], owner: Any = None
    ) -> None:
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._identical = identical
        self._owner = owner

    def persistent_load(self, pid: int) -> Any:
        return self._owner if pid == _OWNER else self._identical[pid]
