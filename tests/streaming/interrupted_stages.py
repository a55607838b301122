"""The program that `tests.streaming.test_stages_ends` runs and interrupts.

``python -m tests.streaming.interrupted_stages FOLDER HOW [EXECUTOR]`` runs stages that pass
elements on for ever, prints the ids of their processes, and then waits: for an element that
never comes, or in the body of the loop.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from bigpipe.sharing.polling import polled
from bigpipe.streaming import Stages, parallel
from tests.streaming import stage_steps as steps


def first_only(n):
    return n if n == 0 else None


def main(folder: Path, how: str, executor: str = "processes") -> None:
    work = [steps.forever, steps.Diary(folder / "diary"), parallel(abs, 2)]
    if how != "body":
        work.append(first_only)
    stages = Stages(work, executor=executor)
    for _ in stages:
        pids = {member.pid or os.getpid() for member in stages._crew.members}
        print(*pids, flush=True)
        if how == "body":
            polled(select.poll(), None)  # not `pause`: it may begin just after the signal


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
