"""Find the stars in five frames of Messier 13 in parallel, and combine the results.

This pipeline writes no files (``no_outfile``). It returns metadata: the background of each frame
and a table of its stars. The telescope drifted between the frames, so the script then matches the
tables, in its own process, and averages the fluxes.

It needs scipy and photutils. In a clone of bigpipe, ``python -m pip install '.[ccd]'`` installs
them. Run it::

    python examples/m13_sources.py [FOLDER] [--output FOLDER]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.stats import gaussian_fwhm_to_sigma, sigma_clipped_stats
from astropy.table import Table

from bigpipe import BigMultiPipe, no_outfile, prune_pout

try:
    from photutils.aperture import ApertureStats, CircularAnnulus, CircularAperture
    from scipy import ndimage
    from scipy.spatial import KDTree
except ImportError as error:
    sys.exit(f"{error.name} is missing. In a clone of bigpipe: python -m pip install '.[ccd]'")

DATA = Path(__file__).resolve().parents[2] / "shared/data/m13"
FWHM = 10  # pixels, of the stars, which are slightly out of focus
TOLERANCE = 3  # pixels; two positions closer than this are the same star


class Frames(BigMultiPipe):
    """Read frames, in adu above the pedestal."""

    def file_read(self, in_name, **kwargs):
        image, header = fits.getdata(in_name, header=True)
        return image.astype(float) + header.get("PEDESTAL", 0)


def subtract_background(image, bmp_meta=None, **kwargs):
    _, level, noise = sigma_clipped_stats(image, sigma=3)
    bmp_meta["background"] = float(level)
    bmp_meta["noise"] = float(noise)
    return image - level


def find_stars(image, bmp_meta=None, fwhm=FWHM, threshold=5, **kwargs):
    """Make a table of the objects that are as wide as a star and ``threshold`` sigma high."""
    sigma = fwhm * gaussian_fwhm_to_sigma
    peaks = ndimage.gaussian_filter(image, sigma) - ndimage.gaussian_filter(image, 2 * sigma)
    _, _, noise = sigma_clipped_stats(peaks, sigma=3)
    labels, count = ndimage.label(peaks > threshold * noise)
    if count == 0:
        bmp_meta.clear()
        return None  # reject a frame without stars
    yx = np.array(ndimage.center_of_mass(peaks, labels, range(1, count + 1)))
    bmp_meta["stars"] = Table(yx[:, ::-1], names=["x", "y"])
    return image


def measure_flux(image, bmp_meta=None, fwhm=FWHM, **kwargs):
    """Add the flux of each star, in adu: its aperture minus the background around it."""
    stars = bmp_meta["stars"]
    xy = np.transpose([stars["x"], stars["y"]])
    aperture = CircularAperture(xy, r=0.8 * fwhm)
    around = ApertureStats(image, CircularAnnulus(xy, r_in=1.2 * fwhm, r_out=1.8 * fwhm))
    stars["flux"] = ApertureStats(image, aperture).sum - around.median * aperture.area
    return image


def drift(xy, reference):
    """Return the shift of a frame: the step that most pairs of positions share."""
    steps = (xy[np.newaxis] - reference[:, np.newaxis]).reshape(-1, 2)
    votes = KDTree(steps).query_ball_point(steps, r=TOLERANCE)
    return np.median(steps[max(votes, key=len)], axis=0)


def combine(tables, min_frames=3):
    """Match the stars of all frames with those of the first frame, and average their fluxes.

    Returns a table of the stars found in at least `min_frames` frames, and each frame's drift.
    """
    positions = [np.transpose([table["x"], table["y"]]) for table in tables]
    drifts = np.array([drift(xy, positions[0]) for xy in positions])
    flux = np.full((len(tables), len(tables[0])), np.nan)
    for i, (table, xy) in enumerate(zip(tables, positions, strict=True)):
        distance, nearest = KDTree(xy - drifts[i]).query(positions[0])
        flux[i] = np.where(distance < TOLERANCE, table["flux"][nearest], np.nan)

    stars = tables[0]["x", "y"]
    stars["frames"] = np.isfinite(flux).sum(axis=0)
    stars, flux = stars[stars["frames"] >= min_frames], flux[:, stars["frames"] >= min_frames]
    stars["flux"] = np.nanmean(flux, axis=0)
    stars["flux_err"] = np.nanstd(flux, axis=0, ddof=1) / np.sqrt(stars["frames"])
    stars.sort("flux", reverse=True)
    return stars, drifts


def main():
    parser = argparse.ArgumentParser(description="Find the stars of Messier 13 in parallel.")
    parser.add_argument("folder", nargs="?", type=Path, default=DATA, help="default: %(default)s")
    parser.add_argument("--output", default="m13_sources-output", help="default: ./%(default)s")
    options = parser.parse_args()
    if not options.folder.is_dir():
        print(f"There is no {options.folder}. Give a folder of frames.")
        sys.exit(0 if options.folder == DATA else 2)
    files = sorted(options.folder.glob("*.fits*"))

    pipe = Frames(
        post_process_list=[subtract_background, find_stars, measure_flux, no_outfile],
    )
    pout, in_names = prune_pout(pipe.pipeline(files), files)
    print(f"{len(pout)} of {len(files)} frames in {options.folder} show stars.\n")
    if not pout:
        sys.exit(1)
    stars, drifts = combine([meta["stars"] for _, meta in pout])

    frames = Table(rows=[meta for _, meta in pout])
    frames["stars"] = [len(table) for table in frames["stars"]]
    frames["dx"], frames["dy"] = drifts.T
    frames.add_column([name.name for name in in_names], name="file", index=0)
    for table in (frames, stars):
        for column in table.itercols():
            if column.dtype.kind == "f":
                column.format = ".1f"
    frames.pprint_all()

    output = Path(options.output)
    output.mkdir(parents=True, exist_ok=True)
    stars.write(output / "stars.ecsv", overwrite=True)
    print(f"\n{len(stars)} stars are in at least three frames. The five brightest, in adu:\n")
    stars[:5].pprint_all()
    print(f"\nThe whole table is in {output / 'stars.ecsv'}")


if __name__ == "__main__":
    main()
