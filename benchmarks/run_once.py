"""One timed run, in a fresh process, so no contender is affected by an earlier one.

`compare` calls it with a JSON object as the argument; it prints one. The clock runs from before
the workers start until the results have arrived and the workers have ended. Libraries are
imported before. The outputs are checked afterwards: a time counts only if they are right and
complete.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from typing import Any

import cases
import contenders

__all__ = ["main", "timed_run"]


def timed_run(
    contender: str, case: str, in_names: list[str], outdir: str, is_whole: bool, n_workers: int
) -> dict[str, Any]:
    """Run a contender once; return seconds of the clock, and of processors."""
    os.makedirs(outdir)
    run = contenders.CONTENDERS[contender].prepare(n_workers)
    work = contenders.work_of(case, outdir, is_whole)
    parent, children = _cpu_s(resource.RUSAGE_SELF), _cpu_s(resource.RUSAGE_CHILDREN)
    began_at = time.perf_counter()
    run(work, in_names)
    wall_s = time.perf_counter() - began_at
    parent = _cpu_s(resource.RUSAGE_SELF) - parent
    children = _cpu_s(resource.RUSAGE_CHILDREN) - children
    cases.check_outputs(case, in_names, outdir)
    return {"wall_s": wall_s, "parent_cpu_s": parent, "children_cpu_s": children}


def _cpu_s(whose: int) -> float:
    used = resource.getrusage(whose)
    return used.ru_utime + used.ru_stime


def main(text: str) -> int:
    """Run what the text says; print the result."""
    asked = json.loads(text)
    folder = asked.pop("in_folder")
    asked["in_names"] = sorted(os.path.join(folder, name) for name in os.listdir(folder))
    print(json.dumps(timed_run(**asked)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
