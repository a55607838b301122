"""An output that is written so that a killed run can continue in its middle.

Owns the contents of a checkpoint, the order of saving, and the check whether it is still valid.
`bigpipe.streaming.chunked.checkpoint_folder` keeps it. Every so often, before a chunk is read:

1. the output so far is synced to disk;
2. the checkpoint before is replaced by a new one: the number of the next chunk, the state of each
   step, the position in the output, the metadata and keywords so far.

A run that is killed between the two continues from the checkpoint before; whatever the output has
beyond that is cut off.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bigpipe.budget import format_bytes
from bigpipe.encoding import encode
from bigpipe.errors import EncodingError, StreamError, UnsafeValueError
from bigpipe.streaming.chunked.checkpoint_folder import CheckpointFolder
from bigpipe.streaming.chunked.flow import Flow
from bigpipe.streaming.writer import ChunkWriter, write_chunks

__all__ = ["Checkpointed", "can_resume"]

FORM = 1  # version of a checkpoint's contents
MARGIN = 2.0  # a checkpoint's chunks may be so many times as long as chunks now; arbitrary
_LIBRARIES = ("numpy", "scipy", "h5py", "zarr", "astropy")

logger = logging.getLogger(__name__)


@dataclass
class Checkpointed:
    """A file whose output is written with checkpoints."""

    flows: list[Flow]
    """Its streams, from front to back."""
    source: Any
    """The `Source` of their chunks, with a reader that `can_resume`."""
    every_s: float
    """Seconds between checkpoints."""
    final: str
    """Final name of the output."""
    identity: dict[str, Any]
    """What must be unchanged for a checkpoint to be valid, by name."""
    chunk_bytes: int
    """Length of chunks, unless it was set otherwise."""
    reread: Callable[[int], Any]
    """Takes this length; returns a reader from the beginning."""
    changes: Callable[[], str | None]
    """Returns what has changed that cannot be saved; ``None`` if nothing has."""
    tell: Callable[[str], None]
    """Called with the reason if no checkpoints can be made."""
    meta: dict[str, Any]
    """Metadata of the file."""
    writing: dict[str, Any]
    """Keywords of the writer."""
    clock: Callable[[], float] = time.monotonic
    _next_at: float = field(default=0.0, init=False)
    _n_chunks: int = field(default=0, init=False)

    def write(self, outname: str) -> None:
        """Write the output."""
        try:
            folder = CheckpointFolder(self.final)
        except OSError as error:  # writing the output will fail too, and report it
            logger.info("no checkpoints for %r: %s", self.final, error)
            write_chunks(outname, self.flows[-1], **self.writing)
            return
        with folder:
            if not folder.is_ours:
                logger.info("no checkpoints for %r: %r is in use", self.final, folder.path)
                write_chunks(outname, self.flows[-1], **self.writing)
                return
            writer = self._resumed(folder)
            if writer is None:
                folder.empty()
                writer = ChunkWriter(folder.partial, **self.writing)
                self._n_chunks = len(self.source.chunks.positions)
            self._next_at = self.clock() + self.every_s
            self.source.at_edge = lambda: self._at_edge(folder, writer)
            with writer:
                for chunk in self.flows[-1]:
                    writer.write(chunk)
            self.source.at_edge = None
            folder.hand_over(outname)

    def _at_edge(self, folder: CheckpointFolder, writer: ChunkWriter) -> None:
        if self.clock() < self._next_at or self.source.n_read >= self._n_chunks:
            return
        changed = self.changes()
        if changed is not None:
            self._give_up(changed)
            return
        try:
            states = [flow.state() for flow in self.flows]
        except StreamError:  # chunks wait in a batch: try again before the next chunk
            return
        noted = {
            **self.identity,
            "form": FORM,
            "libraries": _libraries(),
            "chunk_bytes": self.chunk_bytes,
            "n": self.source.chunks.n,
            "n_read": self.source.n_read,
            "states": states,
            "added": self.source.course.added,
            "meta": self.meta,
            "writer": writer.sync(),
        }
        try:
            text = encode(noted, "checkpoint")
        except UnsafeValueError as error:
            self._give_up(str(error))
            return
        folder.note(text)
        self._next_at = self.clock() + self.every_s

    def _give_up(self, reason: str) -> None:
        self.source.at_edge = None
        self.tell(reason)

    def _resumed(self, folder: CheckpointFolder) -> ChunkWriter | None:
        """Restore everything from the checkpoint; return ``None`` if none is valid."""
        try:
            noted = folder.load()
            if noted is None:
                return None
            self._check(noted)
        except (EncodingError, KeyError, TypeError, ValueError) as error:
            self._log_not_used(error)
            return None
        reader = self.reread(noted["chunk_bytes"])  # if this fails, the checkpoint stays
        if reader.n != noted["n"] or noted["n_read"] >= len(reader.positions):
            self._log_not_used("its chunks have a different length")
            return None
        try:
            writer = ChunkWriter.reopen(folder.partial, noted["writer"], **self.writing)
        except Exception as error:  # libraries raise anything for a damaged file
            self._log_not_used(error)
            return None
        try:
            self._restore(noted, reader)
        except Exception as error:
            writer.abort()
            folder.remove()
            error.add_note(f"The checkpoint of {self.final!r} was removed: the file starts over.")
            raise
        logger.info("%r resumes at chunk %d", self.final, self.source.n_read)
        return writer

    def _log_not_used(self, reason: object) -> None:
        logger.warning("the checkpoint of %r is not used: %s", self.final, reason)

    def _check(self, noted: dict[str, Any]) -> None:
        """Raise an error that says what has changed."""
        if noted["form"] != FORM:
            raise EncodingError("it is from another version of bigpipe")
        now = {**self.identity, "libraries": _libraries()}
        changed = [name for name, value in now.items() if noted[name] != value]
        if changed:
            raise EncodingError(f"these have changed: {', '.join(changed)}")
        if noted["chunk_bytes"] > MARGIN * self.chunk_bytes:
            raise EncodingError(
                f"its chunks have {format_bytes(noted['chunk_bytes'])}, but memory now allows "
                f"{format_bytes(self.chunk_bytes)}"
            )

    def _restore(self, noted: dict[str, Any], reader: Any) -> None:
        n_read = noted["n_read"]
        for flow in reversed(self.flows):
            flow.rewind()
        self.source.close()
        self.source.take_from(reader.from_position(reader.positions[n_read]), n_read)
        self._n_chunks = len(reader.positions)
        self.chunk_bytes = noted["chunk_bytes"]
        self.meta.clear()
        self.meta.update(noted["meta"])
        self.source.course.add(noted["added"])
        for flow, state in zip(self.flows, noted["states"], strict=True):
            flow.resume(state)


def can_resume(reader: Iterable[Any]) -> bool:
    """Return whether the result of `file_read` can start at any of its chunks."""
    return all(hasattr(reader, name) for name in ("from_position", "positions", "n"))


@cache
def _libraries() -> dict[str, str | None]:
    """Return the versions of the libraries on which the bytes of an output depend."""
    return {name: _version(name) for name in (*_LIBRARIES, "bigpipe")}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
