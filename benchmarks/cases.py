"""The cases: the inputs of each benchmark, its work, and the check of its outputs.

Owns everything that is the same for all contenders. `contenders` runs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "CASES",
    "STAGING",
    "Case",
    "WrongOutputs",
    "check_outputs",
    "make_inputs",
    "outname_of",
    "process_file",
    "process_file_staged",
    "seconds_of_files",
    "shortest_s",
]

APPEND = "_bmp"
STAGING = ".staging"
MIB = 1 << 20
VALUES_PER_MEAN = 64
CHECKED_STEP = 1021  # every so many values of a large array are looked at, and its size
LCG_FACTOR = 48271  # Park and Miller's generator: one state from the last, many at once by pow
LCG_MODULUS = 2**31 - 1


class WrongOutputs(AssertionError):
    """A contender has not done its work, so that its time does not count."""


@dataclass(frozen=True)
class Case:
    """One benchmark: inputs, and the work on each in three parts."""

    name: str
    title: str
    sizes: dict[str, tuple[int, ...]]
    """For each of the sizes ``smoke``, ``quick``, ``full``: the arguments of `make`."""
    rounds: int
    make: Callable[..., list[str]]
    """Make the inputs in a folder; return their names."""
    describe: Callable[..., str]
    read: Callable[[str], Any]
    process: Callable[[Any], Any]
    write: Callable[[Any, str], None]
    check: Callable[[str, str], bool]
    """Whether the second file is what the work makes of the first."""
    ideal_s: Callable[[Sequence[float], int], float] | None = None
    """Shortest time on so many cores, from the seconds that the parts take."""


def outname_of(in_name: str, outdir: str) -> str:
    """Return the name of an input's output."""
    root, extension = os.path.splitext(os.path.basename(in_name))
    return os.path.join(outdir, f"{root}{APPEND}{extension}")


def process_file(case_name: str, outdir: str, is_whole: bool, in_name: str) -> str:
    """Do the work of a case on one file, as a person would write it down in a function.

    ``is_whole``: the output is written to a temporary name, and gets its own when it is whole.
    """
    case = CASES[case_name]
    outname = outname_of(in_name, outdir)
    data = case.process(case.read(in_name))
    if is_whole:
        case.write(data, f"{outname}.tmp")
        os.replace(f"{outname}.tmp", outname)
    else:
        case.write(data, outname)
    return outname


def process_file_staged(case_name: str, outdir: str, in_name: str) -> str:
    """Do the same, with the least work that makes outputs and side files appear only when complete.

    Check whether the name exists, write the output in a folder of this process, and move all
    files from there.
    """
    case = CASES[case_name]
    outname = outname_of(in_name, outdir)
    data = case.process(case.read(in_name))
    if os.access(outname, os.F_OK):
        raise FileExistsError(outname)
    folder, descriptor = _staging_folder(outdir, os.getpid())
    case.write(data, os.path.join(folder, os.path.basename(outname)))
    for name in os.listdir(descriptor):
        os.replace(os.path.join(folder, name), os.path.join(outdir, name))
    return outname


@lru_cache(maxsize=1)
def _staging_folder(outdir: str, pid: int) -> tuple[str, int]:
    folder = os.path.join(outdir, STAGING, str(pid))
    os.makedirs(folder)
    return folder, os.open(folder, os.O_RDONLY)


def check_outputs(case_name: str, in_names: Sequence[str], outdir: str) -> None:
    """Look at every output.

    Raises
    ------
    WrongOutputs
        If one is missing or wrong, or there is anything else in the folder.
    """
    case = CASES[case_name]
    expected = {os.path.basename(outname_of(name, outdir)) for name in in_names}
    found = set(os.listdir(outdir))
    if found != expected:
        raise WrongOutputs(
            f"{len(expected - found)} outputs are missing in {outdir!r}, and "
            f"{len(found - expected)} files should not be there"
        )
    for in_name in in_names:
        outname = outname_of(in_name, outdir)
        if not case.check(in_name, outname):
            raise WrongOutputs(f"{outname!r} is not what the work makes of {in_name!r}")


def _read_bytes(name: str) -> bytes:
    with open(name, "rb") as file:
        return file.read()


def _write_bytes(data: bytes, name: str) -> None:
    with open(name, "wb") as file:
        file.write(data)


def _names(folder: str, n_files: int, extension: str) -> list[str]:
    return [os.path.join(folder, f"{i:06d}{extension}") for i in range(n_files)]


# Tiny files, and the start-up with three of them.


def _make_tiny(folder: str, n_files: int) -> list[str]:
    names = _names(folder, n_files, ".txt")
    for i, name in enumerate(names):
        _write_bytes(b"%d" % i, name)
    return names


def _shout(data: bytes) -> bytes:
    return data + b"!"


def _is_shouted(in_name: str, outname: str) -> bool:
    return _read_bytes(outname) == _read_bytes(in_name) + b"!"


# Large files.


