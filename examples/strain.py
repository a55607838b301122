"""Filter gravitational-wave strain chunk by chunk, as if each file were larger than memory.

The files hold 32 s around GW150914, one file for each of the two detectors. The pipeline reads a
second at a time, filters it, and writes it with its attributes, at a quarter of its sampling rate.
The script then filters each whole file in memory and compares the results.

It needs scipy and h5py. In a clone of bigpipe, ``python -m pip install '.[streaming]'`` installs
them. Run it::

    python examples/strain.py [FOLDER] [--output FOLDER] [--seconds SECONDS]

This research has made use of data obtained from the Gravitational Wave Open Science Center
(gwosc.org), a service of the LIGO Scientific Collaboration, the Virgo Collaboration, and KAGRA.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy.table import Table

try:
    import h5py
    from scipy import signal
except ImportError as error:
    sys.exit(
        f"{error.name} is missing. In a clone of bigpipe: python -m pip install '.[streaming]'"
    )

from bigpipe import BigMultiPipe
from bigpipe.streaming import compose, decimate, read_chunks, run_steps, sosfilt, write_chunks

DATA = Path(__file__).resolve().parents[2] / "shared/data/timeseries"

STRAIN = "strain/Strain"
RATE = 4096  # Hz, of the files
SLOWER = 4  # keep every 4th sample: still more than twice the highest frequency
BAND = signal.butter(4, [35, 350], "bandpass", fs=RATE, output="sos")  # Hz


class BandPass(BigMultiPipe):
    """Pass a stream from hook to hook, of which only one chunk at a time is in memory."""

    def file_read(self, in_name, n=RATE, **kwargs):
        return read_chunks(in_name, dataset=STRAIN, n=n)

    def data_process(self, chunks, steps=None, **kwargs):
        return run_steps(chunks, steps)

    def file_write(self, chunks, outname, in_name=None, **kwargs):
        write_chunks(outname, chunks, dataset=STRAIN, like=in_name)
        with h5py.File(outname, "r+") as file:
            strain = file[STRAIN]
            strain.attrs["Npoints"] = len(strain)
            strain.attrs["Xspacing"] = SLOWER / RATE
        return outname


def filter_files(names, output, seconds):
    """Filter each file in chunks; return the names of the outputs."""
    steps = compose(sosfilt(BAND), decimate(SLOWER))
    pipe = BandPass(outdir=output, create_outdir=True, outname_append="_35-350Hz")
    pout = pipe.pipeline(names, steps=steps, n=max(1, round(seconds * RATE)))
    return [outname for outname, _ in pout]


def compare(name, outname):
    """Compare an output with its whole input, filtered in memory; return a row of the table."""
    with h5py.File(name) as file:
        whole = signal.sosfilt(BAND, file[STRAIN][:])[::SLOWER]
        detector = file["meta/Detector"][()].decode()
    with h5py.File(outname) as file:
        filtered = file[STRAIN][:]
    settled = filtered[RATE // SLOWER :]  # without the first second
    return {
        "detector": detector,
        "samples": len(filtered),
        "rms": float(f"{settled.std():.3g}"),
        "largest": float(f"{np.abs(settled).max():.3g}"),
        "differs by": np.abs(filtered - whole).max(),
        "output": Path(outname).name,
    }


def main():
    parser = argparse.ArgumentParser(description="Band-pass strain files chunk by chunk.")
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("--output", default="strain-output", help="default: ./%(default)s")
    parser.add_argument("--seconds", type=float, default=1, help="of a chunk; default: %(default)s")
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"There is no {options.folder}. Give a folder of strain files.")
        sys.exit(0 if options.folder == DATA else 2)
    names = sorted(options.folder.glob("*.hdf5"))
    if not names:
        sys.exit(f"There is no .hdf5 file in {options.folder}.")

    outnames = filter_files(names, options.output, options.seconds)
    table = Table(rows=[compare(*pair) for pair in zip(names, outnames, strict=True)])
    table.pprint_all()
    if table["differs by"].any():
        sys.exit("The result in chunks differs from the whole.")
    print(f"\nEqual to the whole files, to the last bit. The outputs are in {options.output}")


if __name__ == "__main__":
    main()
