"""The output folder of a demonstration, which never mixes its files with other files there.

A small file in it, `MARKER`, lists what the demonstration made, so that the next one replaces
exactly that.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bigpipe.errors import BigpipeError
from bigpipe.staging import STAGING_NAME

__all__ = ["MARKER", "MASTERS", "RAW", "REDUCED", "TRUTH", "DemoError", "output_folder"]

MARKER = "bigpipe-demo.json"
RAW, TRUTH, MASTERS, REDUCED = "raw", "truth", "masters", "reduced"  # folders in it
N_SHOWN = 3  # names of foreign files in a message; arbitrary


class DemoError(BigpipeError, ValueError):
    """The demonstration cannot run as asked."""


@contextmanager
def output_folder(path: Path, source: Path | None, *, overwrite: bool) -> Iterator[Path]:
    """Prepare a folder for a new demonstration; afterwards list what is in it.

    Parameters
    ----------
    path : Path
        The folder. It is made if it is missing; files of an earlier demonstration are removed.
    source : Path or None
        Folder of the user's own frames; ``None`` for a simulated night.
    overwrite : bool
        Remove even what was made from the user's own frames.

    Yields
    ------
    Path
        The folder.

    Raises
    ------
    DemoError
        If it holds files that no demonstration made, or cannot be written to.
    """
    if source is not None and _is_inside(path, source):
        raise DemoError(
            f"the output folder {path} is inside the input folder {source}, which is only read. "
            "Give another one with --output."
        )
    if source is not None and _is_inside(source, path):
        raise DemoError(
            f"the input folder {source} is inside the output folder {path}, whose files would be "
            "replaced. Give another one with --output."
        )
    try:
        _clear(path, overwrite=overwrite)
        path.mkdir(parents=True, exist_ok=True)
        _note(path, source, None)
    except OSError as error:
        raise DemoError(
            f"the output folder {path} cannot be used: {error}. Give another one with --output."
        ) from error
    try:
        yield path
    finally:
        _note(path, source, sorted(_files_in(path)))


def _is_inside(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _clear(path: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise DemoError(f"{path} is a file. Give the name of a folder with --output.")
    present = _files_in(path)
    earlier = _read_marker(path)
    if earlier is None:
        if present or any(path.iterdir()):
            raise DemoError(
                f"{path} is not empty, and bigpipe demo did not make its content. Give a new or "
                "empty folder with --output."
            )
        return
    made = earlier["made"]
    if made is None:
        strange = sorted(name for name in present if not _is_in_own_folder(name))
    else:
        strange = sorted(set(present) - set(made))
    if strange:
        shown = ", ".join(strange[:N_SHOWN]) + (", ..." if len(strange) > N_SHOWN else "")
        raise DemoError(
            f"{path} holds {len(strange)} files that bigpipe demo did not make ({shown}). Move "
            "them away, or give another folder with --output."
        )
    if earlier["input"] is not None and not overwrite:
        raise DemoError(
            f"{path} holds frames of {earlier['input']} that an earlier run reduced. Give "
            "--overwrite to replace them, or another folder with --output."
        )
    for name in present:
        (path / name).unlink()


def _is_in_own_folder(name: str) -> bool:
    return Path(name).parts[0] in (RAW, TRUTH, MASTERS, REDUCED)


def _read_marker(path: Path) -> dict[str, Any] | None:
    """Return what the marker says; ``made`` is ``None`` if that run was killed."""
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not isinstance(marker, dict) or not {"made", "input"} <= marker.keys():
        return None
    return marker


def _files_in(path: Path) -> list[str]:
    """Return the names of all files in and below the folder, except the marker."""
    names = []
    for folder, folders, files in os.walk(path):
        # bigpipe itself removes what killed runs leave.
        folders[:] = [name for name in folders if name != STAGING_NAME]
        names += [os.path.relpath(os.path.join(folder, name), path) for name in files]
    return [name for name in names if name != MARKER]


def _note(path: Path, source: Path | None, made: list[str] | None) -> None:
    text = json.dumps(
        {
            "comment": "bigpipe demo replaces the files named here when it is run again",
            "input": None if source is None else os.fspath(source.resolve()),
            "made": made,
        },
        indent=1,
    )
    new = path / f"{MARKER}.new"
    new.write_text(text + "\n", encoding="utf-8")
    os.replace(new, path / MARKER)
