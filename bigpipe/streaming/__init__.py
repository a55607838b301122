"""Files larger than memory: chunk by chunk, through steps that remember.

This module holds the public names; each is imported when it is first used. They are built on::

    steps/      a step and its life; steps put together, ready-made ones, their state
    reader.py   a file as a stream of chunks
    writer.py   a stream of chunks as a file
    stores/     the formats: arrays in files, read and written by region
    chunked/    pipelines of files larger than memory; checkpoints
    graph/      stages in parallel, in a row or in any graph
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bigpipe.errors import StepError, StoreError, StreamError
    from bigpipe.streaming.chunked.pipeline import ChunkedMultiPipe
    from bigpipe.streaming.graph.figures import Report, StageFigures
    from bigpipe.streaming.graph.graph import Graph
    from bigpipe.streaming.graph.network import GraphError
    from bigpipe.streaming.graph.stage_errors import StageError
    from bigpipe.streaming.graph.stages import Stages, parallel
    from bigpipe.streaming.reader import ChunkReader, read_chunks
    from bigpipe.streaming.steps.base import Step, StopStream, begin, has_ended, outputs_of
    from bigpipe.streaming.steps.combine import compose, side_by_side, tee
    from bigpipe.streaming.steps.filters import count, decimate, fir, iir, running_mean, sosfilt
    from bigpipe.streaming.steps.kinds import as_step, consumer, fresh, step
    from bigpipe.streaming.steps.rechunk import pack, repack, unpack, windows
    from bigpipe.streaming.steps.saving import can_save, restore, state_of
    from bigpipe.streaming.steps.streams import run_steps, zip_streams
    from bigpipe.streaming.stores.base import ArrayStore, open_store, register_store
    from bigpipe.streaming.writer import ChunkWriter, write_chunks

_HOMES = {
    "bigpipe.errors": ("StepError", "StoreError", "StreamError"),
    "bigpipe.streaming.graph.figures": ("Report", "StageFigures"),
    "bigpipe.streaming.graph.graph": ("Graph",),
    "bigpipe.streaming.graph.network": ("GraphError",),
    "bigpipe.streaming.graph.stage_errors": ("StageError",),
    "bigpipe.streaming.graph.stages": ("Stages", "parallel"),
    "bigpipe.streaming.chunked.pipeline": ("ChunkedMultiPipe",),
    "bigpipe.streaming.steps.combine": ("compose", "side_by_side", "tee"),
    "bigpipe.streaming.steps.filters": (
        "count",
        "decimate",
        "fir",
        "iir",
        "running_mean",
        "sosfilt",
    ),
    "bigpipe.streaming.steps.kinds": ("as_step", "consumer", "fresh", "step"),
    "bigpipe.streaming.reader": ("ChunkReader", "read_chunks"),
    "bigpipe.streaming.steps.rechunk": ("pack", "repack", "unpack", "windows"),
    "bigpipe.streaming.steps.saving": ("can_save", "restore", "state_of"),
    "bigpipe.streaming.steps.base": ("Step", "StopStream", "begin", "has_ended", "outputs_of"),
    "bigpipe.streaming.stores.base": ("ArrayStore", "open_store", "register_store"),
    "bigpipe.streaming.steps.streams": ("run_steps", "zip_streams"),
    "bigpipe.streaming.writer": ("ChunkWriter", "write_chunks"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "ArrayStore",
    "ChunkReader",
    "ChunkWriter",
    "ChunkedMultiPipe",
    "Graph",
    "GraphError",
    "Report",
    "StageError",
    "StageFigures",
    "Stages",
    "Step",
    "StepError",
    "StopStream",
    "StoreError",
    "StreamError",
    "as_step",
    "begin",
    "can_save",
    "compose",
    "consumer",
    "count",
    "decimate",
    "fir",
    "fresh",
    "has_ended",
    "iir",
    "open_store",
    "outputs_of",
    "pack",
    "parallel",
    "read_chunks",
    "register_store",
    "repack",
    "restore",
    "run_steps",
    "running_mean",
    "side_by_side",
    "sosfilt",
    "state_of",
    "step",
    "tee",
    "unpack",
    "windows",
    "write_chunks",
    "zip_streams",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
