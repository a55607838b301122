"""Reduce a night of Kast spectra with bigpipe.fits: sort, combine, calibrate.

Does what kast_reduction.py does by hand, with the ready-made parts: `night` sorts the frames of
the folder by their headers, `CombinePipe` makes the master bias and flat, and `CCDMultiPipe`
takes arc, standard star and science through a list of steps. Each output has mask, uncertainty
where there is one, and cards that say how it came about.

Needs ccdproc and astroscrappy. In a clone of bigpipe: ``python -m pip install '.[ccd]'``. Run it::

    python examples/kast_ccd.py [FOLDER] [--output FOLDER]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table

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

# The camera writes no BUNIT; a level for each amplifier, not for each row.
CAMERA = {"fallback_unit": "adu", "overscan_axis": None, "overwrite": True}


def pixel_response(flat):
    """Divide the lamp's spectrum out of a flat: how each pixel differs from its column.

    The ends of the slit and what lies beyond cannot be measured and are 1.
    """
    spectrum = np.median(flat.data, axis=0)
    lit = flat.data > 0.8 * spectrum
    flat.data = np.where(lit, flat.data / spectrum, 1).astype(np.float32)
    flat.uncertainty, flat.unit = None, u.dimensionless_unscaled
    return flat


def clean_long_exposures(ccd, bmp_meta=None, cosmics_from=300, **kwargs):
    """Clean cosmic rays where there are some; the camera's GAIN is only an index."""
    if ccd.header["EXPTIME"] < cosmics_from:
        return ccd
    options = {"read_noise": 4, "gain": 1, "cosmics_sigclip": 5}
    return remove_cosmic_rays(ccd, bmp_meta=bmp_meta, **options)


def describe(ccd, bmp_meta=None, **kwargs):
    bmp_meta["median"] = round(float(np.median(ccd.data)), 2)
    return ccd


def make_master(groups, steps, output, **keywords):
    """Combine a group of frames; return the master."""
    if not groups:
        sys.exit("The folder must have bias frames and flats.")
    pipe = CombinePipe(outdir=output, create_outdir=True, pre_process_list=steps, **CAMERA)
    [(outname, _)] = pipe.pipeline([groups[0].names], **keywords)
    return read_ccd(outname)


def reduce_night(folder, output):
    """Reduce the frames of a folder; return the table of the spectra."""
    frames = night(folder)
    print(frames, end="\n\n")

    raw = [subtract_overscan, trim]
    bias = make_master(frames.groups("bias"), raw, output)
    calibrated = [*raw, subtract_bias]
    flat = make_master(frames.groups("flat"), calibrated, output, bias=bias, method="median")

    pipe = CCDMultiPipe(
        outdir=output,
        outname_append="_red",
        pre_process_list=[*calibrated, divide_flat],
        post_process_list=[clean_long_exposures, header_to_meta, describe, as_single],
        provenance=True,
        **CAMERA,
    )
    lights = [frame.name for frame in frames.of("light")]
    keywords = {"bias": bias, "flat": pixel_response(flat), "flat_norm_value": 1}
    pout = pipe.pipeline(lights, header_keys=["OBJECT", ("EXPTIME", "s")], **keywords)

    table = Table(rows=[{"n_cosmics": 0, **meta} for _, meta in pout])
    table.add_column([Path(name).name for name in lights], name="file", index=0)
    table.add_column([Path(name).name for name, _ in pout], name="output", index=1)
    return table


def main():
    parser = argparse.ArgumentParser(description="Reduce a night of Kast spectra in parallel.")
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("--output", default="kast_ccd-output", help="default: ./%(default)s")
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"There is no {options.folder}, so nothing is done. Name a folder that has frames.")
        sys.exit(0 if options.folder == DATA else 2)
    table = reduce_night(options.folder, options.output)
    table.pprint_all()
    print(f"\nLevels in adu. Spectra and master frames are in {options.output}")


if __name__ == "__main__":
    main()
