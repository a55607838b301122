"""CCD frames in memory and in FITS files: values, mask, variance and header kept together.

Owns reading and writing. `bigpipe.fits.headers` interprets headers; `bigpipe.demo.steps` processes
frames.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from bigpipe.demo.statistics import Image, Mask
from bigpipe.fits.files import first_plane, header_of, opened

__all__ = [
    "Bad",
    "Frame",
    "read_frame",
    "read_reduced",
    "write_frame",
]

# Cards about how the raw image was stored, or about parts that the reduced image lacks.
_RAW_CARDS = (
    "BZERO",
    "BSCALE",
    "BLANK",
    "CHECKSUM",
    "DATASUM",
    "EXTEND",
    "EXTNAME",
    "EXTVER",
    "INHERIT",
    "DATASEC",
    "TRIMSEC",
    "BIASSEC",
    "COVER",
    "AMPSROW",
    "PEDESTAL",
    "GAIN",
    "EGAIN",
    "BUNIT",
    "SATURATE",
    "SATLEVEL",
)


class Bad(IntFlag):
    """Why a pixel's value is not to be trusted: the bits of a mask."""

    SATURATED = 1
    COSMIC_RAY = 2
    UNUSABLE = 4
    """Not a number, or outside what the flat field covers."""


@dataclass
class Frame:
    """One image on its way through the steps, which change it in place."""

    name: str
    """Base name of the file it came from."""
    data: Image
    """Values, (ny, nx), in adu until the gain is applied, then in electrons."""
    header: fits.Header
    """The image's header, with that of the primary HDU if the image is in an extension."""
    mask: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint8))
    """Bits of `Bad` for each pixel."""
    variance: Image | None = None
    """Square of the uncertainty known so far, in electrons squared."""
    shared_variance: Any = 0.0
    """The part of the variance that comes from master frames. All frames reduced with the same
    masters share it, so averaging does not lower it. Electrons squared, (ny, nx) or a number."""
    read_noise: float | None = None
    """In electrons, as measured or from the header; ``None`` while unknown."""
    unit: str = "adu"
    """``'adu'``, ``'electron'`` once the gain is applied, ``''`` for a flat field."""
    steps: list[str] = field(default_factory=list)
    """The steps done so far, in order, one word each."""

    def __post_init__(self) -> None:
        if self.mask.shape != self.data.shape:
            self.mask = np.zeros(self.data.shape, dtype=np.uint8)

    def mark(self, where: Mask, why: Bad) -> None:
        """Mark pixels as bad."""
        self.mask[where] |= np.uint8(why)

    def marked(self, why: Bad) -> Mask:
        """Return which pixels are marked as bad for any of these reasons."""
        return np.asarray((self.mask & np.uint8(why)) != 0)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.data.shape[0], self.data.shape[1]


def read_frame(path: str | os.PathLike[str]) -> Frame:
    """Read the first image of a FITS file.

    Returns
    -------
    Frame
        The image as it is in the file.

    Raises
    ------
    ValueError
        If it is not a FITS file, has no two-dimensional image, or is cut short.
    """
    with opened(path, memmap=False) as hdus:
        hdu = first_plane(hdus, path)
        header = header_of(hdus, hdu)  # before the data: reading them drops BZERO
        try:
            data = np.squeeze(hdu.data).astype(np.float32)
        except (OSError, TypeError, ValueError) as error:  # what astropy raises for cut files
            raise ValueError(
                f"{os.fspath(path)}: the image cannot be read ({error}). The file may be cut "
                "short: copy it again."
            ) from error
    return Frame(os.path.basename(os.fspath(path)), data, header)


def write_frame(frame: Frame, path: str | os.PathLike[str]) -> None:
    """Write values, mask and uncertainty so that `astropy.nddata.CCDData.read` finds all three.

    Parameters
    ----------
    frame : Frame
        The frame. The bits of its mask go to the extension ``MASK``: see `Bad`.
    path : str or os.PathLike
        The file to write.
    """
    header = frame.header.copy(strip=True)
    for keyword in _RAW_CARDS:
        header.remove(keyword, ignore_missing=True, remove_all=True)
    header["BUNIT"] = frame.unit
    header["STEPS"] = " ".join(frame.steps)
    if frame.read_noise is not None:
        header["RDNOISE"] = (round(frame.read_noise, 3), "electron, of one raw frame")
    hdus = fits.HDUList([fits.PrimaryHDU(frame.data, header), _mask_hdu(frame)])
    if frame.variance is not None:
        uncertainty = fits.ImageHDU(np.sqrt(frame.variance), name="UNCERT")
        uncertainty.header["UTYPE"] = "StdDevUncertainty"
        uncertainty.header["BUNIT"] = header["BUNIT"]
        hdus.append(uncertainty)
    hdus.writeto(path, overwrite=True)


def read_reduced(path: str | os.PathLike[str]) -> Frame:
    """Read what `write_frame` wrote."""
    with fits.open(path, memmap=False) as hdus:
        header = hdus[0].header
        frame = Frame(os.path.basename(os.fspath(path)), hdus[0].data.astype(np.float32), header)
        frame.mask = hdus["MASK"].data.astype(np.uint8)
        if "UNCERT" in hdus:
            frame.variance = hdus["UNCERT"].data.astype(np.float32) ** 2
    frame.read_noise = header.get("RDNOISE")
    frame.unit = header["BUNIT"]
    frame.steps = header["STEPS"].split()
    return frame


def _mask_hdu(frame: Frame) -> fits.ImageHDU:
    hdu = fits.ImageHDU(frame.mask, name="MASK")
    for bit in Bad:
        hdu.header[f"BIT{int(bit).bit_length() - 1}"] = str(bit.name).lower().replace("_", " ")
    return hdu
