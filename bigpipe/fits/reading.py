"""CCD images from FITS files: physical values, unit, mask, uncertainty, WCS.

Owns the handling of files with faults. `bigpipe.fits.files` opens files; `bigpipe.fits.headers`
interprets the headers of a camera's frames.
"""

from __future__ import annotations

import math
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.nddata import (
    CCDData,
    InverseVariance,
    NDUncertainty,
    StdDevUncertainty,
    VarianceUncertainty,
)
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import DTypeLike, NDArray

from bigpipe.errors import BigpipeWarning
from bigpipe.fits.files import MASK_NAME, UNCERTAINTY_NAME, header_of, image_hdus, opened
from bigpipe.fits.units import unit_of

__all__ = ["ALL_HDUS", "Tell", "collected_warnings", "read_ccd"]

ALL_HDUS = "all"
"""Value of ``hdu``: every image of the file."""

SIGN_64 = 2**63
"""``BZERO`` of unsigned integers of 64 bits."""

Tell = Callable[[str, type[Warning]], None]

_STORAGE_CARDS = ("BZERO", "BSCALE", "BLANK", "CHECKSUM", "DATASUM")
_UNCERTAINTIES: dict[str, type[NDUncertainty]] = {
    "StdDevUncertainty": StdDevUncertainty,
    "VarianceUncertainty": VarianceUncertainty,
    "InverseVariance": InverseVariance,
}
# The kind of uncertainty in an extension of this name, if no card says it.
_BY_NAME = {"VAR": VarianceUncertainty, "VARIANCE": VarianceUncertainty, "IVAR": InverseVariance}
# Cards that `WCS.to_header` writes too, but that are also useful without a WCS.
_KEPT_WITH_WCS = ("RADESYS", "EQUINOX", "DATE-OBS", "MJD-OBS", "DATE-AVG", "MJD-AVG")
_LINEAR = re.compile(r"(CD|PC)\d+_\d+|(AP?|BP?)_\d+_\d+|CDELT\d+|CROTA\d+")
_NUMBERS = re.compile(r"\d[\d.:T-]*")
_HEADLINES = ("Verification reported errors", "Note: astropy.io.fits", "HDU ")

_catching = threading.RLock()  # `warnings.catch_warnings` changes state that all threads share


def warn(text: str, category: type[Warning]) -> None:
    """Show a warning."""
    warnings.warn(text, category, stacklevel=2)


