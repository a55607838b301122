"""Combine frames into one: compares `bigpipe.fits.CombinePipe` with `ccdproc.combine`.

Each measurement is a fresh process. It gives the seconds from the first file to the written master
(the least of several, without imports) and the peak RSS. Both read the same FITS files of 16-bit
frames, make uncertainties, and write the master. The results are compared, too. Run it::

    python benchmarks/combine.py [--frames 20] [--side 2048] [--repeat 3] [--mem-limit BYTES]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from astropy.io import fits

RULES = {
    "average": {"method": "average"},
    "median": {"method": "median"},
    "average, 3 sigma": {
        "method": "average",
        "sigma_clip": True,
        "sigma_clip_func": "median",
        "sigma_clip_dev_func": "mad_std",
    },
}
NOISE = 7  # adu
LEVEL = 1000  # adu


def make_frames(folder, n_frames, side):
    rng = np.random.default_rng(seed=1)
    pattern = rng.normal(LEVEL, 30, (side, side)).astype(np.float32)
    names = []
    for number in range(n_frames):
        frame = pattern + NOISE * rng.standard_normal((side, side), dtype=np.float32)
        hits = rng.integers(0, side, (2, side))
        frame[tuple(hits)] += 500
        names.append(str(folder / f"{number:03d}.fits"))
        fits.writeto(names[-1], frame.round().astype(np.uint16), fits.Header({"OBJECT": "Bias"}))
    return names


def by_bigpipe(names, output, rule, mem_limit):
    from bigpipe.fits import CombinePipe

    options = {"num_processes": 1, "fallback_unit": "adu", "mem_limit": mem_limit}
    pipe = CombinePipe(outname=output, overwrite=True, **options)
    began = time.perf_counter()
    pipe.pipeline([names], **rule)
    return time.perf_counter() - began


def by_ccdproc(names, output, rule, mem_limit):
    import ccdproc

    limit = {} if mem_limit is None else {"mem_limit": mem_limit}
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ccdproc.combine(
            names,
            output_file=output,
            overwrite_output=True,
            unit="adu",
            dtype="float32",
            **limit,
            **rule,
        )
    return time.perf_counter() - began


WAYS = {"bigpipe": by_bigpipe, "ccdproc": by_ccdproc}


def run_one(job):
    way, rule, names, output, mem_limit = json.loads(job)
    seconds = WAYS[way](names, output, RULES[rule], mem_limit)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps([seconds, peak]))


def measure(way, rule, names, output, mem_limit):
    job = json.dumps([way, rule, names, str(output), mem_limit])
    command = [sys.executable, __file__, "--one", job]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure_all(rule, names, outputs, mem_limit, repeat):
    """Return seconds and bytes of each way; they take turns, so that a load hits all."""
    results = {way: [] for way in outputs}
    for _ in range(repeat):
        for way, output in outputs.items():
            results[way].append(measure(way, rule, names, output, mem_limit))
    return {
        way: (min(seconds for seconds, _ in each), max(peak for _, peak in each))
        for way, each in results.items()
    }


def difference(first, second):
    a, b = fits.getdata(first), fits.getdata(second)
    return float(np.nanmax(np.abs(a.astype(float) - b)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--side", type=int, default=2048, help="pixels")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--mem-limit", type=float, help="bytes for the frames in memory")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one)
        return
    with tempfile.TemporaryDirectory() as folder:
        names = make_frames(Path(folder), options.frames, options.side)
        n_megabytes = sum(os.path.getsize(name) for name in names) / 1e6
        print(f"{options.frames} frames of {options.side} x {options.side}, {n_megabytes:.0f} MB")
        print(f"{'rule':<18}{'way':<9}{'seconds':>8}{'peak MB':>9}{'largest difference, adu':>25}")
        for rule in RULES:
            outputs = {way: Path(folder, f"{way}.fits") for way in WAYS}
            results = measure_all(rule, names, outputs, options.mem_limit, options.repeat)
            for way, (seconds, peak) in results.items():
                print(f"{rule:<18}{way:<9}{seconds:8.2f}{peak / 1e6:9.0f}", end="")
                print("" if way == "bigpipe" else f"{difference(*outputs.values()):25.1e}")


if __name__ == "__main__":
    main()
