"""CCD images in FITS files: reading, calibrating, combining and writing them in parallel.

This module holds the public names. They are built on::

    files.py, layout.py, headers.py, units.py      what a file and its header say
    reading.py, writing.py, provenance.py          one file <-> CCDData
    pipeline.py, argparse_handler.py, ccddata.py   CCDMultiPipe
    steps.py, metadata.py                          calibration, by ccdproc; header to metadata
    masters.py, frame_stack.py, stacking.py        CombinePipe: groups to master frames
    sorting.py, matching.py                        which frames of a folder belong together
"""

from __future__ import annotations

from bigpipe.fits.argparse_handler import CCDArgparseMixin
from bigpipe.fits.ccddata import FbuCCDData
from bigpipe.fits.files import read_header
from bigpipe.fits.headers import Kind
from bigpipe.fits.masters import CombinePipe
from bigpipe.fits.metadata import ccd_meta_to_bmp_meta, header_to_meta
from bigpipe.fits.pipeline import OUTNAME_APPEND, CCDMultiPipe
from bigpipe.fits.reading import read_ccd
from bigpipe.fits.sorting import Night, night
from bigpipe.fits.steps import (
    correct_gain,
    divide_flat,
    remove_cosmic_rays,
    subtract_bias,
    subtract_dark,
    subtract_overscan,
    trim,
)
from bigpipe.fits.writing import as_single, write_ccd

__all__ = [
    "OUTNAME_APPEND",
    "CCDArgparseMixin",
    "CCDMultiPipe",
    "CombinePipe",
    "FbuCCDData",
    "Kind",
    "Night",
    "as_single",
    "ccd_meta_to_bmp_meta",
    "correct_gain",
    "divide_flat",
    "header_to_meta",
    "night",
    "read_ccd",
    "read_header",
    "remove_cosmic_rays",
    "subtract_bias",
    "subtract_dark",
    "subtract_overscan",
    "trim",
    "write_ccd",
]
