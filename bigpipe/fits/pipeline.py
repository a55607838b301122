"""`CCDMultiPipe`: the hooks of a pipeline of CCD images in FITS files.

Owns the keywords of these hooks and the projected memory of an image. `bigpipe.fits.reading` and
`bigpipe.fits.writing` read and write an image.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import FITSFixedWarning

from bigpipe.fits.files import is_fits_name, stem_of
from bigpipe.fits.layout import Layout, layouts_of
from bigpipe.fits.provenance import note_origin
from bigpipe.fits.reading import ALL_HDUS, collected_warnings, read_ccd
from bigpipe.fits.writing import write_ccd
from bigpipe.options import FUNCTION_LISTS
from bigpipe.pipeline import BigMultiPipe

__all__ = ["OUTNAME_APPEND", "WORKER_BYTES", "CCDMultiPipe"]

OUTNAME_APPEND = "_ccdmp"
BITPIX = 2 * 64 + 8  # bits per pixel: value and uncertainty in double precision, mask
EXPAND_FACTOR = 3.5  # images at a time: copies that steps make, and temporary arrays of one step
WORKER_BYTES = 100_000_000  # a worker with numpy, astropy, ccdproc and no image: measured 75 MB
_READ_KEYWORDS = (
    *("hdu", "unit", "fallback_unit", "dtype", "hdu_mask", "hdu_uncertainty"),
    "key_uncertainty_type",
)
_WRITE_KEYWORDS = (
    *("as_scaled_int", "bscale", "bzero", "max_scale_error", "compression", "quantize_level"),
    *("hdu_mask", "hdu_uncertainty", "checksum"),
)


class CCDMultiPipe(BigMultiPipe):
    """A pipeline of `astropy.nddata.CCDData`, from FITS files to FITS files.

    Parameters
    ----------
    ccddata_cls : type, optional
        The class that the hooks receive: `astropy.nddata.CCDData` or a subclass. If it defines
        its own ``read``, that method reads the files. Also an attribute of the class.
    process_size : int or str, optional
        The most bytes that one file needs. ``None``: projected from each file's header.
    naxis1, naxis2 : int, optional
        Size of the images, to project their memory. ``None``: each file's own size.
    bitpix : int, optional
        Bits per pixel while an image is processed. The default is for value and uncertainty in
        double precision, and a mask.
    process_expand_factor : float, optional
        The most memory that processing takes, in multiples of the image's size.
    outname_append : str, optional
        Text between an input's base name and its extension.
    overwrite : bool, optional
        Replace existing outputs. Otherwise their files fail.
    fits_fixed_ignore : bool, optional
        Do not warn about what was corrected in a WCS. By default, each correction is reported
        once in a run.
    warning_ignore_list : list of type, optional
        Classes of warnings to hide when files are read.
    **kwargs
        Options of `bigpipe.BigMultiPipe` and keywords of the hooks. You may also give these to
        `pipeline`, or add them in a pre-processing function. The hooks here use:

        reading
            ``hdu``, ``unit``, ``fallback_unit``, ``dtype``: see `read_ccd`.
        both
            ``hdu_mask`` and ``hdu_uncertainty``: the names of the extensions. ``None``: the
            extension is neither read nor written.
        naming
            ``outname_ext``: extension of the outputs, such as ``'.fits'`` or ``'.fits.gz'``.
            The default is that of the input, without the ending of a compressed file.
        writing
            ``overwrite``; ``as_scaled_int``, ``bscale``, ``bzero``, ``max_scale_error``;
            ``compression``, ``quantize_level``; ``checksum``: see `write_ccd`.
            ``provenance=True`` records version, functions, keywords and inputs in the header.
            ``ccddata_write=False`` writes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from bigpipe.fits import CCDMultiPipe
    >>> fits.writeto("raw.fits", np.full((3, 4), 1000, dtype=np.uint16))
    >>> class Double(CCDMultiPipe):
    ...     def data_process(self, data, **kwargs):
    ...         return data.multiply(2, handle_meta="first_found")
    >>> Double(fallback_unit="adu").pipeline(["raw.fits"], outdir="out", create_outdir=True)
    [('out/raw_ccdmp.fits', {})]
    >>> CCDMultiPipe().file_read("out/raw_ccdmp.fits").data[0, 0]
    np.float32(2000.0)
    """

    ccddata_cls: Any = CCDData

    def __init__(
        self,
        ccddata_cls: Any = None,
        process_size: Any = None,
        naxis1: Any = None,
        naxis2: Any = None,
        bitpix: Any = None,
        process_expand_factor: Any = EXPAND_FACTOR,
        outname_append: Any = OUTNAME_APPEND,
        overwrite: Any = False,
        fits_fixed_ignore: Any = False,
        warning_ignore_list: Any = None,
        **kwargs: Any,
    ) -> None:
        self.ccddata_cls = ccddata_cls or self.ccddata_cls
        self.naxis1 = naxis1
        self.naxis2 = naxis2
        self.bitpix = bitpix
        self.process_expand_factor = process_expand_factor
        self.overwrite = overwrite
        self.fits_fixed_ignore = fits_fixed_ignore
        self.warning_ignore_list = warning_ignore_list
        self._bmp_told: set[str] = set()
        super().__init__(process_size=process_size, outname_append=outname_append, **kwargs)

    def projected_size(self, in_name: Any, **kwargs: Any) -> Any:
        """Project the memory that a file needs, from its headers.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input. For a group, the sum of its images.
        **kwargs
            Keywords of the run. Used: ``hdu``, ``naxis1``, ``naxis2``, ``bitpix`` and
            ``process_expand_factor``.

        Returns
        -------
        int or None
            Bytes. ``None`` if the file cannot be read; `file_read` then reports why.
        """
        n_bytes = self._bmp_image_bytes(in_name, self.kwargs_merge(**kwargs))
        return None if n_bytes is None else WORKER_BYTES + n_bytes

    def _bmp_image_bytes(self, in_name: Any, keywords: dict[str, Any]) -> int | None:
        if not isinstance(in_name, (str, os.PathLike)):
            sizes = [self._bmp_image_bytes(name, keywords) for name in in_name]
            return None if None in sizes else sum(size or 0 for size in sizes)
        naxis1, naxis2 = (self._bmp_setting(name, keywords) for name in ("naxis1", "naxis2"))
        stored = 0
        if naxis1 is not None and naxis2 is not None:
            n_pixels = int(naxis1) * int(naxis2)
        else:
            images = _images_to_read(in_name, keywords)
            if not images:
                return None
            n_pixels = sum(image.n_pixels for image in images)
            stored = sum(image.n_bytes for image in images if image.is_compressed)
        bits = self._bmp_setting("bitpix", keywords) or BITPIX
        factor = self._bmp_setting("process_expand_factor", keywords) or EXPAND_FACTOR
        return int(n_pixels * bits / 8 * factor) + stored

    def _bmp_setting(self, name: str, keywords: dict[str, Any]) -> Any:
        given = keywords.get(name)
        return getattr(self, name) if given is None else given

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Read an image.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The file, or a group of them.
        **kwargs
            Keywords for this file. Those of `read_ccd` are used.

        Returns
        -------
        CCDData or list
            The image. A list for a group, and with ``hdu='all'``.

        Raises
        ------
        ValueError
            If the file has no readable image, or its unit is unknown.
        """
        keywords = self.kwargs_merge(**kwargs)
        if not isinstance(in_name, (str, os.PathLike)):
            return [self.file_read(name, **kwargs) for name in in_name]

        def tell(text: str, category: type[Warning]) -> None:
            self._bmp_tell(text, category, keywords)

        if _reads_by_itself(self.ccddata_cls):
            with collected_warnings(os.fspath(in_name), tell):
                return self.ccddata_cls.read(in_name)
        options = {name: keywords[name] for name in _READ_KEYWORDS if name in keywords}
        return read_ccd(in_name, ccddata_cls=self.ccddata_cls, tell=tell, **options)

    def _bmp_tell(self, text: str, category: type[Warning], keywords: dict[str, Any]) -> None:
        """Show a warning unless it was shown in this run or is to be hidden."""
        ignored = tuple(self._bmp_setting("warning_ignore_list", keywords) or ())
        if self._bmp_setting("fits_fixed_ignore", keywords):
            ignored += (FITSFixedWarning,)
        if issubclass(category, ignored) or text in self._bmp_told:
            return
        self._bmp_told.add(text)
        warnings.warn(text, category, stacklevel=2)

    def _bmp_plan(self, in_names: Any, given: dict[str, Any]) -> Any:
        self._bmp_told = set()
        return super()._bmp_plan(in_names, given)

    def outname_create(self, in_name: Any, outname_ext: Any = None, **kwargs: Any) -> Any:
        """Make the name of the output.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        outname_ext : str, optional
            Its extension. ``None``: the input's, without the ending of a compressed file, as the
            output is not compressed.
        **kwargs
            Keywords for this file.

        Returns
        -------
        str
            The name, path included.
        """
        keywords = self._bmp_control(kwargs)
        extension = keywords.pop("outname_ext", None) if outname_ext is None else outname_ext
        if extension is None and keywords.get("compression"):
            extension = ".fits.fz"
        is_named = keywords.get("outname") is not None or (
            (keywords.get("meta") or {}).get("outname") is not None
        )
        if not is_named and isinstance(in_name, (str, os.PathLike)):
            in_name = _uncompressed(os.fspath(in_name))
        outname = super().outname_create(in_name, **keywords)
        if extension is None:
            return outname
        folder, base = os.path.split(os.fspath(outname))
        root = stem_of(base) if is_fits_name(base) else os.path.splitext(base)[0]
        return os.path.join(folder, root + extension)

    def _bmp_predictor(self, control: dict[str, Any]) -> Any:
        cls = type(self)
        if cls.outname_create is not CCDMultiPipe.outname_create or "outname" in control:
            return None
        if cls.file_process is not BigMultiPipe.file_process:
            return None
        return lambda in_name: self.outname_create(in_name, **control)

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write an image.

        Parameters
        ----------
        data : CCDData or list of CCDData
            The image, or several: each becomes an extension of the file. Any other object with a
            ``writeto`` method, such as an `astropy.io.fits.HDUList`, is written by that method.
        outname : str
            The file to write.
        **kwargs
            Keywords for this file. Those of `write_ccd`, ``provenance`` and ``ccddata_write``
            are used.

        Returns
        -------
        str or None
            The name written; ``None`` with ``ccddata_write=False``.
        """
        keywords = self.kwargs_merge(**kwargs)
        if not keywords.get("ccddata_write", True):
            return None
        super().file_write(data, outname, **kwargs)
        overwrite = bool(self._bmp_setting("overwrite", keywords))
        if hasattr(data, "writeto"):
            data.writeto(outname, overwrite=overwrite)
            return outname
        if not isinstance(data, (CCDData, list)):
            raise TypeError(
                f"file_write was given {type(data).__name__}: return CCDData from data_process and "
                "the functions, or override file_write"
            )
        options = {name: keywords[name] for name in _WRITE_KEYWORDS if name in keywords}

        def annotate(header: fits.Header) -> None:
            if keywords.get("provenance"):
                functions = {
                    name: [*getattr(self, name), *(keywords.get(name) or [])]
                    for name in FUNCTION_LISTS
                }
                in_name = keywords.get("in_name")
                note_origin(header, self, in_name, functions, keywords)

        write_ccd(data, outname, overwrite=overwrite, annotate=annotate, **options)
        return outname


def _reads_by_itself(ccddata_cls: Any) -> bool:
    """Return whether a subclass of `CCDData` defines its own ``read``."""
    own = ccddata_cls.__mro__[: ccddata_cls.__mro__.index(CCDData)]
    return any("read" in vars(cls) for cls in own)


def _images_to_read(in_name: Any, keywords: dict[str, Any]) -> list[Layout]:
    """Return the layouts of the images that `read_ccd` would read; empty if it would fail."""
    hdu = keywords.get("hdu")
    wanted = hdu[0] if isinstance(hdu, tuple) else hdu
    if isinstance(wanted, str):
        wanted = wanted.upper()
    images = []
    try:
        for image in layouts_of(in_name):
            if wanted is None:
                return [image]
            if hdu == ALL_HDUS or wanted in (image.hdu, image.name.upper()):
                images.append(image)
    except OSError:  # the worker reports it, with the file's name
        return []
    return images


def _uncompressed(name: str) -> str:
    """Return the name of a file without the ending of a compressed one."""
    root, extension = os.path.splitext(name)
    if extension.lower() not in (".gz", ".fz", ".bz2", ".xz"):
        return name
    return root if is_fits_name(root) else f"{root}.fits"
