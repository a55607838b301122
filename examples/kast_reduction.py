"""Reduce a night of Kast spectra: from raw frames to images from which spectra can be taken.

The frames are those of the blue camera of the Kast spectrograph at Lick Observatory: two
amplifiers, an overscan of 32 columns for each. Biases and dome flats become master frames; arc,
standard star and science are calibrated with them and, in long exposures, cleaned of cosmic rays.
The tutorial in docs/tutorial.rst goes through this file step by step.

Needs ccdproc and astroscrappy. In a clone of bigpipe: ``python -m pip install '.[ccd]'``. Run it::

    python examples/kast_reduction.py [FOLDER] [--output FOLDER]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.nddata import StdDevUncertainty

try:
    import astroscrappy  # noqa: F401  (ccdproc finds the cosmic rays with it)
    import ccdproc  # noqa: F401  (the steps are its)
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
    "overscan_axis": None,  # one level for each amplifier of a frame, not one for each row,
    "overscan_median": False,  # and their mean, as the median of whole numbers is one, too
    "gain": 1.2,  # electrons for each adu, measured in the flats; GAIN is only an index here
    "read_noise": 3.3,  # electrons, measured in the biases
}


def estimate_noise(ccd, gain=None, read_noise=None, **kwargs):
    """Give a frame its uncertainty: photon noise and read noise."""
    variance = np.clip(ccd.data, 0, None) / gain + (read_noise / gain) ** 2
    ccd.uncertainty = StdDevUncertainty(np.sqrt(variance))
    return ccd


def pixel_response(flat):
    """Divide the lamp's spectrum out of a flat: how each pixel differs from its column.

    What differs between columns, the lamp's colour and the amplifiers' gains, is left to the
    standard star. The ends of the slit and what lies beyond cannot be measured and are 1.
    """
    spectrum = np.median(flat.data, axis=0)
    lit = flat.data > 0.8 * spectrum
    flat.data = np.where(lit, flat.data / spectrum, 1).astype(np.float32)
    flat.uncertainty, flat.unit = None, u.dimensionless_unscaled
    return flat


def clean_long_exposures(ccd, **kwargs):
    """Clean what was exposed long enough to be hit by cosmic rays."""
    if ccd.header["EXPTIME"] < 300:
        return ccd
    return remove_cosmic_rays(ccd, cosmics_sigclip=5, **kwargs)


def note_sky(ccd, bmp_meta=None, **kwargs):
    """Keep the level between the lines for the table of results."""
    bmp_meta["sky"] = round(float(np.median(ccd.data)), 2) * u.adu
    return ccd


def reduce_night(folder, output):
    """Reduce the frames of a folder; return the result of the last step."""
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
        print(f"There is no {options.folder}, so nothing is done. Name a folder that has frames.")
        sys.exit(0 if options.folder == DATA else 2)
    reduce_night(options.folder, options.output).to_table().pprint_all()
    print(f"\nSpectra and master frames are in {options.output}")


if __name__ == "__main__":
    main()