def read_ccd(
    path: str | os.PathLike[str],
    *,
    ccddata_cls: type[CCDData] = CCDData,
    hdu: int | str | tuple[str, int] | None = None,
    unit: Any = None,
    fallback_unit: Any = None,
    dtype: DTypeLike | None = None,
    hdu_mask: str | None = MASK_NAME,
    hdu_uncertainty: str | None = UNCERTAINTY_NAME,
    key_uncertainty_type: str = "UTYPE",
    tell: Tell = warn,
) -> Any:
    """Read an image, or all images, of a FITS file.

    Parameters
    ----------
    path : str or os.PathLike
        The file. It may be compressed, by tiles or as a whole.
    ccddata_cls : type, optional
        Class of the result: `astropy.nddata.CCDData` or a subclass.
    hdu : int, str or tuple, optional
        Number or ``EXTNAME`` of the image. ``None``: the first that has pixels. ``'all'``: all.
    unit : unit or str, optional
        Unit of the values; overrides the header.
    fallback_unit : unit or str, optional
        Unit if ``BUNIT`` is missing or is not a known unit.
    dtype : dtype, optional
        Type of the values. ``None``: single precision for integers of 8 or 16 bits, double
        precision for longer ones; floating point stays as it is.
    hdu_mask, hdu_uncertainty : str or None, optional
        Name of the extension with the mask or uncertainty. ``None``: it is not read. For an image
        named ``SCI``, the extensions may also be called ``SCI_MASK`` and ``SCI_UNCERT``. If
        several have the same name, the one with the ``EXTVER`` of the image is read.
    key_uncertainty_type : str, optional
        Card in the uncertainty's extension that names its class. Without the card, ``VAR`` is a
        variance, ``IVAR`` an inverse variance, and any other name a standard deviation.
    tell : callable, optional
        Called with the text and class of each warning.

    Returns
    -------
    CCDData or list of CCDData
        A list for ``hdu='all'``. Headers include the cards of the primary HDU.

    Raises
    ------
    ValueError
        If it is not a FITS file, is cut short, has no such image, or its unit is unknown.
    OSError
        If it cannot be opened.
    """
    name = os.fspath(path)
    notes: list[tuple[str, type[Warning]]] = []

    def note(text: str, category: type[Warning]) -> None:
        notes.append((text, category))

    ccds = []
    with ExitStack() as stack:
        with collected_warnings(name, note), _damage_told(name):
            hdus = stack.enter_context(opened(path, **_AS_STORED))
            images = _chosen(hdus, hdu, {hdu_mask, hdu_uncertainty}, name)
            headers = [
                _header_unit_wcs(hdus, image, name, unit, fallback_unit, note) for image in images
            ]
        for each in notes:
            tell(*each)
        for image, (header, own_unit, wcs) in zip(images, headers, strict=True):
            values, blank = _values(image, dtype, name)
            mask = _joined(_mask(hdus, image, hdu_mask, name), blank)
            ccd = CCDData(values, unit=own_unit, meta=header, wcs=wcs, mask=mask)
            uncertainty = _companion(hdus, image, hdu_uncertainty)
            if uncertainty is not None:
                ccd.uncertainty = _uncertainty(uncertainty, key_uncertainty_type, name)
            ccds.append(ccd if ccddata_cls is CCDData else ccddata_cls(ccd))
    return ccds if hdu == ALL_HDUS else ccds[0]


_AS_STORED = {"memmap": False, "do_not_scale_image_data": True, "character_as_bytes": False}


def _chosen(hdus: fits.HDUList, hdu: Any, special: set[str | None], path: str) -> list[Any]:
    if hdu is not None and hdu != ALL_HDUS:
        try:
            chosen = hdus[hdu]
        except (KeyError, IndexError) as error:
            raise ValueError(
                f"{path}: there is no HDU {hdu!r}. {_contents(hdus)} Give one of these as hdu."
            ) from error
        if not any(chosen is each for _, each in image_hdus(hdus)):
            raise ValueError(
                f"{path}: HDU {hdu!r} has no image. {_contents(hdus)} Give another hdu."
            )
        return [chosen]
    images = [image for _, image in image_hdus(hdus) if not _is_companion(image.name, special)]
    if not images:
        raise ValueError(
            f"{path}: there is no image in this file. {_contents(hdus)} Leave this file out."
        )
    return images if hdu == ALL_HDUS else images[:1]


def _is_companion(name: str, special: set[str | None]) -> bool:
    return any(name == each or name.endswith(f"_{each}") for each in special if each)


def _contents(hdus: fits.HDUList) -> str:
    def described(number: int, hdu: Any) -> str:
        shape = " x ".join(map(str, hdu.shape)) if hdu.is_image and hdu.shape else "no image"
        return f"{number} {hdu.name or 'without name'} ({shape})"

    return f"It has {', '.join(described(i, hdu) for i, hdu in enumerate(hdus))}."


def _header_unit_wcs(
    hdus: fits.HDUList, image: Any, path: str, unit: Any, fallback_unit: Any, tell: Tell
) -> tuple[fits.Header, Any, WCS | None]:
    header = _readable(header_of(hdus, image), path, tell)
    for keyword in _STORAGE_CARDS:
        header.remove(keyword, ignore_missing=True, remove_all=True)
    if header.get("EXTNAME") in ("COMPRESSED_IMAGE", "PRIMARY"):
        del header["EXTNAME"]
    if unit is None:  # but not if it is '', astropy's dimensionless unit
        unit = _unit(header, fallback_unit, path, tell)
    header, wcs = _with_wcs(header, path, tell)
    return header, unit, wcs


