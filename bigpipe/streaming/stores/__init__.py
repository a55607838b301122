"""Arrays in files, read and written by region: a small protocol, and a module for each format.

::

    base.py                    the protocol, and the class for each extension
    flat.py, npy.py, raw.py    contiguous bytes, with or without a header
    fits_image.py, fits_table.py, fits_rows.py, fits_cards.py
    chunked.py, hdf5.py, zarr.py   arrays in storage chunks
    tiff.py                    stacks of images, read only
"""
