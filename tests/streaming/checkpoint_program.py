"""A run with checkpoints in a process of its own, which is killed where it is told to be.

``python -m tests.streaming.checkpoint_program FOLDER``; what is to be done is in a file there.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bigpipe.streaming.chunked.checkpoint_folder import CheckpointFolder
from bigpipe.streaming.writer import ChunkWriter
from tests.streaming.chunk_pipes import EveryNth, Filter, amplified, counted, noted

POINTS = {
    "before write": (ChunkWriter, "write", False),
    "after write": (ChunkWriter, "write", True),
    "before sync": (ChunkWriter, "sync", False),
    "after sync": (ChunkWriter, "sync", True),
    "within note": (os, "replace", False),
    "after note": (CheckpointFolder, "note", True),
    "before hand over": (CheckpointFolder, "hand_over", False),
    "after hand over": (CheckpointFolder, "hand_over", True),
}


@dataclass
class Order:
    """The run that the program is to make."""

    names: list[str]
    options: dict[str, Any] = field(default_factory=dict)
    point: str | None = None
    """Where this process is killed."""
    nth: int = 1
    """At which time that it comes there."""


def kill_at(point: str, nth: int) -> None:
    """Have this process killed at a point."""
    owner, name, is_after = POINTS[point]
    function = getattr(owner, name)
    left = [nth]

    def fatal(*args, **kwargs):
        if owner is os and not str(args[0]).endswith(".json.new"):
            return function(*args, **kwargs)
        left[0] -= 1
        if not left[0] and not is_after:
            os.kill(os.getpid(), signal.SIGKILL)
        returned = function(*args, **kwargs)
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return returned

    setattr(owner, name, fatal)


def run(order: Order) -> Any:
    """Do what is ordered."""
    pipe = Filter(
        pre_process_list=[noted, amplified],
        post_process_list=[EveryNth(3), counted],
        chunk_length=10,
        log="log",
        outdir="out",
        create_outdir=True,
    )
    return pipe.pipeline(order.names, **{"checkpoint": 0, "executor": "serial", **order.options})


def make(name: str, n: int) -> np.ndarray:
    """Make an input whose second channel counts the samples."""
    array = np.random.default_rng(n).normal(size=(n, 3))
    array[:, 1] = np.arange(n)
    np.save(name, array)
    return array


def main(folder: str) -> None:
    os.chdir(folder)
    order = pickle.loads(Path("order.pickle").read_bytes())
    Path("run").write_text(str(os.getpid()))
    if order.point is not None:
        kill_at(order.point, order.nth)
    Path("pout.pickle").write_bytes(pickle.dumps(list(run(order))))


if __name__ == "__main__":
    main(sys.argv[1])
