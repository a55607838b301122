"""The program that `tests.test_interrupt` runs and interrupts.

``python -m tests.interrupted FOLDER HOW [OPTION=VALUE ...]`` runs a pipeline over ``FOLDER/in``.
Its last files, 004 and 005, leave a program behind, are half-written, and wait at ``FOLDER/gate``.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from tests.gate import Gate, Opener
from tests.mischief import Each, LeaveProgram, loop
from tests.pipes import Doubler


class Exiter(Doubler):
    """Notes in a folder that its `worker_exit` has run, by an empty file for each worker."""

    def worker_init(self, init_trouble=None, **kwargs):
        if init_trouble is not None:
            init_trouble("worker_init")

    def worker_exit(self, exits, exit_trouble=None, **kwargs):
        if exit_trouble is not None:
            exit_trouble("worker_exit")
        (exits / f"{os.getpid()}-{threading.get_ident()}").touch()


def main(folder: Path, how: str, *given: str) -> None:
    options: dict[str, Any] = dict(option.split("=") for option in given)
    gate = Gate(folder / "gate")
    # What a thread does can be broken off in Python code only.
    stay = Each((gate, loop)) if options.get("executor") == "threads" else gate
    trouble = {
        ("file_write", name): Each((LeaveProgram(folder / f"program-{name}"), stay))
        for name in ("004.bin", "005.bin")
    }
    pipe = Exiter(2, outdir=folder / "out", create_outdir=True, exits=folder / "exits", **options)
    names = sorted(map(str, (folder / "in").iterdir()))
    if how == "pipeline":
        pipe.pipeline(names, trouble=trouble)
    elif how == "worker_init":
        pipe.pipeline(names, init_trouble=gate)
    elif how == "worker_exit":
        pipe.pipeline(names, exit_trouble=gate)
    elif how == "thread":
        run = threading.Thread(target=pipe.pipeline, args=(names,), kwargs={"trouble": trouble})
        run.daemon = True
        run.start()
        sys.stdin.read()
    elif how == "loop body":
        results = pipe.iter_pipeline(names)
        for _ in results:
            gate("loop body")
    elif how == "stream":
        list(pipe.stream(names, trouble={("data_process", f"00{i}.bin"): stay for i in (4, 5)}))
    elif how == "stream body":
        # The first file waits until the other worker has begun the second.
        both = {("data_process", "000.bin"): gate, ("data_process", "001.bin"): Opener(gate)}
        stream = pipe.stream(names, trouble=both)
        for _ in range(2):
            for data in stream:
                if data.startswith(b"005"):
                    gate("loop body")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
