"""The program that starts workers while its threads hold locks.

``python -m tests.faults.busy FOLDER METHOD N`` runs a pipeline so many times. Meanwhile one thread
logs, and another imports a module anew; either holds its lock most of the time. The hooks do so
too.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from bigpipe import BigMultiPipe

MODULE = "slowly_imported"
N_FILES = 4


class Slow(logging.Handler):
    """Takes its time for a record, with its lock held."""

    def emit(self, record: logging.LogRecord) -> None:
        sum(range(20_000))


def log() -> None:
    logging.getLogger(MODULE).warning("busy")


def import_anew() -> None:
    sys.modules.pop(MODULE, None)
    importlib.import_module(MODULE)


class Busy(BigMultiPipe):
    """Logs and imports in a worker, as other threads of its parent do."""

    def file_process(self, in_name, **kwargs):
        log()
        import_anew()
        return None, {"pid": os.getpid()}


class Thread:
    """Does something again and again, until it is told to stop."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._has_begun = threading.Event()
        self._is_over = False
        self._thread = threading.Thread(target=self._repeat)

    def _repeat(self) -> None:
        while not self._is_over:
            self._action()
            self._has_begun.set()

    def __enter__(self) -> Thread:
        self._thread.start()
        self._has_begun.wait()
        return self

    def __exit__(self, *details: object) -> None:
        self._is_over = True
        self._thread.join()


def main(folder: Path, method: str, n_runs: int) -> None:
    (folder / f"{MODULE}.py").write_text("total = sum(range(20_000))\n")
    sys.path.insert(0, str(folder))
    handler = Slow()
    logging.getLogger(MODULE).addHandler(handler)
    logging.getLogger(MODULE).propagate = False
    pipe = Busy(executor="processes", num_processes=2, start_method=method)
    with Thread(log), Thread(import_anew):
        for _ in range(n_runs):
            pout = pipe.pipeline([str(i) for i in range(N_FILES)])
            assert os.getpid() not in {meta["pid"] for _, meta in pout}
            with (folder / "finished").open("a") as finished:
                finished.write(".")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
