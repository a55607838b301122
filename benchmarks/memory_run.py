"""One run of a memory benchmark, in a process of its own, watched by another process.

`memory` calls it with a JSON object as the argument. It prints a JSON object with the memory in
use, what the scheduler did, and how long the run took. A run has figures only if all its outputs
exist and are right.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterable
from functools import partial
from typing import Any

import memory_cases
from tree_pss import watched

from bigpipe import BigpipeWarning, Outcome, Pout, run
from bigpipe.executors.processes import ProcessesExecutor
from bigpipe.scheduler import Scheduler
from bigpipe.scheduling.events import WorkerReady

__all__ = ["main", "measure"]

TREE_INTERVAL = 0.05  # seconds between measurements of a run
ALONE_INTERVAL = 0.01  # the same for a file alone, which may take less than that; arbitrary


class _Told(Scheduler):
    """A scheduler that keeps the memory reported to it, and its instructions."""

    said: list[tuple[float, str, int, Any]] = []  # noqa: RUF012
    reserved: dict[int, int] = {}  # noqa: RUF012

    def add(self, *args: Any, **kwargs: Any) -> list[Any]:
        return self._kept(super().add(*args, **kwargs))

    def handle(self, event: Any, now: float) -> list[Any]:
        if isinstance(event, WorkerReady):
            self.reserved[event.worker] = event.reserved or 0
        return self._kept(super().handle(event, now))

    def _kept(self, instructions: list[Any]) -> list[Any]:
        for each in instructions:
            tasks = getattr(each, "tasks", None) or getattr(each, "task", None)
            words = type(each).__name__, getattr(each, "worker", None), tasks
            self.said.append((time.monotonic(), *words))
        return instructions


class _Numbered(ProcessesExecutor):
    """An executor that keeps the process ids of all workers that there were."""

    def __init__(self) -> None:
        super().__init__()
        self.pids_of_all: dict[int, int] = {}

    def add_worker(self, worker: int) -> None:
        super().add_worker(worker)
        self.pids_of_all[worker] = self.pids()[worker]


def measure(
    case: str, size: str, in_names: list[str], outdir: str, n_workers: int, is_alone: bool
) -> dict[str, Any]:
    """Run a case; return what was seen.

    ``is_alone``: with room for everything, to learn what files take by themselves.
    """
    what = memory_cases.CASES[case]
    inputs = what.sizes[size]
    executor = _Numbered()
    options: dict[str, Any] = {"executor": executor, "num_processes": n_workers}
    if inputs.budget is not None and not is_alone:
        options["mem_available"] = inputs.budget
    if what.given is not None and not is_alone:
        options["process_size"] = partial(memory_cases.given_size, times=what.given)
    pipe = what.pipe(inputs.n_passes, outdir=outdir, create_outdir=True, progress=False)
    with watched(ALONE_INTERVAL if is_alone else TREE_INTERVAL) as peak:
        limit = None if is_alone else what.address_space
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        began_at = time.monotonic()
        pout = pipe.pipeline(in_names, on_error="return", **options)
        wall_s = time.monotonic() - began_at
    _check(pout, in_names, outdir, inputs.n_passes)
    assert pout.memory is not None
    pids = executor.pids_of_all.values()
    return {
        "wall_s": wall_s,
        "budget": pout.memory.budget,
        "peak_seen": pout.memory.peak,
        "waited_s": pout.memory.waited_s,
        "peak_pss": peak.n_bytes,
        "peak_workers": max(_sum_of(pids, used) for _, used in peak.samples),
        "files": [_about_file(result) for result in pout.results],
        "said": [(round(at - began_at, 3), *words) for at, *words in _Told.said],
        "workers": executor.pids_of_all,
        "reserved": _Told.reserved,
        "samples": [(round(at - began_at, 3), used) for at, used in peak.samples],
    }


def _check(pout: Pout, in_names: list[str], outdir: str, n_passes: int) -> None:
    """Stop unless each file has the outcome that it is to have."""
    if pout.errors:
        raise pout.errors[0]
    for result, in_name in zip(pout.results, in_names, strict=True):
        if (result.in_name, result.outcome) != (in_name, Outcome.WRITTEN):
            raise AssertionError(f"{in_name!r} is {result.outcome}, by {result.in_name!r}")
        if not memory_cases.check_output(in_name, str(result.outname), n_passes):
            raise AssertionError(f"{result.outname!r} is not what the work makes of {in_name!r}")
    found = {os.path.join(outdir, name) for name in os.listdir(outdir)}
    if found != {result.outname for result in pout.results}:
        raise AssertionError(f"{outdir!r} has not just the outputs: {sorted(found)}")


def _sum_of(groups: Iterable[int], used: dict[int, int]) -> int:
    return sum(used.get(group, 0) for group in groups)


def _about_file(result: Any) -> dict[str, Any]:
    return {
        "kind": memory_cases.kind_of(result.in_name),
        "seconds": sum(result.seconds.values()),
        "attempts": result.attempts,
        "projected": result.projected,
        "peak_rss": result.peak_rss,
    }


def main(text: str) -> int:
    """Measure what the text says; print the result."""
    run.Scheduler = _Told  # type: ignore[misc]
    warnings.simplefilter("ignore", BigpipeWarning)  # that sizes were too small is known here
    print(json.dumps(measure(**json.loads(text))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
