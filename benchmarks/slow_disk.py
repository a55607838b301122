"""Files on a disk with latency: one after another, overlapped, and the best possible time.

Reading and writing only wait here, as on remote storage; processing uses a core. In the best
possible time, all workers process without a pause, except for the first reading and the last
writing.

    python benchmarks/slow_disk.py [--files 30] [--workers 2]
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path
from typing import Any

from bigpipe import BigMultiPipe

READ_S = 0.2
PROCESS_S = 0.2
WRITE_S = 0.1


class SlowDisk(BigMultiPipe):
    """Takes as long in each hook as a file of some hundred MB on a slow disk."""

    def file_read(self, in_name: Any, **kwargs: Any) -> bytes:
        """Wait, then read."""
        time.sleep(READ_S)
        return Path(in_name).read_bytes()

    def data_process(self, data: bytes, **kwargs: Any) -> bytes:
        """Keep a core busy."""
        until = time.thread_time() + PROCESS_S
        while time.thread_time() < until:
            pass
        return data

    def file_write(self, data: bytes, outname: Any, **kwargs: Any) -> Any:
        """Write, then wait."""
        Path(outname).write_bytes(data)
        time.sleep(WRITE_S)
        return outname


def best_s(n_files: int, n_workers: int) -> float:
    """Return the seconds below which no order of the hooks can come."""
    return READ_S + math.ceil(n_files / n_workers) * PROCESS_S + WRITE_S


def seconds_of(n_files: int, n_workers: int, **options: Any) -> float:
    """Run the files; return the seconds that it took."""
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder, f"{i}.dat") for i in range(n_files)]
        for name in names:
            name.write_bytes(b"data")
        pipe = SlowDisk(outdir=folder, num_processes=n_workers, progress=False, **options)
        began_at = time.perf_counter()
        pout = pipe.pipeline(names)
        seconds = time.perf_counter() - began_at
        assert all(Path(outname).read_bytes() == b"data" for outname, _ in pout)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    best = best_s(asked.files, asked.workers)
    print(f"{asked.files} files, {asked.workers} workers: the best possible is {best:.2f} s")
    for title, options in (("one after another", {}), ("overlap=True", {"overlap": True})):
        seconds = seconds_of(asked.files, asked.workers, **options)
        print(f"{title:<20} {seconds:6.2f} s   {seconds / best:5.2f} times the best")


if __name__ == "__main__":
    main()
