"""Reduce a night of Kast spectra: from raw frames to images that are ready for extraction.

The frames come from the blue camera of the Kast spectrograph at Lick Observatory, which has two
amplifiers with an overscan of 32 columns each. The script combines biases and dome flats into
master frames, calibrates the arc, standard star and science frames with them, and removes cosmic
rays from long exposures. The tutorial in docs/tutorial.rst explains this file step by step.

It needs ccdproc and astroscrappy. In a clone of bigpipe, ``python -m pip install '.[ccd]'``
installs them. Run it::

    python examples/kast_reduction.py [FOLDER] [--output FOLDER]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import StdDevUncertainty

try:
    import astroscrappy  # noqa: F401  (ccdproc uses it to find cosmic rays)
    import ccdproc  # noqa: F401  (the steps use it)
except ImportError as error:
    sys.exit(f"{error.name} is missing. In a clone of bigpipe: python -m pip install '.[ccd]'")

from bigpipe.fits import (
    CCDMultiPipe,
    CombinePipe,
    as_single,
    divide_flat,
    header_to_meta,
    night,
    read_ccd,
    remove_cosmic_rays,
    subtract_bias,
    subtract_overscan,
    trim,
)

DATA = Path(__file__).resolve().parents[2] / "shared/data/kast_blue"

CAMERA = {
    "fallback_unit": "adu",  # the headers have no BUNIT
    "overscan_axis": None,  # subtract one level per amplifier, not one per row
    "overscan_median": False,  # use the mean: the median of integers is too coarse
    "gain": 1.2,  # electrons per adu, measured in the flats; GAIN in the header is only an index
    "read_noise": 3.3,  # electrons, measured in the biases
}


def estimate_noise(ccd, gain=None, read_noise=None, **kwargs):
    """Set the uncertainty of a frame from photon noise and read noise."""
    variance = np.clip(ccd.data, 0, None) / gain + (read_noise / gain) ** 2
    ccd.uncertainty = StdDevUncertainty(np.sqrt(variance))
    return ccd


def pixel_response(flat):
    """Divide each column of a flat by its median, which removes the spectrum of the lamp.

    The standard star corrects differences between columns, such as the gains of the amplifiers.
    At the ends of the slit and beyond, there is too little light to measure, and the response is 1.
    """
    spectrum = np.median(flat.data, axis=0)
    lit = flat.data > 0.8 * spectrum
    flat.data = np.where(lit, flat.data / spectrum, 1).astype(np.float32)
    flat.uncertainty, flat.unit = None, u.dimensionless_unscaled
    return flat


def clean_long_exposures(ccd, **kwargs):
    """Remove cosmic rays from frames that were exposed for five minutes or more."""
    if ccd.header["EXPTIME"] < 300:
        return ccd
    return remove_cosmic_rays(ccd, cosmics_sigclip=5, **kwargs)


def note_sky(ccd, bmp_meta=None, **kwargs):
    """Put the background level into the table of results."""
    bmp_meta["sky"] = round(float(np.median(ccd.data)), 2) * u.adu
    return ccd


def reduce_night(folder, output):
    """Reduce the frames in a folder; return the result of the last pipeline."""
    frames = night(folder)

    print(frames, end="\n\n")
    if not (frames.groups("bias") and frames.groups("flat")):
        sys.exit(f"{folder} must have bias frames and flats.")

    raw_steps = [subtract_overscan, trim]
    combine = CombinePipe(
        outdir=output, create_outdir=True, overwrite=True, pre_process_list=raw_steps, **CAMERA
    )
    [(bias_name, _)] = combine.pipeline([frames.groups("bias")[0].names])
    bias = read_ccd(bias_name)

    combine.pre_process_list = [*raw_steps, subtract_bias]
    flats = frames.groups("flat")[0].names
    [(flat_name, _)] = combine.pipeline([flats], method="median", bias=bias)
    flat = pixel_response(read_ccd(flat_name))

    lights = [frame.name for frame in frames.of("light")]
    pipe = CCDMultiPipe(
        outdir=output,
        outname_append="_red",
        pre_process_list=[*raw_steps, estimate_noise, subtract_bias, divide_flat],
        post_process_list=[clean_long_exposures, header_to_meta, note_sky, as_single],
        header_keys=["OBJECT", ("EXPTIME", "s")],
        journal=f"{output}.bigpipe",
        overwrite=True,
        provenance=True,
        **CAMERA,
    )
    pout = pipe.pipeline(lights, bias=bias, flat=flat, flat_norm_value=1)

    return pout


def main():
    parser = argparse.ArgumentParser(description="Reduce a night of Kast spectra in parallel.")
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("--output", default="kast_reduction-output", help="default: ./%(default)s")
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"There is no {options.folder}. Give a folder of frames.")
        sys.exit(0 if options.folder == DATA else 2)
    reduce_night(options.folder, options.output).to_table().pprint_all()
    print(f"\nThe reduced frames and the master frames are in {options.output}")


if __name__ == "__main__":
    main()
