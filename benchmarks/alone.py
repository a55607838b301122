"""Measurements of bigpipe alone: memory, the parent's time, import, large keywords.

Owns these measurements; each runs in a process of its own, which `compare` starts as
``python alone.py NAME JSON`` and which prints a JSON object. Comparisons with others are
`run_once`.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from tree_pss import watched

__all__ = ["import_time", "keyword", "memory", "parent_cpu"]

LATE = ("numpy", "astropy", "psutil", "tqdm", "cloudpickle", "multiprocessing")
MIB = 1 << 20


def memory(folder: str, looks: list[int], n_workers: int) -> dict[str, Any]:
    """Run over a generator of names; measure the parent's memory after so many files.

    Each name is a different file with its own output. Both are made and removed during the run,
    so few exist at a time.
    """
    from case_pipe import CasePipe
    from cases import outname_of

    indir, outdir = os.path.join(folder, "in"), os.path.join(folder, "out")
    os.makedirs(indir)
    os.makedirs(outdir)
    pipe = CasePipe("tiny", outdir=outdir, num_processes=n_workers, progress=False)
    resident: dict[int, int] = {}
    n_right = 0
    for result in pipe.iter_pipeline(_made_names(indir, looks[-1])):
        with open(result.outname, "rb") as file:
            n_right += file.read() == b"%d!" % result.index
        assert result.outname == outname_of(result.in_name, outdir)
        os.unlink(result.outname)
        os.unlink(result.in_name)
        if result.index + 1 in looks:
            resident[result.index + 1] = _resident_bytes()
    if n_right != looks[-1]:
        raise AssertionError(f"{n_right} of {looks[-1]} outputs are right")
    return {"resident": [[n, resident[n]] for n in looks]}


def _made_names(folder: str, n_files: int) -> Iterator[str]:
    for i in range(n_files):
        name = os.path.join(folder, f"{i:06d}.txt")
        with open(name, "wb") as file:
            file.write(b"%d" % i)
        yield name


def parent_cpu(folder: str, n_files: int, n_workers: int) -> dict[str, Any]:
    """Run over a list of tiny files; see how much processor time this process takes itself.

    So many files that the start of the workers, which takes the same for any number, does not
    count for much.
    """
    from case_pipe import CasePipe
    from cases import check_outputs

    indir = os.path.join(folder, "in")
    os.makedirs(indir)
    names = list(_made_names(indir, n_files))
    outdir = os.path.join(folder, "out")
    os.makedirs(outdir)
    before = time.process_time()
    pipe = CasePipe("tiny", outdir=outdir, num_processes=n_workers, progress=False)
    for result in pipe.iter_pipeline(names):
        if result.error is not None:
            raise result.error
    cpu_s = time.process_time() - before
    check_outputs("tiny", names, outdir)
    return {"cpu_s": cpu_s}


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def import_time(n_pairs: int) -> dict[str, Any]:
    """Time ``import bigpipe`` against a bare python, in pairs; see what it loads."""
    extra_wall, extra_cpu = [], []
    for _ in range(n_pairs):
        bare, full = _start("pass"), _start("import bigpipe")
        extra_wall.append(full[0] - bare[0])
        extra_cpu.append(full[1] - bare[1])
    code = f"import sys, bigpipe; print(*[name for name in {LATE} if name in sys.modules])"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    return {
        "wall_s": statistics.median(extra_wall),
        "cpu_s": statistics.median(extra_cpu),
        "loaded": loaded,
    }


def _start(code: str) -> tuple[float, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began_at = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    wall_s = time.perf_counter() - began_at
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def keyword(
    folder: str, n_files: int, n_bytes: int, n_workers: int, n_rounds: int
) -> dict[str, Any]:
    """Time a run with a large array as a keyword against one without, and against one copy.

    The peak of memory is that of a further run: watching takes time too.
    """
    import numpy as np

    array = np.ones(n_bytes // 8)
    names = [os.path.join(folder, f"{i}.txt") for i in range(n_files)]
    taken: dict[str, list[float]] = {"without": [], "with": [], "copy": []}
    for _ in range(n_rounds):
        taken["without"].append(_seconds_with_keyword(folder, names, n_workers))
        taken["with"].append(_seconds_with_keyword(folder, names, n_workers, array))
        began_at = time.perf_counter()
        copied = array.copy()
        taken["copy"].append(time.perf_counter() - began_at)
        del copied
    with watched() as peak:
        _seconds_with_keyword(folder, names, n_workers, array)
    return {key: statistics.median(seconds) for key, seconds in taken.items()} | {
        "n_files": n_files,
        "n_bytes": n_bytes,
        "peak_pss": peak.n_bytes,
    }


def _seconds_with_keyword(
    folder: str, names: list[str], n_workers: int, array: Any = None
) -> float:
    from keyword_pipe import KeywordPipe

    outdir = os.path.join(folder, "out")
    given = {} if array is None else {"large": array}
    pipe = KeywordPipe(
        outdir=outdir, create_outdir=True, num_processes=n_workers, progress=False, **given
    )
    began_at = time.perf_counter()
    pout = pipe.pipeline(names)
    taken = time.perf_counter() - began_at
    expected = None if array is None else array[-1]
    if [meta["last"] for _, meta in pout] != [expected] * len(names):
        raise AssertionError("a hook has not seen the keyword as it was given")
    shutil.rmtree(outdir)
    return taken


MEASUREMENTS = {
    "memory": memory,
    "parent": parent_cpu,
    "import": import_time,
    "keyword": keyword,
}


def main(name: str, text: str) -> int:
    """Measure what the name says with the arguments of the text; print the result."""
    print(json.dumps(MEASUREMENTS[name](**json.loads(text))))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
