"""Pipelines for the tests, and trouble for them to get into.

Everything here is at top level, so that workers of every start method can import it.
Nothing here sleeps: what must wait, waits at a `tests.gate.Gate`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigpipe import BigMultiPipe, FileResult, Outcome


class Doubler(BigMultiPipe):
    """Read bytes, write them twice; get into trouble in the hooks that ``trouble`` names.

    The keyword ``trouble`` is a dict. A key is ``(hook, base name)``, or the hook alone for all
    files; its value is called, as ``value(in_name)``, where that hook begins. Other hooks than
    `file_read` know a file by its first line: `make_files` writes the base name there.
    """

    def file_read(self, in_name, **kwargs):
        get_into_trouble("file_read", os.path.basename(in_name), **kwargs)
        return super().file_read(in_name, **kwargs)

    def pre_process(self, data, **kwargs):
        get_into_trouble("pre_process", base_name(data), **kwargs)
        return super().pre_process(data, **kwargs)

    def data_process(self, data, **kwargs):
        get_into_trouble("data_process", base_name(data), **kwargs)
        return data + data

    def post_process(self, data, **kwargs):
        get_into_trouble("post_process", base_name(data), **kwargs)
        return super().post_process(data, **kwargs)

    def outname_create(self, in_name, data=None, **kwargs):
        get_into_trouble("outname_create", base_name(data), **kwargs)
        return super().outname_create(in_name, data=data, **kwargs)

    def file_write(self, data, outname, **kwargs):
        super().file_write(data, outname, **kwargs)
        half = len(data) // 2
        with open(outname, "wb", buffering=0) as file:
            file.write(data[:half])
            get_into_trouble("file_write", base_name(data), **kwargs)
            file.write(data[half:])
        return outname


class CannotBegin(Doubler):
    """Runs ``begin`` in `worker_init`."""

    def worker_init(self, begin, **kwargs):
        begin("worker_init")


class Writer(BigMultiPipe):
    """Writes into its keywords, and returns what they were before."""

    def file_process(self, in_name, image, notes, **kwargs):
        before = float(image.sum()), list(notes)
        image += 1
        notes.append(in_name)
        return None, {"before": before}


class Shared(list):
    """A list that a run shares: it can be neither pickled nor copied."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("there is one")


def note_size(data, bmp_meta=None, **kwargs):
    """A post function that gives each file metadata: the key ``size``."""
    bmp_meta["size"] = len(data)
    return data


def written(results: Iterable[FileResult]) -> set[int]:
    """Numbers of the files that are written, and whole, by a `Doubler`."""
    return {
        result.index
        for result in results
        if result.outcome is Outcome.WRITTEN
        and Path(result.outname).read_bytes() == Path(result.in_name).read_bytes() * 2
    }


def base_name(data: bytes) -> str:
    return data.partition(b"\n")[0].decode(errors="replace")


def get_into_trouble(
    hook: str, name: str, trouble: Mapping[Any, Any] | None = None, **kwargs: Any
) -> None:
    trouble = trouble or {}
    action = trouble.get((hook, name), trouble.get(hook))
    if action is not None:
        action(name)


# Trouble to get into, each called with a file's base name.


def fail(name: str) -> None:
    raise ValueError(f"{name} is no good")


class UnpicklableError(Exception):
    """Pickles, and cannot be brought back: its class wants two arguments."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)


def fail_unpicklably(name: str) -> None:
    raise UnpicklableError(name, " is no good")


def exit_at_once(name: str) -> None:
    os._exit(3)


def kill_self(name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class FirstTimeOnly:
    """Get into trouble the first time only; ``flag`` is a file that must not exist yet."""

    action: Any
    flag: Path

    def __call__(self, name: str) -> None:
        try:
            self.flag.touch(exist_ok=False)
        except FileExistsError:
            return
        self.action(name)
