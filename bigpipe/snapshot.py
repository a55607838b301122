"""Keywords that are fresh for each file: what a hook does to them, the next file does not see.

Owns how the keywords of a run are kept and given out anew. Which keywords there are is
decided by `bigpipe.pipeline`.

Keywords are pickled once. Large buffers (arrays) are laid beside the pickle in one
anonymous file, which every worker maps copy-on-write for each file: an array of hundreds
of MB is held once by all workers together, and one that a hook writes into is a private
copy of the pages it touched::

    parent:  keywords --pickle 5--> bytes, buffers --> anonymous file
    worker:  bytes + private mapping of the file --unpickle--> keywords, for each file
"""

from __future__ import annotations

import copy
import io
import mmap
import os
import pickle
import tempfile
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from bigpipe.errors import UnsendableError

__all__ = [
    "LocalSnapshot",
    "Snapshot",
    "anonymous_file",
    "find_unsendable",
    "pickled_for_workers",
]

MIN_BUFFER = 64 * 1024  # bytes: smaller arrays are copied faster than they are mapped
ALIGNMENT = 64  # bytes: what numpy's own allocations keep at least

_ATOMS = (type(None), bool, int, float, complex, str, bytes, FunctionType, BuiltinFunctionType)
_BY_IDENTITY = (FunctionType, BuiltinFunctionType, ModuleType, type)


def anonymous_file() -> int:
    """Open a file that has no name and goes with its last descriptor; return the descriptor."""
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
        Descriptor of the anonymous file with the large buffers. Whoever sends the
        snapshot to another process passes this on and sets it there.

    Raises
    ------
    UnsendableError
        If a keyword cannot be pickled; it is named.

    Notes
    -----
    Picklable, without its descriptor.
    """

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self._atoms = {name: value for name, value in kwargs.items() if _is_atom(value)}
        rest = {name: value for name, value in kwargs.items() if name not in self._atoms}
        self.fd = anonymous_file()
        self._spans: list[tuple[int, int]] = []
        self._size = 0
        self._payload = b""
        if rest:
            self._payload = self._dump(rest)

    def _dump(self, rest: dict[str, Any]) -> bytes:
        import cloudpickle

        def keep(buffer: pickle.PickleBuffer) -> bool:
            """Lay a buffer aside; return whether it stays in the pickle instead."""
            view = buffer.raw()
            if view.nbytes < MIN_BUFFER:
                return True
            start = -(-self._size // ALIGNMENT) * ALIGNMENT
            _write_all(self.fd, view, start)
            self._spans.append((start, view.nbytes))
            self._size = start + view.nbytes
            return False

        try:
            payload: bytes = cloudpickle.dumps(rest, protocol=5, buffer_callback=keep)
        except Exception as error:  # any object's own pickling may raise anything
            self.close()
            name, reason = find_unsendable(rest)
            raise UnsendableError(
                f"the keyword {name!r} cannot be sent to a worker process ({reason}); give a name "
                "or a function that makes it, or use executor='threads' or 'serial'"
            ) from error
        return payload

    def fresh(self) -> dict[str, Any]:
        """Return the keywords as they were, none of them shared with an earlier call."""
        kwargs = dict(self._atoms)
        if self._payload:
            kwargs.update(pickle.loads(self._payload, buffers=self._private_buffers()))
        return kwargs

    def _private_buffers(self) -> list[memoryview]:
        if not self._spans:
            return []
        mapped = memoryview(mmap.mmap(self.fd, self._size, access=mmap.ACCESS_COPY))
        return [mapped[start : start + n_bytes] for start, n_bytes in self._spans]

    def close(self) -> None:
        """Give up the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "fd": -1}


def _write_all(fd: int, view: memoryview, start: int) -> None:
    done = 0
    while done < view.nbytes:
        done += os.pwrite(fd, view[done : done + (1 << 30)], start + done)


def _is_atom(value: Any) -> bool:
    return type(value) in _ATOMS or (type(value) is tuple and all(map(_is_atom, value)))


def pickled_for_workers(content: Any, pipe: Any, control: dict[str, Any]) -> bytes:
    """Pickle something that holds a pipeline object and its keywords.

    Raises
    ------
    UnsendableError
        If that cannot be done; the attribute or keyword is named.
    """
    import cloudpickle

    try:
        payload: bytes = cloudpickle.dumps(content)
    except Exception as error:  # any object's own pickling may raise anything
        name, reason = find_unsendable({**control, **vars(pipe)})
        raise UnsendableError(
            f"the pipeline cannot be sent to a worker process: its attribute or keyword {name!r} "
            f"cannot ({reason}); make it in worker_init, or use executor='threads' or 'serial'"
        ) from error
    return payload


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

    Functions, classes and modules are handed on themselves, and so is what can be
    neither pickled nor copied, such as an open connection: in one process it may be
    shared.

    Parameters
    ----------
    kwargs : dict
        The keywords.
    """

    fd = -1

    def __init__(self, kwargs: dict[str, Any]) -> None:
        self._shared = {name: value for name, value in kwargs.items() if _is_atom(value)}
        self._identical: list[Any] = []
        self._parts: list[bytes] = []
        self._copied: dict[str, Any] = {}
        rest = {name: value for name, value in kwargs.items() if name not in self._shared}
        if rest and not self._add(rest):
            for name, value in rest.items():
                if not self._add({name: value}):
                    self._add_copied(name, value)

    def _add(self, part: dict[str, Any]) -> bool:
        file = io.BytesIO()
        pickler = _LocalPickler(file, self._identical)
        try:
            pickler.dump(part)
            _LocalUnpickler(file.getvalue(), self._identical).load()
        except Exception:  # any object's own pickling may raise anything: it is copied instead
            return False
        self._parts.append(file.getvalue())
        return True

    def _add_copied(self, name: str, value: Any) -> None:
        try:
            self._copied[name] = copy.deepcopy(value)
        except Exception:  # cannot be copied at all: shared, as the class says
            self._shared[name] = value

    def fresh(self) -> dict[str, Any]:
        """Return the keywords as they were, none of them shared with an earlier call."""
        kwargs = dict(self._shared)
        for part in self._parts:
            kwargs.update(_LocalUnpickler(part, self._identical).load())
        for name, value in self._copied.items():
            kwargs[name] = copy.deepcopy(value)
        return kwargs

    def close(self) -> None:
        """Nothing to give up."""


class _LocalPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, identical: list[Any]) -> None:
        super().__init__(file, protocol=5)
        self._identical = identical

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, _BY_IDENTITY):
            return None
        self._identical.append(obj)
        return len(self._identical) - 1


class _LocalUnpickler(pickle.Unpickler):
    def __init__(self, data: bytes, identical: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._identical = identical

    def persistent_load(self, pid: int) -> Any:
        return self._identical[pid]
