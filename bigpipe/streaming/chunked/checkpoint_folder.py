"""Where an output is while it is made with checkpoints, and what was noted beside it.

Owns the folder, its lock, and that what is noted appears whole. What is noted is decided in
`bigpipe.streaming.chunked.checkpoint`::

    out/                              the folder of the outputs
        .bigpipe-checkpoint/
            <digest of the name>/     locked (flock) as long as a worker writes there
                a_bmp.npy             the output so far
                <digest>.json         the checkpoint: a digest, and JSON

It is not in the staging folder, which goes with the worker.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Self

from bigpipe.encoding import decode
from bigpipe.errors import EncodingError
from bigpipe.moving import remove, status_of
from bigpipe.staging import MAX_TRIES, remove_if_unlocked

__all__ = ["CHECKPOINT_NAME", "CheckpointFolder", "remove_dead_checkpoints"]

CHECKPOINT_NAME = ".bigpipe-checkpoint"


class CheckpointFolder:
    """The folder of one output that is made with checkpoints.

    Parameters
    ----------
    final : str
        The final name of the output. Its folder exists.

    Attributes
    ----------
    partial : str
        Where the output is written.
    is_ours : bool
        Whether it is locked for us. In use by another, or without locks, it must not be used.

    Raises
    ------
    OSError
        If it cannot be made.
    """

    def __init__(self, final: str) -> None:
        folder, base = os.path.split(os.path.abspath(final))
        self._parent = os.path.join(folder, CHECKPOINT_NAME)
        name = _digest(os.fsencode(base))[:16]
        self.path = os.path.join(self._parent, name)
        self.partial = os.path.join(self.path, base)
        self._noted = os.path.join(self.path, f"{name}.json")
        self._fd = -1
        self.is_ours = self._take()

    def _take(self) -> bool:
        for _ in range(MAX_TRIES):
            with suppress(FileNotFoundError):  # swept away by another run
                os.makedirs(self.path, exist_ok=True)
                self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    self._unlock()
                    return False
                status = status_of(self.path)
                if status is not None and os.path.samestat(status, os.fstat(self._fd)):
                    return True
                self._unlock()
        return False

    def _unlock(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._unlock()

    def load(self) -> Any:
        """Return what was noted last, ``None`` if nothing was.

        Raises
        ------
        EncodingError
            If it is damaged.
        """
        try:
            with open(self._noted, encoding="ascii") as file:
                digest, _, text = file.read().partition("\n")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeError) as error:
            raise EncodingError(f"it cannot be read ({error})") from error
        if digest != _digest(text.encode()):
            raise EncodingError("it is damaged")
        return decode(text)

    def note(self, text: str) -> None:
        """Note a text in place of that before, so that one or the other is there."""
        temporary = f"{self._noted}.new"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(f"{_digest(text.encode())}\n{text}")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._noted)
        os.fsync(self._fd)

    def empty(self) -> None:
        """Remove all that is in it, what was noted first."""
        with suppress(FileNotFoundError):
            os.unlink(self._noted)
        for name in os.listdir(self.path):
            remove(os.path.join(self.path, name))

    def hand_over(self, outname: str) -> None:
        """Move the output, which is whole, to another name, and remove this folder."""
        with suppress(FileNotFoundError):
            os.unlink(self._noted)
        if os.path.isdir(outname):
            remove(outname)
        shutil.move(self.partial, outname)
        self.remove()

    def remove(self) -> None:
        """Remove the folder, and what holds all of them if that is empty then."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()
        with suppress(OSError):  # others are there
            os.rmdir(self._parent)


def remove_dead_checkpoints(parent: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Remove the unfinished outputs, and their checkpoints, that no run is at work on.

    Parameters
    ----------
    parent : str or os.PathLike
        A folder called `CHECKPOINT_NAME`.

    Returns
    -------
    tuple of list of str
        The folders that were removed, and those in use.
    """
    removed: list[str] = []
    left: list[str] = []
    for name in sorted(os.listdir(parent)):
        path = os.path.join(parent, name)
        is_removed = remove_if_unlocked(path)
        if is_removed is not None:
            (removed if is_removed else left).append(path)
    with suppress(OSError):  # not empty
        os.rmdir(parent)
    return removed, left


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
