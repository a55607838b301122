"""Names of outputs, made from the names of inputs.

Owns the rule for output names, and the refusal of unsafe names from metadata. Touches no file.
`bigpipe.claims.register` decides which input may write to a name, `bigpipe.outputs` writes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from bigpipe.errors import OutnameError, shown

__all__ = [
    "OUTNAME_APPEND",
    "outname_creator",
    "outname_maker",
    "outname_with_extension",
    "split_extension",
]

OUTNAME_APPEND = "_bmp"

_GROUP_REMEDY = (
    "A group of inputs has no single name to make the output's name from. Give one: let a "
    "function in pre_process_list return {'bmp_data': data, 'bmp_kwargs': {'outname': "
    "'name.fits'}}, let one in post_process_list set bmp_meta['outname'] = 'name.fits', or "
    "override outname_create. If nothing should be written, put no_outfile last in "
    "post_process_list."
)


def outname_creator(
    in_name: Any,
    meta: Mapping[str, Any] | None = None,
    outdir: str | os.PathLike[str] | None = None,
    outname_append: str | None = OUTNAME_APPEND,
    outname: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> str:
    """Make the name of an output from the name of its input.

    Parameters
    ----------
    in_name : str, os.PathLike or list
        The input. Only the last part of a path is used, and nothing of a group (a list).
    meta : dict, optional
        The file's metadata. If it has ``outdir``, ``outname_append`` or ``outname`` (not
        ``None``), they take precedence over the arguments.
    outdir : str or os.PathLike, optional
        The output folder; ``None`` means the current one.
    outname_append : str, optional
        Text inserted between base name and extension. ``None`` means the default ``'_bmp'``,
        ``''`` means nothing.
    outname : str or os.PathLike, optional
        Exact name of the output, within ``outdir`` if that is given.
    **kwargs : dict
        Other keywords of the pipeline; not used.

    Returns
    -------
    str
        The name, including its folder.

    Raises
    ------
    OutnameError
        If a group has no ``outname``, if an ``outname`` from `meta` leads outside
        ``outdir``, or if a name is bytes, empty, or not a name.

    Notes
    -----
    Metadata often contains text from a file's header that was not meant as a path. An
    ``outname`` from metadata may therefore use folders below ``outdir`` but not leave it; links
    in the file system are not followed for this check. An ``outname`` given as an argument is
    used without this check.

    Examples
    --------
    >>> outname_creator("raw/b0042.fits", outdir="reduced")
    'reduced/b0042_bmp.fits'
    >>> outname_creator("raw/b0042.fits.gz", outdir="reduced")  # the last extension counts
    'reduced/b0042.fits_bmp.gz'
    >>> outname_creator(["b1.fits", "b2.fits"], {"outname": "bias.fits"}, outdir="reduced")
    'reduced/bias.fits'
    """
    from_meta = False
    if meta:
        if (value := meta.get("outdir")) is not None:
            outdir = value
        if (value := meta.get("outname_append")) is not None:
            outname_append = value
        if (value := meta.get("outname")) is not None:
            outname = value
            from_meta = True
    if outdir is not None and type(outdir) is not str:
        outdir = _text(outdir, "outdir", in_name)
    if outname is not None:
        name = _text(outname, "outname", in_name)
        if not name:
            raise OutnameError(f"the outname of {in_name!r} is empty: it must name a file")
        if outdir is None:
            return name
        return _inside(outdir, name, in_name) if from_meta else os.path.join(outdir, name)
    if outname_append is None:
        outname_append = OUTNAME_APPEND
    elif type(outname_append) is not str:
        outname_append = _text(outname_append, "outname_append", in_name)
    base = in_name.rpartition(os.sep)[2] if type(in_name) is str else ""
    if not base:
        base = _base_name(in_name)
    dot = base.rfind(".")
    if dot > 0 and base[0] != ".":  # the most usual, for which `splitext` takes 0.5 us more
        root, extension = base[:dot], base[dot:]
    else:
        root, extension = os.path.splitext(base)
    folder = outdir or os.getcwd()
    separator = "" if folder[-1] == os.sep else os.sep  # os.path.join costs 0.5 us more
    return f"{folder}{separator}{root}{outname_append}{extension}"


def outname_maker(**naming: Any) -> Callable[[Any], str]:
    """Return `outname_creator` with these keywords bound, faster for many inputs.

    Examples
    --------
    >>> make = outname_maker(outdir="reduced", outname_append="_bmp")
    >>> make("raw/b0042.fits"), make("raw/.hidden")
    ('reduced/b0042_bmp.fits', 'reduced/.hidden_bmp')
    """
    outdir, append = naming.get("outdir"), naming.get("outname_append")
    if type(outdir) is not str or not outdir or type(append) is not str or "outname" in naming:
        return partial(outname_creator, **naming)
    folder = outdir if outdir[-1] == os.sep else outdir + os.sep

    def make(in_name: Any) -> str:
        if type(in_name) is str:  # the usual case, without checks that are the same for all
            root, _, extension = in_name.rpartition(os.sep)[2].rpartition(".")
            if root and root[0] != ".":
                return f"{folder}{root}{append}.{extension}"
        return outname_creator(in_name, **naming)

    return make


_COMPRESSIONS = (".gz", ".bz2", ".fz", ".xz", ".zst", ".z")
_COMPRESSED = (".fits", ".fit", ".fts")  # files that are read directly when compressed


def split_extension(name: str) -> tuple[str, str]:
    """Split a name from its extension; for compressed FITS files, from both extensions.

    Examples
    --------
    >>> split_extension("raw/b0042.fits.gz"), split_extension("raw/2024.tar.gz")
    (('raw/b0042', '.fits.gz'), ('raw/2024.tar', '.gz'))
    """
    root, extension = os.path.splitext(name)
    if extension.lower() in _COMPRESSIONS:
        inner_root, inner = os.path.splitext(root)
        if inner.lower() in _COMPRESSED:
            return inner_root, inner + extension
    return root, extension


def outname_with_extension(
    in_name: Any,
    meta: Mapping[str, Any] | None = None,
    *,
    outname: str | os.PathLike[str] | None = None,
    outname_ext: str | None = None,
    **kwargs: Any,
) -> str:
    """Make an output name like `outname_creator`, optionally with another extension.

    Parameters
    ----------
    in_name, meta, outname
        As for `outname_creator`.
    outname_ext : str, optional
        The extension, with or without its dot. It does not change a given ``outname``.
    **kwargs
        As for `outname_creator`.

    Examples
    --------
    >>> outname_with_extension("raw/b0042.fits.gz", outdir="out")
    'out/b0042_bmp.fits.gz'
    >>> outname_with_extension("raw/b0042.fits.gz", outdir="out", outname_ext="png")
    'out/b0042_bmp.png'
    """
    is_named = outname is not None or bool(meta and meta.get("outname") is not None)
    name = os.fspath(in_name) if isinstance(in_name, (str, os.PathLike)) else None
    if is_named or not isinstance(name, str) or not name.strip(os.sep):
        return outname_creator(in_name, meta, outname=outname, **kwargs)
    root, extension = split_extension(name.rstrip(os.sep))
    if outname_ext is not None:
        extension = _text(outname_ext, "outname_ext", in_name)
        extension = f".{extension.lstrip('.')}" if extension else ""
    return outname_creator(f"{root}.x", meta, **kwargs).removesuffix(".x") + extension


def _base_name(in_name: Any) -> str:
    if type(in_name) is not str:
        if isinstance(in_name, (list, tuple)):
            raise OutnameError(f"no output name for {shown(in_name)}. {_GROUP_REMEDY}")
        in_name = _text(in_name, "in_name", in_name)
    base: str = in_name.rpartition(os.sep)[2] or os.path.basename(os.path.dirname(in_name))
    if not base:
        raise OutnameError(
            f"no output name for {in_name!r}: it has no base name. Give outname or "
            "override outname_create."
        )
    return base


def _text(value: Any, what: str, in_name: Any) -> str:
    """Return a name as a plain `str`, from any subclass of `str` or any path."""
    try:
        text = os.fspath(value)
    except TypeError:
        text = None
    if isinstance(text, str):
        return str.__str__(text)
    kind = "bytes" if isinstance(text, bytes) else f"of type {type(value).__name__}"
    remedy = "decode it with os.fsdecode" if isinstance(text, bytes) else "give a str or a path"
    raise OutnameError(f"{what}={value!r} of {shown(in_name)} is {kind}: {remedy}")


def _inside(outdir: str, name: str, in_name: Any) -> str:
    """Join folder and name if the result is below the folder."""
    joined = os.path.join(outdir, name)
    folder = os.path.abspath(outdir).rstrip(os.sep) + os.sep
    target = os.path.abspath(joined)
    if target.startswith(folder) and target != folder:
        return joined
    raise OutnameError(
        f"the metadata of {shown(in_name)} gives outname {name!r}, which leads outside (or is) "
        f"outdir {outdir!r}. Make it a name below outdir, or override outname_create if it is "
        "intended."
    )
