"""The cases of the memory benchmarks: inputs, pipelines, their options, the check of outputs.

Owns everything that differs from case to case. `memory_run` watches a run, and `memory_tables`
shows the figures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from memory_work import BYTES_PER_RAW_BYTE, reduce_raw, reduced

from bigpipe import BigMultiPipe

__all__ = ["CASES", "Case", "Inputs", "check_output", "given_size", "kind_of", "make_inputs"]

DATA = Path(__file__).resolve().parents[2] / "shared/data"
MB = 10**6
WORKER = 60 * MB  # bytes of a worker without a file: what a person would add; arbitrary
COMPRESSED = 100  # times smaller than its array
TOO_SMALL = 0.1  # of what is right, where what is given is wrong
SMALLEST, LARGEST = 1, 60_000  # of the values in an input
FRAMES = ("kast_blue/*.fits.gz", "m13/*.fits", "singles/a*.fits", "singles/g*.fits")
FRAME_PASSES = 3  # for each of the passes of a case, as frames are small


@dataclass(frozen=True)
class Inputs:
    """How many files there are, and the bytes that one of them needs beside the worker."""

    n_small: int
    small: int
    n_large: int
    large: int
    budget: int | None
    """Bytes; ``None``: what the system leaves."""
    n_passes: int


@dataclass(frozen=True)
class Case:
    """One benchmark."""

    name: str
    what: str
    sizes: dict[str, Inputs]
    """For each of the sizes ``smoke``, ``quick``, ``full``."""
    make: Callable[[Path, Inputs], list[str]]
    """Make the inputs in a folder; return their names in the order in which they are given."""
    pipe: Callable[..., BigMultiPipe]
    max_ratio: float | None = None
    """Makespan to be reached, in lower bounds."""
    given: float | None = None
    """Sizes are given as a function of the name: so many times what is right."""
    address_space: int | None = None
    """Bytes that a process may address."""


def kind_of(in_name: str) -> str:
    """Return what an input has in common with others that take as long: told by its name."""
    return os.path.basename(in_name).partition("-")[0]


def given_size(in_name: str, times: float) -> int:
    """Return what a worker needs for an input, or what a person takes that to be."""
    return int(times * (WORKER + BYTES_PER_RAW_BYTE * os.path.getsize(in_name)))


def make_inputs(case: Case, size: str, folder: Path) -> list[str]:
    """Make the inputs of a case."""
    folder.mkdir(parents=True)
    return case.make(folder, case.sizes[size])


def _make(write: Callable[[str, int, int], None], ext: str, folder: Path, n: Inputs) -> list[str]:
    """Make small files, and large ones evenly among them."""
    kinds = ["small"] * n.n_small
    for i in range(n.n_large):
        kinds.insert((i + 1) * len(kinds) // (n.n_large + 1), "large")
    names = []
    for i, kind in enumerate(kinds):
        names.append(os.path.join(folder, f"{kind}-{i:03d}{ext}"))
        n_bytes = n.large if kind == "large" else n.small
        write(names[-1], n_bytes // BYTES_PER_RAW_BYTE // 2, i)
    return names


def _write_array(name: str, n_values: int, i: int) -> None:
    values = np.arange(i, i + n_values, dtype=np.uint32) % (LARGEST - SMALLEST) + SMALLEST
    np.save(name, values.astype(np.uint16))


def _write_compressed(name: str, n_values: int, i: int) -> None:
    """Write an array that is partly noise, which cannot be compressed."""
    values = np.full(n_values, SMALLEST + i, dtype=np.uint16)
    n_noisy = int(n_values * (1 / COMPRESSED - 1 / 1000))  # the rest shrinks a thousandfold
    values[:n_noisy] = np.random.default_rng(i).integers(SMALLEST, LARGEST, n_noisy, np.uint16)
    np.savez_compressed(name, raw=values)


def _write_request(name: str, n_values: int, i: int) -> None:
    """Write down how large an array is to be made: all inputs look alike."""
    Path(name).write_text(f"{n_values:12d} {i:4d}\n")


def _raw_of(in_name: str) -> np.ndarray:
    if in_name.endswith(".npz"):
        with np.load(in_name) as arrays:
            return arrays["raw"]
    if in_name.endswith(".txt"):
        n_values, first = map(int, Path(in_name).read_text().split())
        return np.full(n_values, SMALLEST + first, dtype=np.uint16)
    return np.load(in_name)


class Reduction(BigMultiPipe):
    """Reads an input, works on arrays that are larger, writes a small part."""

    def __init__(self, n_passes: int, **kwargs: Any) -> None:
        self.n_passes = n_passes
        super().__init__(**kwargs)

    def file_read(self, in_name: str, **kwargs: Any) -> Any:
        return _raw_of(in_name)

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        return reduce_raw(data, self.n_passes)

    def outname_create(self, in_name: str, **kwargs: Any) -> str:
        return str(Path(super().outname_create(in_name, **kwargs)).with_suffix(".npy"))

    def file_write(self, data: Any, outname: str, **kwargs: Any) -> str:
        np.save(outname, data)
        return outname


class ByProgram(Reduction):
    """Has an external program do all of that."""

    def file_read(self, in_name: str, **kwargs: Any) -> str:
        return in_name

    def data_process(self, data: str, **kwargs: Any) -> str:
        return data

    def file_write(self, data: str, outname: str, **kwargs: Any) -> str:
        program = Path(__file__).with_name("memory_work.py")
        subprocess.run([sys.executable, program, data, outname, str(self.n_passes)], check=True)
        return outname


def _copy_frames(folder: Path, n: Inputs) -> list[str]:
    """Copy each frame as often as there are to be small files."""
    names = []
    for i in range(n.n_small):
        for j, pattern in enumerate(FRAMES):
            for path in sorted(DATA.glob(pattern)):
                names.append(str(folder / f"frames{j}-{i}-{path.name}"))
                shutil.copyfile(path, names[-1])
    return names


def _reduce_frame(image: np.ndarray, n_passes: int) -> np.ndarray:
    """Subtract the sky of a frame, and smooth it."""
    from astropy.stats import sigma_clipped_stats

    _, sky, _ = sigma_clipped_stats(image, sigma=3, maxiters=5)
    data = image - sky
    window = np.exp(-(np.linspace(-3, 3, data.shape[1]) ** 2))
    for _ in range(FRAME_PASSES * n_passes):
        spectrum = np.fft.rfft2(data)
        spectrum *= window[: spectrum.shape[1]]
        data = np.fft.irfft2(spectrum, s=data.shape)
    return data


class Frames(Reduction):
    """Subtracts the sky of a FITS frame, and smooths it."""

    def worker_init(self, **kwargs: Any) -> None:
        import astropy.io.fits
        import astropy.stats  # noqa: F401

    def file_read(self, in_name: str, **kwargs: Any) -> Any:
        from astropy.io import fits

        return fits.getdata(in_name).astype(float)

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        return _reduce_frame(data, self.n_passes)

    def outname_create(self, in_name: str, **kwargs: Any) -> str:
        return BigMultiPipe.outname_create(self, in_name, **kwargs) + ".npy"


def check_output(in_name: str, outname: str, n_passes: int) -> bool:
    """Tell whether the second file is what the work makes of the first."""
    found = np.load(outname)
    if kind_of(in_name).startswith("frames"):
        from astropy.io import fits

        frame = fits.getdata(in_name).astype(float)
        return np.allclose(found, _reduce_frame(frame, n_passes))
    return np.array_equal(found, reduced(_raw_of(in_name)))


def _mixed(n_passes: int) -> Inputs:
    return Inputs(40, 100 * MB, 2, 2000 * MB, 2500 * MB, n_passes)


_SMOKE = Inputs(3, MB, 1, 8 * MB, 600 * MB, 1)
_MIXED = {"smoke": _SMOKE, "quick": _mixed(1), "full": _mixed(4)}
_ARRAYS = partial(_make, _write_array, ".npy")

_ALL = [
    Case("mixed/given", "sizes given as a function", _MIXED, _ARRAYS, Reduction, 1.2, given=1.0),
    Case("mixed/nothing", "nothing given", _MIXED, _ARRAYS, Reduction, 1.5),
    Case(
        "mixed/alike",
        "nothing given, all inputs of the same size on disk",
        _MIXED,
        partial(_make, _write_request, ".txt"),
        Reduction,
    ),
    Case(
        "mixed/small",
        "sizes given, ten times too small",
        _MIXED,
        _ARRAYS,
        Reduction,
        given=TOO_SMALL,
    ),
    Case(
        "compressed",
        f"arrays {COMPRESSED} times as large as their files",
        {
            "smoke": _SMOKE,
            "quick": Inputs(10, 300 * MB, 2, 1000 * MB, 1500 * MB, 1),
            "full": Inputs(10, 300 * MB, 2, 1000 * MB, 1500 * MB, 4),
        },
        partial(_make, _write_compressed, ".npz"),
        Reduction,
        1.5,
    ),
    Case(
        "program",
        "an external program takes the memory",
        {
            "smoke": _SMOKE,
            "quick": Inputs(10, 300 * MB, 2, 1000 * MB, 1500 * MB, 1),
            "full": Inputs(10, 300 * MB, 2, 1000 * MB, 1500 * MB, 4),
        },
        _ARRAYS,
        ByProgram,
        1.5,
    ),
    Case(
        "rlimit",
        "under RLIMIT_AS, nothing given",
        {
            "smoke": Inputs(3, MB, 1, 8 * MB, None, 1),
            "quick": Inputs(20, 100 * MB, 2, 1000 * MB, None, 1),
            "full": Inputs(20, 100 * MB, 2, 1000 * MB, None, 4),
        },
        _ARRAYS,
        Reduction,
        1.5,
        address_space=2500 * MB,
    ),
    Case(
        "frames",
        "FITS frames, nothing given",
        {
            "smoke": Inputs(1, 0, 0, 0, 600 * MB, 1),
            "quick": Inputs(2, 0, 0, 0, 400 * MB, 1),
            "full": Inputs(6, 0, 0, 0, 400 * MB, 2),
        },
        _copy_frames,
        Frames,
        1.5,
    ),
]
CASES = {case.name: case for case in _ALL}
