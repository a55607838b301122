"""The folder of an output that is written with checkpoints, and of its checkpoint.

Owns the folder, its lock, and that a checkpoint appears whole.
`bigpipe.streaming.chunked.checkpoint` decides what it contains::

    out/                              the folder of the outputs
        .bigpipe-checkpoint/
            <digest of the name>/     locked (flock) while a worker writes there
                a_bmp.npy             the output so far
                <digest>.json         the checkpoint: a digest, and JSON

It is not in the staging folder, which disappears with the worker.
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
    """The folder of one output that is written with checkpoints.

    Parameters
    ----------
    final : str
        The final name of the output. Its folder exists.

    Attributes
    ----------
    partial : str
        Name under which the output is written.
    is_ours : bool
        Whether we hold the lock. If not, as another run holds it or the file system has no locks,
        the folder must not be used.

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
            with suppress(FileNotFoundError):  # removed by another run
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
        """Return the last checkpoint; ``None`` if there is none.

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
        """Replace the checkpoint by another one, atomically."""
        temporary = f"{self._noted}.new"
        with open(temporary, "w", encoding="ascii") as file:
            file.write(f"{_digest(text.encode())}\n{text}")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, self._noted)
        os.fsync(self._fd)

    def empty(self) -> None:
        """Remove its contents, the checkpoint first."""
        with suppress(FileNotFoundError):
            os.unlink(self._noted)
        for name in os.listdir(self.path):
            remove(os.path.join(self.path, name))

    def hand_over(self, outname: str) -> None:
        """Move the complete output to another name, and remove this folder."""
        with suppress(FileNotFoundError):
            os.unlink(self._noted)
        if os.path.isdir(outname):
            remove(outname)
        shutil.move(self.partial, outname)
        self.remove()

    def remove(self) -> None:
        """Remove the folder, and its parent if that is then empty."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._unlock()
        with suppress(OSError):  # not empty
            os.rmdir(self._parent)


def remove_dead_checkpoints(parent: str | os.PathLike[str]) -> tuple[list[str], list[str]]:
    """Remove unfinished outputs and their checkpoints, unless a run is using them.

    Parameters
    ----------
    parent : str or os.PathLike
        A folder called `CHECKPOINT_NAME`.

    Returns
    -------
    tuple of list of str
        The folders that were removed, and those still in use.
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
