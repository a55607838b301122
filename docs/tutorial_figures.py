"""Draw the figures of tutorial.rst from the frames that it reduces.

In a clone, with the folder of frames::

    PYTHONPATH=. python docs/tutorial_figures.py [FOLDER] [--output FOLDER]
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
from astropy.io import fits
from PIL import Image

mpl.use("agg")

import matplotlib.pyplot as plt

from bigpipe.fits import read_ccd

DOCS = Path(__file__).resolve().parent
STAR_ROWS = slice(166, 186)  # of the science target, along its whole length
SKY_ROWS = [*range(130, 160), *range(192, 222)]
COSMIC = (slice(20, 60), slice(1330, 1410))  # rows and columns around a long trail
LEVELS = 48  # of brightness that are drawn, so that noise does not fill the files
COLORS = 128  # of a file: the levels, and those at the edges of letters

COLOR_MAP = plt.get_cmap("viridis", LEVELS)
plt.rcParams |= {"font.size": 8, "image.origin": "lower", "figure.constrained_layout.use": True}
plt.rcParams |= {"image.interpolation_stage": "data"}


def example() -> ModuleType:
    """Return the script that the tutorial shows, imported."""
    path = DOCS.parent / "examples" / "kast_reduction.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = example()


def show(axes: Any, image: Any, title: str, low: float, high: float, **options: Any) -> None:
    """Draw a frame with a bar of its levels."""
    aspect = options.pop("aspect", "auto")
    drawn = axes.imshow(image, vmin=low, vmax=high, aspect=aspect, cmap=COLOR_MAP, **options)
    axes.set_title(title, loc="left")
    axes.figure.colorbar(drawn, ax=axes, pad=0.01)


def draw_raw(folder: Path, _: Path) -> Any:
    """Draw a bias, a flat and the science frame as they come from the camera."""
    figure, axes = plt.subplots(3, figsize=(8, 5.2), sharex=True)
    frames = {"b21": "bias", "b11": "dome flat, 15 s", "b27": "J1217p3905, 1200 s"}
    limits = [(935, 985), (900, 36000), (930, 1040)]
    for axis, (name, what), (low, high) in zip(axes, frames.items(), limits, strict=True):
        image = fits.getdata(folder / f"{name}.fits.gz")
        show(axis, image, f"{name}.fits.gz: {what} (adu)", low, high)
    return figure


def draw_masters(_: Path, output: Path) -> Any:
    """Draw the master bias, and the flat with its lamp taken out."""
    figure, axes = plt.subplots(2, figsize=(8, 3.8), sharex=True)
    show(axes[0], fits.getdata(output / "bias-350x2048.fits"), "master bias (adu)", -2, 4)
    response = SCRIPT.pixel_response(read_ccd(output / "flat-350x2048.fits"))
    show(axes[1], response.data, "pixel response", 0.93, 1.07)
    return figure


def draw_reduced(folder: Path, output: Path) -> Any:
    """Draw the science frame and a cosmic ray, before and after."""
    raw = fits.getdata(folder / "b27.fits.gz").astype(float)
    reduced = fits.getdata(output / "b27_red.fits")
    figure = plt.figure(figsize=(8, 5.2))
    axes = figure.subplot_mosaic("aa;bb;cd", height_ratios=[1, 1, 1.2])
    show(axes["a"], raw, "raw (adu)", 930, 1040)
    show(axes["b"], reduced, "reduced (adu)", -3, 70)
    rows, columns = COSMIC
    box = {"extent": (columns.start, columns.stop, rows.start, rows.stop), "aspect": "equal"}
    show(axes["c"], raw[COSMIC] - np.median(raw[COSMIC]), "raw, less its median", -15, 60, **box)
    difference = reduced[COSMIC] - np.median(reduced[COSMIC])
    show(axes["d"], difference, "reduced, less its median", -15, 60, **box)
    return figure


def spectrum_of(image: Any) -> Any:
    """Add up the rows of the target, less the sky beside it."""
    sky = np.median(image[SKY_ROWS], axis=0)
    return (image[STAR_ROWS] - sky).sum(axis=0)


def draw_spectra(folder: Path, output: Path) -> Any:
    """Draw rough spectra of the target and of the arc lamps, raw and reduced."""
    figure, (above, middle, below) = plt.subplots(3, figsize=(8, 6), sharex=True)
    raw = fits.getdata(folder / "b27.fits.gz").astype(float)
    with fits.open(output / "b27_red.fits") as hdus:
        reduced, noise = hdus[0].data, hdus["UNCERT"].data
    above.plot(raw[STAR_ROWS, :2048].sum(axis=0), lw=0.6, color="C3")
    above.set_title("J1217p3905: 20 raw rows added up (adu)", loc="left")
    spectrum = spectrum_of(reduced)
    error = np.sqrt((noise[STAR_ROWS] ** 2).sum(axis=0))
    middle.fill_between(
        np.arange(2048), spectrum - error, spectrum + error, color="0.8", label="uncertainty"
    )
    middle.plot(spectrum, lw=0.6, color="C0", label="signal")
    middle.set_ylim(-100, np.percentile(spectrum, 99.8) * 1.2)
    middle.set_title("the same rows reduced, less the sky beside them (adu)", loc="left")
    middle.legend(loc="upper left", frameon=False)
    arc = fits.getdata(output / "b1_red.fits")
    below.plot(np.median(arc[STAR_ROWS], axis=0), lw=0.6, color="C2")
    below.set(yscale="log", ylim=(3, None), xlim=(0, 2048), xlabel="column")
    below.set_title("arc lamps, reduced (adu)", loc="left")
    return figure


FIGURES = {
    "raw": draw_raw,
    "masters": draw_masters,
    "reduced": draw_reduced,
    "spectra": draw_spectra,
}


def main() -> None:
    """Reduce the frames in a temporary folder, and draw."""
    parser = argparse.ArgumentParser(description="Draw the figures of the tutorial.")
    parser.add_argument("folder", nargs="?", type=Path, default=SCRIPT.DATA, help="of the frames")
    parser.add_argument("--output", type=Path, default=DOCS / "tutorial", help="of the figures")
    options = parser.parse_args()
    options.output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        reduced = Path(folder) / "reduced"
        SCRIPT.reduce_night(options.folder, reduced)
        for name, draw in FIGURES.items():
            figure = draw(options.folder, reduced)
            path = options.output / f"{name}.png"
            figure.savefig(path, dpi=110)
            plt.close(figure)
            Image.open(path).convert("RGB").quantize(COLORS).save(path, optimize=True)
            print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
