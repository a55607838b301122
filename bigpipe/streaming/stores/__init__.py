"""Arrays in files, read and written by region: one small protocol, a module for each format.

::

    base.py                    the protocol, and which class is for which extension
    flat.py, npy.py, raw.py    bytes one after the other, with a header or none
    fits_image.py, fits_table.py, fits_cards.py
    chunked.py, hdf5.py, zarr.py   arrays that are stored in chunks of their own
"""
