"""Command-line options of `CCDMultiPipe`, in addition to those of every pipeline.

Owns the options' names, defaults and help. `bigpipe.fits.pipeline` owns their meaning.
"""

from __future__ import annotations

from typing import Any

from bigpipe.argparse_handler import BMPArgparseMixin
from bigpipe.fits.pipeline import OUTNAME_APPEND

__all__ = ["CCDArgparseMixin"]


class CCDArgparseMixin(BMPArgparseMixin):
    """Methods that add the options of a pipeline of CCD images to `self.parser`.

    Mix it into a subclass of `bigpipe.argparse_handler.ArgparseHandler`. Each method takes the
    option's name, default and help, and further keywords of argparse.

    Examples
    --------
    >>> import argparse
    >>> from bigpipe.argparse_handler import ArgparseHandler
    >>> class Reduce(CCDArgparseMixin, ArgparseHandler):
    ...     def add_all(self):
    ...         self.add_outname_append()
    ...         self.add_overwrite()
    ...         self.add_naxis1()
    >>> handler = Reduce(argparse.ArgumentParser())
    >>> handler.add_all()
    >>> handler.parser.parse_args(["--overwrite", "--naxis1", "2048"])
    Namespace(outname_append='_ccdmp', overwrite=True, naxis1=2048)
    """

    outname_append = OUTNAME_APPEND

    def add_naxis1(
        self,
        option: str = "naxis1",
        default: Any = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the number of columns."""
        what = "pixels along the first axis, to project the memory"
        self._add_value(option, default, help, what, **{"type": int, **kwargs})

    def add_naxis2(
        self,
        option: str = "naxis2",
        default: Any = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the number of rows."""
        what = "pixels along the second axis, to project the memory"
        self._add_value(option, default, help, what, **{"type": int, **kwargs})

    def add_bitpix(
        self,
        option: str = "bitpix",
        default: Any = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the bits per pixel."""
        what = "bits per pixel while an image is processed, to project the memory"
        self._add_value(option, default, help, what, **{"type": int, **kwargs})

    def add_process_expand_factor(
        self,
        option: str = "process_expand_factor",
        default: Any = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the memory that processing takes, as a multiple of the image."""
        what = "most memory that processing an image takes, as a multiple of its size"
        self._add_value(option, default, help, what, **{"type": float, **kwargs})

    def add_overwrite(
        self,
        option: str = "overwrite",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the switch that replaces outputs."""
        self._add_switch(option, default, help, "replace existing outputs", **kwargs)

    def add_fits_fixed_ignore(
        self,
        option: str = "fits_fixed_ignore",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the switch that hides warnings about corrections of a WCS."""
        what = "do not warn of what was corrected in a WCS"
        self._add_switch(option, default, help, what, **kwargs)
