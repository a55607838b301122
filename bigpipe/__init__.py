"""Run the body of a ``for`` loop over large files on every core, within memory, losing nothing.

The public names. Each is imported when it is first used, so that ``import bigpipe`` costs
next to nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if os.name != "posix":
    raise ImportError(
        "bigpipe needs Linux or macOS; on Windows, use it in the Windows Subsystem for Linux (WSL)"
    )

if TYPE_CHECKING:
    from bigpipe.argparse_handler import ArgparseHandler, BMPArgparseMixin
    from bigpipe.errors import (
        BigpipeError,
        BigpipeWarning,
        CollisionError,
        FileError,
        FileTimeoutError,
        FormatError,
        InNamesError,
        JournalError,
        MemoryBudgetError,
        OptionError,
        OutnameError,
        PipelineError,
        TooManyErrorsError,
        UnsendableError,
        WorkerError,
    )
    from bigpipe.executors.pool import NestablePool, NoDaemonPool, WorkerWithKwargs
    from bigpipe.feeding import Stream
    from bigpipe.function_pipe import FunctionPipe
    from bigpipe.journal import Journal
    from bigpipe.measure import num_can_process
    from bigpipe.options import assure_list
    from bigpipe.outname import OUTNAME_APPEND, outname_creator
    from bigpipe.pipeline import BigMultiPipe
    from bigpipe.pout import Pout, cached_pout, prune_pout
    from bigpipe.records import (
        FileFinished,
        FileResult,
        MemoryUse,
        Outcome,
        RunFinished,
        RunStarted,
    )
    from bigpipe.steps import bmp_cleanup, for_each_member, multi_logging, multi_proc, no_outfile

__version__ = "0.1.0"

_HOMES = {
    "argparse_handler": ("ArgparseHandler", "BMPArgparseMixin"),
    "errors": (
        "BigpipeError",
        "BigpipeWarning",
        "CollisionError",
        "FileError",
        "FileTimeoutError",
        "FormatError",
        "InNamesError",
        "JournalError",
        "MemoryBudgetError",
        "OptionError",
        "OutnameError",
        "PipelineError",
        "TooManyErrorsError",
        "UnsendableError",
        "WorkerError",
    ),
    "executors.pool": ("NestablePool", "NoDaemonPool", "WorkerWithKwargs"),
    "feeding": ("Stream",),
    "function_pipe": ("FunctionPipe",),
    "journal": ("Journal",),
    "measure": ("num_can_process",),
    "options": ("assure_list",),
    "outname": ("OUTNAME_APPEND", "outname_creator"),
    "pipeline": ("BigMultiPipe",),
    "pout": ("Pout", "cached_pout", "prune_pout"),
    "records": (
        *("FileFinished", "FileResult", "MemoryUse", "Outcome", "RunFinished", "RunStarted"),
    ),
    "steps": ("bmp_cleanup", "for_each_member", "multi_logging", "multi_proc", "no_outfile"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "OUTNAME_APPEND",
    "ArgparseHandler",
    "BMPArgparseMixin",
    "BigMultiPipe",
    "BigpipeError",
    "BigpipeWarning",
    "CollisionError",
    "FileError",
    "FileFinished",
    "FileResult",
    "FileTimeoutError",
    "FormatError",
    "FunctionPipe",
    "InNamesError",
    "Journal",
    "JournalError",
    "MemoryBudgetError",
    "MemoryUse",
    "NestablePool",
    "NoDaemonPool",
    "OptionError",
    "Outcome",
    "OutnameError",
    "PipelineError",
    "Pout",
    "RunFinished",
    "RunStarted",
    "Stream",
    "TooManyErrorsError",
    "UnsendableError",
    "WorkerError",
    "WorkerWithKwargs",
    "__version__",
    "assure_list",
    "bmp_cleanup",
    "cached_pout",
    "for_each_member",
    "multi_logging",
    "multi_proc",
    "no_outfile",
    "num_can_process",
    "outname_creator",
    "prune_pout",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
