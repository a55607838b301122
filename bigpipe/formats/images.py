"""Pictures, and TIFF files, which may hold more than a picture."""

from __future__ import annotations

import struct
from typing import Any

from bigpipe.errors import FormatError
from bigpipe.formats.common import array_of, format_of, library

__all__ = ["IMAGES", "TIFF", "check_tiff", "read_image", "read_tiff", "write_image", "write_tiff"]

TIFF = (".tif", ".tiff")
_EIGHT_BITS = (".jpg", ".jpeg", ".bmp", ".gif", ".webp")
IMAGES = (".png", *_EIGHT_BITS)
_OF_TIFF = "?bBhHiIlLqQefdFD"  # codes of numpy: truth values, and numbers but long doubles
# What Pillow calls animations. Not MPO: a camera's .jpg may have a preview as its second image.
_ANIMATED = ("GIF", "PNG", "WEBP")


def read_image(name: str) -> Any:
    """Return the pixels of a picture, or of all frames of an animation as one array."""
    pillow = library(name, ("PIL.Image", "Pillow"))
    with pillow.open(name) as image:
        if image.format in _ANIMATED:
            return _all_of(image, name, "give a function read")
        return _pixels(image)


def _pixels(image: Any) -> Any:
    import numpy as np

    if image.mode in ("P", "PA"):  # indices into a palette
        with image.convert("RGBA" if "transparency" in image.info else "RGB") as coloured:
            return np.asarray(coloured)
    return np.asarray(image)


def write_image(data: Any, name: str) -> None:
    """Write pixels as a picture."""
    pillow = library(name, ("PIL.Image", "Pillow"))
    extension = format_of(name)
    kinds = ("uint8",) if extension in _EIGHT_BITS else ("uint8", "uint16")
    array = array_of(data, name)
    if array.dtype.name not in (*kinds, "bool") or array.ndim not in (2, 3):
        raise FormatError(
            f"an array of {array.dtype.name} and shape {array.shape} cannot be written as "
            f"{extension}, which takes images of {' or '.join(kinds)}: scale it in process, or "
            "give outname_ext, such as '.npy' or '.fits'"
        )
    pillow.fromarray(array).save(name)


def read_tiff(name: str) -> Any:
    """Return the pixels of a TIFF file."""
    tiff = _tiff_library(name)
    if not hasattr(tiff, "TiffFile"):
        return _images_of(name, tiff)
    with tiff.TiffFile(name) as file:
        check_tiff(file)
        return file.asarray()


def check_tiff(file: Any) -> None:
    """Raise `ValueError` if an open TIFF file has no image, or ends before its last one.

    tifffile would return an array without pixels, or fewer images.

    Parameters
    ----------
    file : tifffile.TiffFile
        The open file.
    """
    if not len(file.pages):
        raise ValueError("it has no image")
    layout, raw = file.tiff, file.filehandle
    start = file.pages[len(file.pages) - 1].offset
    raw.seek(start)
    (n_tags,) = struct.unpack(layout.tagnoformat, raw.read(layout.tagnosize))
    raw.seek(start + layout.tagnosize + n_tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, raw.read(layout.offsetsize))
    if following >= raw.size:
        raise ValueError(f"it ends after {len(file.pages)} images, but should have more")


def _images_of(name: str, pillow: Any) -> Any:
    """Return the pixels of the image in a TIFF file, or of all of them as one array."""
    remedy = "give a function read, or install tifffile, which takes the first series of them"
    with pillow.open(name) as image:
        return _all_of(image, name, remedy)


def _all_of(image: Any, name: str, remedy: str) -> Any:
    """Return the pixels of the only image, or of all of them as one array."""
    import numpy as np

    pages = []
    for number in range(getattr(image, "n_frames", 1)):
        image.seek(number)
        pages.append(_pixels(image))
    if len({(page.shape, page.dtype) for page in pages}) > 1:
        raise FormatError(
            f"the {len(pages)} images in {name!r} are not of one size and type: {remedy}"
        )
    return pages[0] if len(pages) == 1 else np.stack(pages)


def write_tiff(data: Any, name: str) -> None:
    """Write pixels as a TIFF file."""
    tiff = _tiff_library(name)
    if hasattr(tiff, "imwrite"):
        array = array_of(data, name)
        if array.dtype.char not in _OF_TIFF:  # tifffile would write a file that nobody can read
            raise FormatError(
                f"{name!r} cannot be written: TIFF has no type {array.dtype}. Convert the array in "
                "process."
            )
        tiff.imwrite(name, array, **_colours_of(array))
    else:
        write_image(data, name)


def _colours_of(array: Any) -> dict[str, Any]:
    """Return what says that three or four values to a pixel are colours, and as many images none.

    Left to itself, tifffile takes both for colours: of three images of a stack it makes one.
    """
    if array.ndim < 2 or array.dtype.kind == "b":  # no colours; of masks, one bit to a pixel
        return {}
    if array.ndim > 2 and array.shape[-1] in (3, 4):
        return {"photometric": "rgb", "planarconfig": "contig"}
    return {"photometric": "minisblack"}


def _tiff_library(name: str) -> Any:
    """Return tifffile, which reads any TIFF file, or else Pillow, which reads pictures."""
    return library(name, ("tifffile", "tifffile"), ("PIL.Image", "Pillow"))
