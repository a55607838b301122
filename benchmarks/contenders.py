"""The contenders: ways to run the work of a case on many files at once.

Owns how each is called, in the plainest form that its documentation shows, with the number
of workers given. `cases` has the work. A library is imported only if its contender runs.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cases

__all__ = [
    "BIGPIPE",
    "CONTENDERS",
    "PEERS",
    "PREDECESSOR",
    "SERIAL",
    "STAGED",
    "Contender",
    "is_installed",
    "version_of",
    "work_of",
]

CHUNKS_PER_WORKER = 4  # what multiprocessing's map makes by itself


@dataclass(frozen=True)
class Contender:
    """A way to process many files."""

    name: str
    package: str | None
    """What must be installed; ``None``: Python alone."""
    prepare: Callable[[int], Callable[[Callable[[str], str], Sequence[str]], Any]]
    """Import what is needed; return what runs a function on names, with so many workers."""


def _chunk(n_tasks: int, n_workers: int) -> int:
    """Return the chunk size of multiprocessing's map, for those that send one by one."""
    return max(1, math.ceil(n_tasks / (n_workers * CHUNKS_PER_WORKER)))


def _serial(n_workers: int) -> Any:
    return lambda work, names: [work(name) for name in names]


def _pool(n_workers: int) -> Any:
    import multiprocessing

    def run(work: Any, names: Sequence[str]) -> Any:
        with multiprocessing.Pool(n_workers) as pool:
            result = pool.map(work, names)
            pool.close()
            pool.join()
        return result

    return run


def _process_pool_executor(n_workers: int) -> Any:
    from concurrent.futures import ProcessPoolExecutor

    def run(work: Any, names: Sequence[str]) -> Any:
        chunk = _chunk(len(names), n_workers) if len(names) > 1000 else 1
        with ProcessPoolExecutor(n_workers) as executor:
            return list(executor.map(work, names, chunksize=chunk))

    return run


def _staged(n_workers: int) -> Any:
    execute = _process_pool_executor(n_workers)

    def run(work: Any, names: Sequence[str]) -> Any:
        case_name, outdir, _ = work.args
        result = execute(partial(cases.process_file_staged, case_name, outdir), names)
        shutil.rmtree(os.path.join(outdir, cases.STAGING))
        return result

    return run


def _joblib(n_workers: int) -> Any:
    from joblib import Parallel, delayed

    return lambda work, names: Parallel(n_jobs=n_workers)(delayed(work)(name) for name in names)


def _mpire(n_workers: int) -> Any:
    from mpire import WorkerPool

    def run(work: Any, names: Sequence[str]) -> Any:
        with WorkerPool(n_jobs=n_workers) as pool:
            return pool.map(work, names)

    return run


def _pebble(n_workers: int) -> Any:
    from pebble import ProcessPool

    def run(work: Any, names: Sequence[str]) -> Any:
        chunk = _chunk(len(names), n_workers) if len(names) > 1000 else 1
        with ProcessPool(max_workers=n_workers) as pool:
            return list(pool.map(work, names, chunksize=chunk).result())

    return run


def _bigmultipipe(n_workers: int) -> Any:
    from predecessor_pipe import PredecessorPipe

    def run(work: Any, names: Sequence[str]) -> Any:
        case_name, outdir, is_whole = work.args
        pipe = PredecessorPipe(case_name, is_whole=is_whole, outdir=outdir, num_processes=n_workers)
        return pipe.pipeline(list(names))

    return run


def _bigpipe(n_workers: int) -> Any:
    from case_pipe import CasePipe

    import bigpipe.executors.processes  # noqa: F401 (which it imports when a run begins)

    def run(work: Any, names: Sequence[str]) -> Any:
        case_name, outdir, _ = work.args
        pipe = CasePipe(case_name, outdir=outdir, num_processes=n_workers, progress=False)
        return pipe.pipeline(names)

    return run


PEERS = {
    each.name: each
    for each in [
        Contender("multiprocessing.Pool", None, _pool),
        Contender("ProcessPoolExecutor", None, _process_pool_executor),
        Contender("joblib", "joblib", _joblib),
        Contender("mpire", "mpire", _mpire),
        Contender("pebble", "pebble", _pebble),
    ]
}
SERIAL = Contender("serial loop", None, _serial)
BIGPIPE = Contender("bigpipe", "bigpipe", _bigpipe)
STAGED = Contender("its outputs by hand", None, _staged)
PREDECESSOR = Contender("bigmultipipe", "bigmultipipe", _bigmultipipe)
CONTENDERS = {each.name: each for each in (SERIAL, *PEERS.values(), STAGED, PREDECESSOR, BIGPIPE)}


def is_installed(contender: Contender) -> bool:
    """Whether a contender can run here."""
    return contender.package is None or importlib.util.find_spec(contender.package) is not None


def version_of(package: str) -> str:
    """Return the version of a package; of one that is only on the path, what it says."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def work_of(case_name: str, outdir: str, is_whole: bool) -> Callable[[str], str]:
    """Return the function that a peer runs on each name."""
    return partial(cases.process_file, case_name, outdir, is_whole)