def _values(
    image: Any, dtype: DTypeLike | None, path: str
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    """Return the physical values, and which of them are ``BLANK``."""
    scale, zero = (_number(image.header, key, path) for key in ("BSCALE", "BZERO"))
    blank = image.header.get("BLANK") if image.header["BITPIX"] > 0 else None
    with _damage_told(path):
        stored = image.data
    is_blank = stored == blank if blank is not None else None
    if is_blank is not None and not is_blank.any():
        is_blank = None
    wanted = np.dtype(dtype) if dtype is not None else _type_for(stored.dtype)
    if wanted.kind in "iu":
        return _integers(stored, scale, zero, wanted, path), is_blank
    if scale == 1 and zero == SIGN_64 and stored.dtype.kind == "i":
        values = _as_unsigned(stored).astype(wanted)
    else:
        # Small unsigned values would all become 0 if they were rounded before the shift.
        is_exact = scale == 1 and (zero == 0 or np.can_cast(stored.dtype, wanted))
        values = stored.astype(wanted if is_exact else np.float64)
        if scale != 1:
            values *= scale
        if zero != 0:
            values += values.dtype.type(zero)
        values = values.astype(wanted, copy=False)
    if is_blank is not None:
        values[is_blank] = np.nan
    return values, is_blank


def _number(header: fits.Header, keyword: str, path: str) -> float:
    """Return ``BSCALE`` or ``BZERO``, which have defaults."""
    value = header.get(keyword, 1 if keyword == "BSCALE" else 0)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{path}: {keyword} = {value!r} is not a number: correct the header")
    return value


@contextmanager
def _damage_told(path: str) -> Iterator[None]:
    """Name the file in errors about a damaged file."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # astropy, zlib and numpy raise many classes
        if getattr(error, "filename", None) is not None or path in str(error):
            raise  # it names the file already, as errors of this package do
        raise ValueError(
            f"{path}: it cannot be read ({type(error).__name__}: {error}). The file may be cut "
            "short or damaged: copy it again, or leave it out."
        ) from error


def _type_for(stored: np.dtype[Any]) -> np.dtype[Any]:
    if stored.kind == "f":
        return stored.newbyteorder("=")
    return np.dtype(np.float32 if stored.itemsize <= 2 else np.float64)


def _integers(
    stored: NDArray[Any], scale: float, zero: float, wanted: np.dtype[Any], path: str
) -> NDArray[Any]:
    if scale != 1 or zero != int(zero) or stored.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: its values are not integers (BSCALE={scale}, BZERO={zero}), so they cannot "
            f"be read as dtype={wanted}: give a floating-point dtype"
        )
    shift = int(zero)
    limits, low, high = np.iinfo(wanted), int(stored.min()) + shift, int(stored.max()) + shift
    if low < limits.min or high > limits.max:
        raise ValueError(
            f"{path}: values from {low} to {high} do not fit dtype={wanted}: give a larger dtype, "
            "or none, for floating point"
        )
    if shift == SIGN_64:
        return _as_unsigned(stored).astype(wanted)
    return (stored.astype(np.int64) + shift).astype(wanted)


def _as_unsigned(stored: NDArray[Any]) -> NDArray[np.uint64]:
    """Add ``SIGN_64``, which no signed type can hold, by flipping the sign bit."""
    return stored.astype(np.uint64) ^ np.uint64(SIGN_64)


def _unit(header: fits.Header, fallback_unit: Any, path: str, tell: Tell) -> Any:
    text = str(header.get("BUNIT", "")).strip()
    unit = unit_of(text) if text else None
    if unit is not None:
        return unit
    what = f"BUNIT = {text!r} is not a known unit" if text else "it has no BUNIT"
    if fallback_unit is None:
        raise ValueError(f"{path}: {what}. Give fallback_unit, such as fallback_unit='adu'.")
    if text:
        tell(f"{what}; it is taken as {fallback_unit}", BigpipeWarning)
    return fallback_unit


def _readable(header: fits.Header, path: str, tell: Tell) -> fits.Header:
    """Read cards that cannot be parsed as text, and warn which ones."""
    for number in reversed(range(len(header))):
        card = header.cards[number]
        try:
            _ = card.value, card.comment
        except (fits.VerifyError, ValueError):
            card.verify("silentfix")
            tell(
                f"{path}: the card {card.keyword} violates the FITS standard; it is read as the "
                f"text {card.value!r}",
                BigpipeWarning,
            )
    return header


def _with_wcs(header: fits.Header, path: str, tell: Tell) -> tuple[fits.Header, WCS | None]:
    """Split a header into the WCS and the rest, as `CCDData` needs them."""
    if not str(header.get("CTYPE1", "")).strip():
        return header, None
    try:
        wcs = WCS(header)
        written = wcs.to_header(relax=True)
    except Exception as error:  # wcslib raises many classes
        reason = " ".join(str(error).split("\n")[:2])
        tell(
            f"{path}: its WCS cannot be used; its cards stay in the header: {reason}",
            BigpipeWarning,
        )
        return header, None
    for keyword in written:
        if keyword not in _KEPT_WITH_WCS:
            header.remove(keyword, ignore_missing=True)
    # On writing, the matrix becomes PCi_j whatever its form was, and distortions are rewritten.
    for keyword in [each for each in header if _LINEAR.fullmatch(each)]:
        header.remove(keyword, ignore_missing=True)
    return header, wcs


def _companion(hdus: fits.HDUList, image: Any, name: str | None) -> Any:
    """Return the extension of this name that belongs to an image; ``None`` if there is none."""
    if name is None:
        return None
    candidates: list[Any] = []
    for each in (f"{image.name}_{name}", name):
        candidates.append((each, image.ver))
        if sum(hdu.name == image.name for hdu in hdus) == 1:  # otherwise EXTVER must match
            candidates.append(each)
    for candidate in candidates:
        if candidate in hdus and hdus[candidate] is not image:
            companion = hdus[candidate]
            if companion.is_image and companion.shape == image.shape:
                return companion
    return None


def _mask(hdus: fits.HDUList, image: Any, name: str | None, path: str) -> NDArray[np.bool_] | None:
    companion = _companion(hdus, image, name)
    if companion is None:
        return None
    with _damage_told(path):
        mask: NDArray[np.bool_] = companion.data.astype(bool)
    return mask


def _joined(first: Any, second: Any) -> Any:
    return first if second is None else second if first is None else first | second


def _uncertainty(companion: Any, key: str, path: str) -> NDUncertainty:
    default = _BY_NAME.get(companion.name.rpartition("_")[2], StdDevUncertainty)
    cls = _UNCERTAINTIES.get(str(companion.header.get(key, "")), default)
    values, _ = _values(companion, None, path)
    return cls(values)


@contextmanager
def collected_warnings(path: str, note: Tell) -> Iterator[None]:
    """Collect astropy's warnings while a file is read, and add the file's name where it matters.

    Parameters
    ----------
    path : str
        The file.
    note : callable
        Called with the text and class of each warning. The text about a correction of a WCS has
        no file name or number, so it is the same for all files.
    """
    with _catching:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        # The caller's filters are back. HDUs are searched several times: keep one of each warning.
        for each in {str(each.message): each for each in caught}.values():
            text = str(each.message).strip()
            if issubclass(each.category, FITSFixedWarning):
                note(f"WCS of at least one file: {_NUMBERS.sub('...', text)}", each.category)
            elif issubclass(each.category, fits.verify.VerifyWarning):
                if not text.startswith(_HEADLINES):
                    note(f"{path}: {text}", each.category)
            else:
                note(text if path in text else f"{path}: {text}", each.category)
