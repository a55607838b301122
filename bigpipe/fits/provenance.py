"""Cards that record how an output was made: program, pipeline, functions, keywords, inputs.

Owns these cards. The journal (`bigpipe.journal`) records the same; the cards go with the file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from numbers import Number
from typing import Any

from astropy.io import fits

from bigpipe.context import name_of
from bigpipe.fits.files import members_of

__all__ = ["note_origin"]

MAX_TEXT = 200  # characters of a keyword's value; arbitrary
MAX_INPUTS = 999  # of a group: as many as three digits can count
_NOT_NOTED = frozenset(
    {"create_outdir", "in_name", "meta", "outdir", "post_process_list", "pre_process_list"}
)


def note_origin(
    header: fits.Header,
    pipe: object,
    in_name: Any,
    functions: Mapping[str, Iterable[Any]],
    keywords: Mapping[str, Any],
) -> None:
    """Record in a header how its image was made.

    Parameters
    ----------
    header : astropy.io.fits.Header
        Header of the image; changed.
    pipe : object
        The pipeline.
    in_name : str, os.PathLike or (nested) list of them
        The inputs. Their base names are recorded.
    functions : mapping
        For each list of the pipeline, the functions that were run, in order.
    keywords : mapping
        The keywords of the hooks. Numbers and short text are recorded as they are, other values
        by their type.

    Notes
    -----
    ``BMPVERS`` is the version of bigpipe, ``BMPPIPE`` the class, ``BMPNIN`` the number of inputs,
    and ``BMPIN001`` and so on the inputs. Functions and keywords are lines of ``HISTORY``.
    """
    version = vars(sys.modules["bigpipe"])["__version__"]
    header["BMPVERS"] = (version, "version of bigpipe")
    header["BMPPIPE"] = (type(pipe).__qualname__, "pipeline that made this file")
    names = [os.path.basename(os.fspath(name)) for name in members_of(in_name)]
    header["BMPNIN"] = (len(names), "inputs")
    for number, name in enumerate(names[:MAX_INPUTS], start=1):
        header[f"BMPIN{number:03d}"] = _printable(name)
    for what, listed in functions.items():
        for function in listed:
            header.add_history(_printable(f"bigpipe {what}: {name_of(function)}"))
    for keyword in sorted(set(keywords) - _NOT_NOTED):
        text = f"bigpipe keyword {keyword} = {_described(keywords[keyword])}"
        header.add_history(_printable(text))


def _described(value: Any) -> str:
    if value is None or isinstance(value, (str, bool, Number, os.PathLike)):
        text = str(value)
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
    if isinstance(value, (list, tuple)) and len(value) <= 8:
        return f"[{', '.join(map(_described, value))}]"
    shape = getattr(value, "shape", None)
    return f"<{type(value).__name__}{'' if shape is None else f' {shape}'}>"


def _printable(text: str) -> str:
    """Return a text with only the characters that a card may have."""
    return text.encode("ascii", "backslashreplace").decode("ascii").translate(_CONTROL)


_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