def _make_large(folder: str, n_files: int, n_bytes: int) -> list[str]:
    names = _names(folder, n_files, ".npy")
    for i, name in enumerate(names):
        _write_array(_ramp(n_bytes // 4) + np.float32(i), name)
    return names


@lru_cache(maxsize=1)
def _ramp(n_values: int) -> np.ndarray:
    return np.arange(n_values, dtype=np.float32) % np.float32(4096)


def _read_array(name: str) -> np.ndarray:
    return np.load(name)


def _calibrate(data: np.ndarray) -> np.ndarray:
    data -= np.float32(100)
    data *= np.float32(1.25)
    return data


def _write_array(data: np.ndarray, name: str) -> None:
    with open(name, "wb") as file:
        np.save(file, data)


def _condense(data: np.ndarray) -> np.ndarray:
    """Return the means of so many values each: as most people write it down, by way of others."""
    stretched = np.sqrt(np.abs(data * np.float32(1.5) + np.float32(2)))
    return stretched.reshape(-1, VALUES_PER_MEAN).mean(axis=1)


def _is_condensed(in_name: str, outname: str) -> bool:
    return bool(np.array_equal(np.load(outname), _condense(np.load(in_name))))


def _is_calibrated(in_name: str, outname: str) -> bool:
    before = np.load(in_name, mmap_mode="r")
    after = np.load(outname, mmap_mode="r")
    if after.shape != before.shape or os.path.getsize(outname) != os.path.getsize(in_name):
        return False
    seen = slice(None, None, CHECKED_STEP)
    return bool(np.array_equal(after[seen], _calibrate(before[seen].copy())) and after[-1] != 0)


# Work that is the processor's alone: an input says how much.


def _make_work(folder: str, n_files: int, n_steps: int, n_last: int) -> list[str]:
    names = _names(folder, n_files, ".txt")
    for i, name in enumerate(names):
        steps = n_last if i == n_files - 1 else n_steps
        _write_bytes(b"%d %d" % (i + 1, steps), name)
    return names


def _step(data: bytes) -> bytes:
    state, n_steps = map(int, data.split())
    for _ in range(n_steps):
        state = state * LCG_FACTOR % LCG_MODULUS
    return b"%d" % state


def _is_stepped(in_name: str, outname: str) -> bool:
    state, n_steps = map(int, _read_bytes(in_name).split())
    expected = state * pow(LCG_FACTOR, n_steps, LCG_MODULUS) % LCG_MODULUS
    return _read_bytes(outname) == b"%d" % expected


def shortest_s(seconds: Sequence[float], n_workers: int) -> float:
    """Return how long files take that are begun in order, each as soon as a worker is free.

    Examples
    --------
    >>> shortest_s([1, 1, 1, 4], 2)
    5
    """
    free_at = [0.0] * n_workers
    for each in seconds:
        free_at[free_at.index(min(free_at))] += each
    return max(free_at)


def seconds_of_files(in_names: Sequence[str], total_s: float) -> list[float]:
    """Share the time of a serial run among files, by the steps that their inputs ask for."""
    steps = [int(_read_bytes(name).split()[1]) for name in in_names]
    each = total_s / sum(steps)
    return [each * n_steps for n_steps in steps]


_TINY = {"read": _read_bytes, "process": _shout, "write": _write_bytes, "check": _is_shouted}
_LARGE: dict[str, Any] = {
    "read": _read_array,
    "process": _calibrate,
    "write": _write_array,
    "check": _is_calibrated,
}
_ARRAYS = {**_LARGE, "process": _condense, "check": _is_condensed}
_CPU = {"read": _read_bytes, "process": _step, "write": _write_bytes, "check": _is_stepped}

_ALL = [
    Case(
        "tiny",
        "Tiny files",
        {"smoke": (20,), "quick": (5000,), "full": (5000,)},
        7,
        _make_tiny,
        lambda n: f"{n:,} files of a few bytes",
        **_TINY,
    ),
    Case(
        "large",
        "Large files",
        {"smoke": (3, 4096), "quick": (16, 8 << 20), "full": (24, 32 << 20)},
        7,
        _make_large,
        lambda n, size: (
            f"{n} arrays of {size / MIB:g} MiB: read, two passes of arithmetic, written"
        ),
        **_LARGE,
    ),
    Case(
        "arrays",
        "Large files and temporary arrays",
        {"smoke": (3, 4096), "quick": (16, 8 << 20), "full": (24, 32 << 20)},
        5,
        _make_large,
        lambda n, size: (
            f"{n} arrays of {size / MIB:g} MiB: read, sqrt(abs(1.5 x + 2)), "
            f"means of {VALUES_PER_MEAN} written"
        ),
        **_ARRAYS,
    ),
    Case(
        "cpu",
        "CPU-bound work",
        {"smoke": (4, 100, 100), "quick": (60, 300_000, 300_000), "full": (80, 600_000, 600_000)},
        10,  # as each takes seconds, and few are left alone for so long
        _make_work,
        lambda n, steps, _: f"{n} files with {steps:,} steps of pure Python each",
        **_CPU,
        ideal_s=shortest_s,
    ),
    Case(
        "skewed",
        "One long file at the end",
        {
            "smoke": (4, 100, 400),
            "quick": (30, 150_000, 4_000_000),
            "full": (60, 300_000, 12_000_000),
        },
        5,
        _make_work,
        lambda n, steps, last: f"{n - 1} files with {steps:,} steps each, then one with {last:,}",
        **_CPU,
        ideal_s=shortest_s,
    ),
    Case(
        "startup",
        "Start-up",
        {"smoke": (3,), "quick": (3,), "full": (3,)},
        15,
        _make_tiny,
        lambda n: f"{n} files of one byte",
        **_TINY,
    ),
]
CASES = {case.name: case for case in _ALL}


def make_inputs(case_name: str, size: str, folder: Path) -> list[str]:
    """Make the inputs of a case."""
    folder.mkdir(parents=True)
    case = CASES[case_name]
    return case.make(os.fspath(folder), *case.sizes[size])
