"""How fast a loop gets arrays: from a stream, from a pool that returns them, by a plain copy.

Owns this measurement: ``python benchmarks/feeding.py [--quick]`` prints a table, of one run on an
otherwise idle machine. The workers do not compute anything, so only the way of the arrays to the
loop is measured. Rounds alternate, and the median counts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bigpipe import BigMultiPipe

N_WORKERS = 2

_made: dict[int, Any] = {}


def make(size: int) -> Any:
    """Return an array of so many bytes, always the same one."""
    if size not in _made:
        _made[size] = np.random.default_rng(seed=1).integers(0, 256, size, np.uint8)
    return _made[size]


class Make(BigMultiPipe):
    """Make arrays of the sizes that are its inputs."""

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        return make(int(in_name))


def consume(arrays: Iterable[Any]) -> int:
    """Look at each array; return how many bytes there were."""
    n_bytes = 0
    for array in arrays:
        assert array[-1] == make(array.nbytes)[-1]
        n_bytes += array.nbytes
    return n_bytes


def copies(size: int, n: int) -> Iterable[Any]:
    """Yield an array that was copied into the same memory, again and again."""
    source = make(size)
    target = source.copy()
    for _ in range(n):
        np.copyto(target, source)
        yield target


def measure(size: int, n: int, n_rounds: int) -> dict[str, float]:
    """Return GB/s of each way."""
    make(size)
    names = [str(size)] * n
    stream = Make(num_processes=N_WORKERS).stream(names)
    with stream, multiprocessing.Pool(N_WORKERS) as pool:
        ways: dict[str, Callable[[], Iterable[Any]]] = {
            "stream": lambda: stream,
            "Pool.imap": lambda: pool.imap(make, [size] * n),
            "copy": lambda: copies(size, n),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        for is_warm in [False] + [True] * n_rounds:
            for way, arrays in ways.items():
                began_at = time.perf_counter()
                n_bytes = consume(arrays())
                if is_warm:
                    rates[way].append(n_bytes / (time.perf_counter() - began_at) / 1e9)
    return {way: statistics.median(each) for way, each in rates.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast a loop is fed with arrays.")
    parser.add_argument("--quick", action="store_true", help="few and small arrays, one round")
    quick = parser.parse_args().quick
    sizes = [100_000, 1_000_000] if quick else [100_000, 1_000_000, 8_000_000, 64_000_000]
    most = 10_000_000 if quick else 1_000_000_000
    n_rounds = 1 if quick else 5
    ways = "".join(f"  {way:>11}" for way in ("stream", "Pool.imap", "copy"))
    print(f"     array{ways}  stream/pool  stream/copy")
    for size in sizes:
        n = max(10, min(1000, most // size))
        rates = measure(size, n, n_rounds)
        shown = "  ".join(f"{rate:6.2f} GB/s" for rate in rates.values())
        ratios = [rates["stream"] / rates[other] for other in ("Pool.imap", "copy")]
        print(f"{size / 1e6:7.1f} MB  {shown}  {ratios[0]:11.2f}  {ratios[1]:11.2f}")


if __name__ == "__main__":
    main()
