"""`FbuCCDData`: a `CCDData` whose class sets the unit of files that have none."""

from __future__ import annotations

import os
from typing import Any

from astropy.nddata import CCDData

from bigpipe.fits.reading import read_ccd
from bigpipe.fits.units import unit_of

__all__ = ["FbuCCDData"]


class FbuCCDData(CCDData):  # type: ignore[misc]  # astropy has no types
    """An image with a fallback unit.

    Parameters
    ----------
    data : CCDData or array_like
        The values.
    unit : unit or str, optional
        Their unit; overrides all others.
    fallback_unit : unit or str, optional
        Their unit if neither ``unit``, ``data`` nor ``BUNIT`` in ``meta`` gives one. ``None``: the
        fallback unit of the class.
    meta : dict-like, optional
        The header.
    **kwargs
        Keywords of `astropy.nddata.CCDData`.

    Examples
    --------
    >>> class Raw(FbuCCDData):
    ...     fallback_unit = "adu"
    >>> Raw([1, 2]).unit, Raw([1, 2], meta={"BUNIT": "e-"}).unit, Raw([1, 2], unit="ct").unit
    (Unit("adu"), Unit("electron"), Unit("ct"))
    """

    fallback_unit: Any = None

    def __init__(
        self,
        data: Any,
        unit: Any = None,
        fallback_unit: Any = None,
        meta: Any = None,
        **kwargs: Any,
    ) -> None:
        if unit is None and getattr(data, "unit", None) is None:
            header = kwargs.get("header") if meta is None else meta
            text = str((header or {}).get("BUNIT", "")).strip()
            own = unit_of(text) if text else None
            unit = own if own is not None else fallback_unit or self.fallback_unit
        super().__init__(data, unit=unit, meta=meta, **kwargs)

    @classmethod
    def read(
        cls, filename: str | os.PathLike[str], fallback_unit: Any = None, **kwargs: Any
    ) -> Any:
        """Read an image.

        Parameters
        ----------
        filename : str or os.PathLike
            The file.
        fallback_unit : unit or str, optional
            As for the class.
        **kwargs
            Keywords of `read_ccd`.

        Returns
        -------
        FbuCCDData
            The image.
        """
        return read_ccd(
            filename, ccddata_cls=cls, fallback_unit=fallback_unit or cls.fallback_unit, **kwargs
        )
