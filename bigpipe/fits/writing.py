"""CCD images into FITS files: precision, compression, extensions.

Owns the HDUs that are written. `bigpipe.outputs` decides under which name they appear, and when;
`bigpipe.fits.provenance` records their origin.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from numpy.typing import DTypeLike, NDArray

from bigpipe.fits.files import MASK_NAME, UNCERTAINTY_NAME

__all__ = ["as_single", "hdus_of", "write_ccd"]

STEPS = 65534  # between the smallest and the largest 16-bit integer that stand for a value
BLANK = -32768  # the integer that stands for no value
LOSSLESS = "GZIP_2"  # the tile compression that keeps floating point exactly
_ERROR_CARD = "SCALERR"
_STRUCTURE = ("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "EXTEND", "PCOUNT", "GCOUNT", "EXTNAME")


def as_single(ccd: Any, as_single_datatype: DTypeLike | None = None, **kwargs: Any) -> Any:
    """Convert the values and uncertainties of images to single precision.

    Use it in `BigMultiPipe.post_process_list`.

    Parameters
    ----------
    ccd : CCDData or list of CCDData
        The image or images; not changed.
    as_single_datatype : dtype, optional
        Another type to convert to.
    **kwargs
        Not used.

    Returns
    -------
    CCDData or list of CCDData
        The converted image or images. They share arrays that already have the type.
    """
    if isinstance(ccd, list):
        return [as_single(each, as_single_datatype) for each in ccd]
    wanted = np.dtype(np.float32 if as_single_datatype is None else as_single_datatype)
    result = type(ccd)(ccd, copy=False)
    result.data = np.asarray(ccd.data).astype(wanted, copy=False)
    if ccd.uncertainty is not None:
        uncertainty = ccd.uncertainty
        array = np.asarray(uncertainty.array).astype(wanted, copy=False)
        result.uncertainty = type(uncertainty)(array, unit=uncertainty.unit, copy=False)
    return result


def write_ccd(
    data: CCDData | Sequence[CCDData],
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    as_scaled_int: bool = False,
    bscale: float | None = None,
    bzero: float | None = None,
    max_scale_error: float | None = None,
    compression: str | bool | None = None,
    quantize_level: float = 16.0,
    hdu_mask: str | None = MASK_NAME,
    hdu_uncertainty: str | None = UNCERTAINTY_NAME,
    checksum: bool = False,
    annotate: Callable[[fits.Header], None] | None = None,
) -> None:
    """Write an image, or several into one file.

    Parameters
    ----------
    data : CCDData or sequence of CCDData
        Several images are written as extensions; cards that all of them share go into the
        primary HDU.
    path : str or os.PathLike
        The file to write. The ending ``.gz`` compresses the file, ``.fz`` its images, as does
        ``compression=True``.
    overwrite : bool, optional
        Replace an existing file.
    as_scaled_int : bool, optional
        Store floating point as 16-bit integers, evenly spaced from the smallest to the largest
        value, or according to `bscale` and `bzero`. The card ``SCALERR`` gives the largest
        error.
    bscale, bzero : float, optional
        A value is ``bscale`` times the integer plus ``bzero``. For the image, not for its
        uncertainty.
    max_scale_error : float, optional
        Raise an error if scaling would change a value by more than this, in the image's unit.
    compression : str or bool, optional
        Compress by tiles, with an algorithm of FITS such as ``'RICE_1'``. ``True``: lossless.
    quantize_level : float, optional
        For lossy compression of floating point: steps per standard deviation of the noise.
    hdu_mask, hdu_uncertainty : str or None, optional
        Name of the extension; ``None``: not written.
    checksum : bool, optional
        Write ``CHECKSUM`` and ``DATASUM``.
    annotate : callable, optional
        Called with the primary header, to add cards to it.

    Raises
    ------
    OSError
        If the file exists and `overwrite` is false, or it cannot be written.
    ValueError
        If the values do not fit into 16-bit integers within the given limits.
    """
    name = os.fspath(path)
    if os.path.exists(name) and not overwrite:
        raise FileExistsError(
            f"{name} already exists: give overwrite=True to replace it, or another outdir or "
            "outname_append"
        )
    if compression is None and name.lower().endswith(".fz"):
        compression = True
    hdus = hdus_of(data, hdu_mask, hdu_uncertainty)
    if annotate is not None:
        annotate(hdus[0].header)
    if as_scaled_int:
        for hdu in hdus:
            is_image = not hdu.name.endswith(hdu_uncertainty or "\0")
            scaling = (bscale, bzero, max_scale_error) if is_image else (None, None, None)
            _scale(hdu, *scaling, name)
    if compression:
        hdus = _compressed(hdus, LOSSLESS if compression is True else compression, quantize_level)
    hdus.writeto(name, overwrite=overwrite, checksum=checksum, output_verify="silentfix+warn")


def hdus_of(
    data: CCDData | Sequence[CCDData],
    hdu_mask: str | None = MASK_NAME,
    hdu_uncertainty: str | None = UNCERTAINTY_NAME,
) -> fits.HDUList:
    """Return the HDUs of a file with one or several images.

    Parameters
    ----------
    data : CCDData or sequence of CCDData
        The images.
    hdu_mask, hdu_uncertainty : str or None, optional
        Names of their extensions. With several images, the image's name and ``_`` precede them.

    Returns
    -------
    astropy.io.fits.HDUList
        The HDUs. A single image is the primary HDU.
    """
    if isinstance(data, CCDData):
        hdus = data.to_hdu(hdu_mask=hdu_mask, hdu_uncertainty=hdu_uncertainty)
        if not data.unit.to_string():
            hdus[0].header.remove("BUNIT", ignore_missing=True)
        return hdus
    if not data:
        raise ValueError("there is no image to write, as the list is empty: return None instead")
    names = _distinct_names(data)
    hdus = fits.HDUList([fits.PrimaryHDU()])
    for ccd, name in zip(data, names, strict=True):
        parts = hdus_of(ccd, f"{name}_{hdu_mask}", f"{name}_{hdu_uncertainty}")
        hdus.append(fits.ImageHDU(parts[0].data, parts[0].header, name=name))
        hdus.extend(
            part
            for part in parts[1:]
            if (hdu_mask and part.name.endswith(hdu_mask))
            or (hdu_uncertainty and part.name.endswith(hdu_uncertainty))
        )
    _share_cards(hdus[0].header, [hdus[name].header for name in names])
    return hdus


def _distinct_names(ccds: Sequence[CCDData]) -> list[str]:
    names: list[str] = []
    for number, ccd in enumerate(ccds, start=1):
        name = str(ccd.header.get("EXTNAME", "")).strip().upper() or f"IMAGE{number}"
        names.append(f"{name}_{number}" if name in names else name)
    return names


def _share_cards(primary: fits.Header, headers: list[fits.Header]) -> None:
    """Move the cards that are equal in all headers into the primary one."""
    first, *others = headers
    keywords = [key for key in dict.fromkeys(first) if key and not key.startswith(_STRUCTURE)]
    for keyword in keywords:
        cards = [tuple(card) for card in first.cards if card.keyword == keyword]
        if all(
            cards == [tuple(card) for card in other.cards if card.keyword == keyword]
            for other in others
        ):
            if keyword == "BUNIT":  # readers look for the unit beside the values
                continue
            primary.extend(cards, strip=False, end=True)
            for header in headers:
                header.remove(keyword, remove_all=True)


def _scale(
    hdu: Any, bscale: float | None, bzero: float | None, max_error: float | None, path: str
) -> None:
    """Convert an HDU's values to 16-bit integers."""
    values = hdu.data
    if values is None or values.dtype.kind != "f":
        return
    is_value = np.isfinite(values)
    low, high = _range(values, is_value)
    if bscale is None:
        bscale = (high - low) / STEPS or 1.0
    if bzero is None:
        bzero = low + bscale * (STEPS // 2)
    # Half a step, and the rounding error of readers that compute in single precision.
    largest = max(abs(x) for x in (low, high, bzero, low - bzero, high - bzero))
    error = abs(bscale) / 2 + 1.5 * float(np.spacing(np.float32(largest)))
    if max_error is not None and error > max_error:
        raise ValueError(
            f"{path}: values from {low:g} to {high:g} stored as 16-bit integers have errors up to "
            f"{error:g}, more than max_scale_error={max_error:g}: clip the values first, or write "
            "single precision (as_single)"
        )
    stored = np.rint((values.astype(np.float64) - bzero) / bscale)
    n_outside = int(np.count_nonzero((np.abs(stored) > STEPS // 2) & is_value))
    if n_outside:
        raise ValueError(
            f"{path}: {n_outside} of the values from {low:g} to {high:g} lie outside what 16-bit "
            f"integers hold with bscale={bscale:g}, bzero={bzero:g}: leave bscale and bzero out, "
            "or clip the values"
        )
    stored[~is_value] = BLANK
    hdu.data = stored.astype(np.int16)
    hdu.header["BSCALE"] = bscale
    hdu.header["BZERO"] = bzero
    if not is_value.all():
        hdu.header["BLANK"] = BLANK
    hdu.header[_ERROR_CARD] = (error, "largest error by storing 16-bit integers")


def _range(values: NDArray[Any], is_value: NDArray[np.bool_]) -> tuple[float, float]:
    if not is_value.any():
        return 0.0, 0.0
    return (
        float(values.min(where=is_value, initial=np.inf)),
        float(values.max(where=is_value, initial=-np.inf)),
    )


def _compressed(hdus: fits.HDUList, algorithm: str, level: float) -> fits.HDUList:
    result = fits.HDUList([fits.PrimaryHDU()])
    for hdu in hdus:
        if hdu.data is None:
            result[0].header.extend(hdu.header, strip=True)
            continue
        # For astropy, level 0 means lossless; integers are never quantized.
        steps = 0.0 if algorithm == LOSSLESS else level
        header = hdu.header.copy()
        scaling = [(key, header.pop(key)) for key in ("BSCALE", "BZERO", "BLANK") if key in header]
        is_unsigned = hdu.data.dtype.kind == "u"  # astropy sets BZERO from the type
        image = fits.CompImageHDU(
            hdu.data, header, compression_type=algorithm, quantize_level=steps
        )
        if not is_unsigned:  # given to CompImageHDU in the header, they would be dropped
            image.header.update(scaling)
        result.append(image)
    return result
