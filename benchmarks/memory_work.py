"""The work of the memory benchmarks: a few passes over arrays several times as large as the file.

Owns only the work, so it is the same in a hook and in an external program:
``python memory_work.py INPUT OUTPUT PASSES``.
"""

from __future__ import annotations

import sys

import numpy as np

__all__ = ["BYTES_PER_RAW_BYTE", "reduce_raw", "reduced"]

BYTES_PER_RAW_BYTE = 9  # that of the input, and two arrays of float64 for one of uint16
STEP = 64  # every so many values are written


def reduce_raw(raw: np.ndarray, n_passes: int) -> np.ndarray:
    """Return every `STEP`-th value of the input, after arithmetic that changes nothing in all."""
    data = raw.astype(np.float64)
    for _ in range(n_passes):
        np.log1p(data, out=data)
        np.expm1(data, out=data)
    weight = np.add(data, 1.0)
    np.reciprocal(weight, out=weight)
    for _ in range(n_passes):
        np.multiply(data, weight, out=data)
        np.log1p(data, out=data)
        np.expm1(data, out=data)
        np.divide(data, weight, out=data)
    return reduced(data)


def reduced(data: np.ndarray) -> np.ndarray:
    """Return what is written of an array."""
    return np.rint(data[::STEP]).astype(np.uint16)


if __name__ == "__main__":
    np.save(sys.argv[2], reduce_raw(np.load(sys.argv[1]), int(sys.argv[3])))
