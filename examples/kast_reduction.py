"""Reduce a night of Kast spectra: master frames from groups, then every spectrum in parallel.

Shows groups (several files that become one), functions in lists, calibration frames passed as
keywords, and metadata that comes back as a table. The frames are those of the blue camera of the
Kast spectrograph at Lick Observatory: two amplifiers, an overscan of 32 columns for each.

1. The bias frames and the dome flats are two groups, combined at the same time: the overscan of
   each amplifier is subtracted and the frames are trimmed, biases are averaged, flats
   median-combined.
2. Arc, standard star and science go through another subclass: overscan, trim, bias, flat and,
   in long exposures, cosmic rays (L.A.Cosmic, van Dokkum 2001, PASP 113, 1420).

Needs ccdproc and astroscrappy. In a clone of bigpipe: ``python -m pip install '.[ccd]'``. Run it::

    python examples/kast_reduction.py [FOLDER] [--output FOLDER]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.stats import sigma_clipped_stats
from astropy.table import Table

from bigpipe import BigMultiPipe, for_each_member, prune_pout

try:
    import astroscrappy  # noqa: F401  (ccdproc finds the cosmic rays with it)
    import ccdproc
except ImportError as error:
    sys.exit(f"{error.name} is missing. In a clone of bigpipe: python -m pip install '.[ccd]'")

DATA = Path(__file__).resolve().parents[2] / "shared/data/kast_blue"

# Columns of each amplifier's pixels and of its overscan, counted from 0.
AMPLIFIERS = [
    (slice(0, 1024), slice(2048, 2080)),
    (slice(1024, 2048), slice(2080, 2112)),
]

# How the frames of a group are combined, and what the result is called.
MASTERS = {
    "Bias": {"method": "average", "outname": "master_bias.fits"},
    "Dome Flat": {"method": "median", "outname": "master_flat.fits"},
}


def read_frame(name):
    data, header = fits.getdata(name, header=True)
    return CCDData(data.astype(float), meta=header, unit="adu")


def kind(ccd):
    """Return what a frame shows; on this camera only OBJECT tells."""
    return ccd.header["OBJECT"].strip()


class Kast(BigMultiPipe):
    """Read raw frames of the camera, one or a group; write FITS."""

    def file_read(self, in_name, **kwargs):
        if isinstance(in_name, list):
            return super().file_read(in_name, **kwargs)  # calls this method for each member
        return read_frame(in_name)

    def file_write(self, data, outname, **kwargs):
        data.data = data.data.astype(np.float32)
        data.write(outname, overwrite=True)
        return outname


@for_each_member
def subtract_overscan(ccd, **kwargs):
    """Subtract each amplifier's overscan level, note it in the header, cut the overscan off."""
    for number, (pixels, overscan) in enumerate(AMPLIFIERS, start=1):
        level, _, _ = sigma_clipped_stats(ccd.data[:, overscan])
        ccd.data[:, pixels] -= level
        ccd.header[f"OVERSC{number}"] = (round(float(level), 2), "overscan level, adu")
    return ccdproc.trim_image(ccd, fits_section=ccd.header["DATASEC"])


# Step 1: master frames


class Combine(Kast):
    """Combine the frames of each group."""

    def data_process(self, data, method=None, **kwargs):
        return ccdproc.combine(data, method=method, dtype="float32")


def choose_master(ccds, **kwargs):
    """Give this group the keywords of its kind, the name of the output among them."""
    return {"bmp_data": ccds, "bmp_kwargs": MASTERS[kind(ccds[0])]}


def pixel_response(flat, bias):
    """Divide the lamp's spectrum out of the flat: how each pixel differs from its column.

    What differs between columns, the lamp's colour and the amplifiers' gains, is left to the
    standard star. The ends of the slit and what lies beyond cannot be measured and are 1.
    """
    light = flat.data - bias.data
    spectrum = np.median(light, axis=0)
    return CCDData(np.where(light > 0.8 * spectrum, light / spectrum, 1), unit="")


# Step 2: spectra


class Reduce(Kast):
    """Subtract the bias, divide by the flat."""

    def data_process(self, data, bias=None, response=None, **kwargs):
        data = ccdproc.subtract_bias(data, bias)
        return ccdproc.flat_correct(data, response, norm_value=1)

    def outname_create(self, in_name, **kwargs):
        # b27.fits.gz becomes b27_red.fits: its suffix is .fits, and it is not compressed again.
        return super().outname_create(str(in_name).removesuffix(".gz"), **kwargs)


def reject_calibrations(ccd, **kwargs):
    """Let everything through but the frames that the masters were made of."""
    return None if kind(ccd) in MASTERS else ccd


def clean_cosmic_rays(ccd, bmp_meta=None, cosmics_from=0, **kwargs):
    """Replace the pixels that cosmic rays hit, and mask them, if the exposure was long.

    An arc is not searched: its lines are as sharp as cosmic rays. The gain is taken as 1 and the
    read noise is in adu, as this camera's GAIN keyword is only an index.
    """
    if ccd.header["EXPTIME"] >= cosmics_from:
        ccd.data, ccd.mask = ccdproc.cosmicray_lacosmic(ccd.data, sigclip=5, readnoise=4)
        bmp_meta["cosmic"] = int(ccd.mask.sum())
    return ccd


def describe(ccd, bmp_meta=None, **kwargs):
    """Keep the figures of the table."""
    bmp_meta["object"] = kind(ccd)
    bmp_meta["exptime"] = ccd.header["EXPTIME"]
    bmp_meta["overscan1"] = ccd.header["OVERSC1"]
    bmp_meta["overscan2"] = ccd.header["OVERSC2"]
    bmp_meta["median"] = round(float(np.median(ccd.data)), 2)
    bmp_meta["p99.9"] = round(float(np.percentile(ccd.data, 99.9)), 1)
    return ccd


def reduce_night(folder, output):
    """Reduce the frames of a folder; return the table of the spectra."""
    files = sorted(folder.glob("*.fits*"))
    objects = [fits.getval(name, "OBJECT").strip() for name in files]
    groups = [[n for n, what in zip(files, objects, strict=True) if what == k] for k in MASTERS]
    if not all(groups):
        sys.exit(f"{folder} must have frames whose OBJECT is {' and '.join(MASTERS)}.")

    combine = Combine(
        outdir=output,
        create_outdir=True,
        pre_process_list=[choose_master, subtract_overscan],
    )
    masters = combine.pipeline(groups)
    bias, flat = (read_frame(outname) for outname, _ in masters)

    reduce = Reduce(
        outdir=output,
        outname_append="_red",
        pre_process_list=[reject_calibrations, subtract_overscan],
        post_process_list=[clean_cosmic_rays, describe],
        cosmics_from=300,  # seconds
    )
    pout = reduce.pipeline(files, bias=bias, response=pixel_response(flat, bias))

    pout, in_names = prune_pout(pout, files)  # the calibration frames gave no output
    table = Table(rows=[meta for _, meta in pout])
    table.add_column([name.name for name in in_names], name="file", index=0)
    table.add_column([Path(name).name for name, _ in pout], name="output", index=1)
    return table


def main():
    parser = argparse.ArgumentParser(description="Reduce a night of Kast spectra in parallel.")
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("--output", default="kast_reduction-output", help="default: ./%(default)s")
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"There is no {options.folder}, so nothing is done. Name a folder that has frames.")
        sys.exit(0 if options.folder == DATA else 2)
    table = reduce_night(options.folder, options.output)
    table.pprint_all()
    print(f"\nLevels in adu. Spectra and master frames are in {options.output}")


if __name__ == "__main__":
    main()
