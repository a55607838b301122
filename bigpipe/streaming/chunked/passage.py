"""One file's way through the hooks of a `ChunkedMultiPipe`.

Owns how the file is cut into chunks, that its streams are always closed, and which of its state
goes into a checkpoint. `bigpipe.passage` owns the order of the hooks.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from bigpipe.context import FileContext, copied
from bigpipe.errors import BigpipeWarning
from bigpipe.file_states import input_states, key_of
from bigpipe.passage import Passage
from bigpipe.streaming.chunked.checkpoint import Checkpointed, can_resume
from bigpipe.streaming.chunked.flow import close, parts_between
from bigpipe.streaming.steps.base import Closing

__all__ = ["CHUNKING", "ChunkedPassage", "Chunking"]

CHUNKING = "_bmp_chunking"  # keyword that carries `Chunking` to a worker; no hook sees it
_NONE = object()  # in place of an attribute that is not there


@dataclass(frozen=True)
class Chunking:
    """How the files of a run are cut into chunks."""

    chunk_bytes: int
    """Most bytes of a chunk, if the keywords do not set its length."""
    run_bytes: int
    """Bytes that all workers of the run may use."""
    batch_size: int | None = None
    """Number of chunks that are processed together."""
    checkpoint_s: float | None = None
    """Seconds between checkpoints; ``None``: no checkpoints."""
    fingerprint: str = ""
    """Fingerprint of keywords and code, if checkpoints are made."""


class ChunkedPassage(Passage):
    """The way of one file, chunk by chunk.

    Parameters
    ----------
    pipe : ChunkedMultiPipe
        The pipeline whose hooks are called.
    file : FileContext
        Record of the file.
    in_name : object
        The input.
    kwargs : dict
        All keywords for this file.

    Attributes
    ----------
    chunking : Chunking
        How it is cut.
    """

    __slots__ = ("_attributes", "_given", "_input", "_is_given", "_streams", "chunking")

    def __init__(self, pipe: Any, file: FileContext, in_name: Any, kwargs: dict[str, Any]) -> None:
        super().__init__(pipe, file, in_name, kwargs)
        self.chunking: Chunking = kwargs.pop(CHUNKING, None) or pipe._bmp_chunking()
        names = ("chunk_length", "chunk_bytes")
        self._is_given = any(kwargs.get(name) is not None for name in names)
        if not self._is_given:
            kwargs["chunk_bytes"] = self.chunking.chunk_bytes
        self._streams: list[Any] = []
        file.passage = self

    def read(self) -> bool:
        """Open the file."""
        self._given = copied(self.in_name), dict(self.kwargs)
        if self.chunking.checkpoint_s is not None:
            self._input = input_states(self.in_name)
        return self._guarded(super().read)

    def prepare(self) -> bool:
        """Run the first chunk through the functions that come before the processing."""
        if not hasattr(self.data, "__iter__") or hasattr(self.data, "__array_interface__"):
            kind = type(self.data).__name__
            raise TypeError(
                f"file_read returned {kind}, which is not a stream of chunks: let it yield chunks, "
                "or return read_chunks(in_name)"
            )
        return self._guarded(super().prepare)

    def process(self) -> bool:
        """Run chunks through the processing until it returns a first one."""
        return self._guarded(super().process)

    def write(self) -> bool:
        """Write the output, which pulls the chunks through all hooks, one by one."""
        try:
            return self._guarded(super().write)
        finally:
            self._close()

    def _guarded(self, part: Callable[[], bool]) -> bool:
        """Do a part; close all streams unless the file continues."""
        with ExitStack() as stack:
            stack.push(Closing(self._close))
            continues = part()
            self.note(self.data)
            if continues:
                stack.pop_all()
        return continues

    def note(self, stream: Any) -> None:
        """Note a stream of the file, so that it is closed at the end."""
        if stream is not None and all(stream is not noted for noted in self._streams):
            self._streams.append(stream)

    def _close(self) -> None:
        with ExitStack() as stack:
            while self._streams:
                stack.push(Closing(partial(close, self._streams.pop(0))))
        self._file.passage = None

    def checkpointed(
        self, stream: Any, meta: dict[str, Any], writing: dict[str, Any]
    ) -> Checkpointed | None:
        """Return the writer with checkpoints; ``None`` if not wanted or not possible."""
        if self.chunking.checkpoint_s is None or not isinstance(self._target, (str, os.PathLike)):
            return None
        found = parts_between(stream)
        if found is None:
            self._tell("a hook has replaced the stream of chunks; let each hook pass it on")
            return None
        flows, source = found
        if not can_resume(source.chunks):
            kind = type(source.chunks).__name__
            self._tell(f"file_read returned {kind}; return read_chunks(...), which can resume")
            return None
        if not all(flow.can_save for flow in flows):  # reported when the run began
            return None
        self._attributes = _attributes_of(self._pipe)  # including those set by the first chunk
        final = os.path.abspath(os.fspath(self._target))
        return Checkpointed(
            flows,
            source,
            self.chunking.checkpoint_s,
            final,
            identity={
                "the input": [key_of(self._given[0]), self._input],
                "the output": final,
                "keywords and code": self.chunking.fingerprint,
            },
            chunk_bytes=self.chunking.chunk_bytes,
            reread=self._reread,
            changes=self._changes,
            tell=self._tell,
            meta=meta,
            writing=writing,
        )

    def _reread(self, chunk_bytes: int) -> Any:
        in_name, kwargs = self._given
        if not self._is_given:
            kwargs = {**kwargs, "chunk_bytes": chunk_bytes}
        return self._pipe.file_read(copied(in_name), **kwargs)

    def _changes(self) -> str | None:
        before, now = self._attributes, _attributes_of(self._pipe)
        names = [
            name
            for name in {**now, **before}
            if before.get(name, _NONE) is not now.get(name, _NONE)
        ]
        if not names:
            return None
        return (
            f"a hook has set the attribute {', '.join(names)} of the pipeline while processing "
            "chunks; keep what you need from chunk to chunk in a step"
        )

    def _tell(self, reason: str) -> None:
        """Warn once per worker."""
        told = vars(self._pipe).setdefault("_bmp_told", set())
        if reason not in told:
            told.add(reason)
            warnings.warn(
                f"checkpoint has no effect, and a file whose run is killed starts over: {reason}",
                BigpipeWarning,
                stacklevel=2,
            )


def _attributes_of(pipe: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(pipe).items() if name[:4] != "_bmp"}
