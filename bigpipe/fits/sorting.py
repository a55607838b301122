"""The frames of a folder: the kind of each, which belong together, and which lack calibration.

Owns sorting and grouping. Reads only headers. `bigpipe.fits.matching` decides what must match;
`bigpipe.fits.masters` combines the groups into master frames.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from bigpipe.errors import FileError
from bigpipe.fits import headers
from bigpipe.fits.files import is_fits_name, read_header
from bigpipe.fits.headers import Kind
from bigpipe.fits.matching import TEMPERATURE_TOLERANCE, FrameKeys, best_match, keys_of
from bigpipe.pipeline import BigMultiPipe
from bigpipe.steps import no_outfile

__all__ = ["FrameGroup", "Night", "NightFrame", "fits_names", "names_text", "night", "reason_of"]

MAX_NAMES_SHOWN = 4
_CALIBRATION = (Kind.BIAS, Kind.DARK, Kind.FLAT)


@dataclass(frozen=True)
class NightFrame:
    """One file of a night."""

    name: str
    """Name of the file, path included."""
    keys: FrameKeys
    """The properties that decide which other frames fit it."""
    object: str = ""
    """Name of the observed object; ``''`` if unknown."""
    gain: float | None = None
    """Electrons per adu; ``None`` if unknown."""

    @property
    def kind(self) -> Kind:
        """The purpose of the frame."""
        return self.keys.kind


@dataclass(frozen=True)
class FrameGroup:
    """Frames that can be combined, or that use the same calibration."""

    keys: FrameKeys
    """Their common properties; the temperature is their mean."""
    frames: tuple[NightFrame, ...]
    """The frames, sorted by name."""

    @property
    def names(self) -> list[str]:
        """Names of the frames, as an input of `CombinePipe`."""
        return [frame.name for frame in self.frames]

    def __str__(self) -> str:
        keys = self.keys
        words = [f"{len(self.frames):4d} {keys.kind:<5} {' x '.join(map(str, keys.shape))}"]
        if keys.binning != (1, 1):
            words.append(f"binned {keys.binning[0]} x {keys.binning[1]}")
        words += [keys.filter] if keys.filter and keys.kind in (Kind.FLAT, Kind.LIGHT) else []
        if keys.exposure is not None and keys.kind in (Kind.DARK, Kind.LIGHT):
            words.append(f"{keys.exposure:g} s")
        if keys.temperature is not None and keys.kind is not Kind.FLAT:
            words.append(f"{keys.temperature:.1f} C")
        return ", ".join(words)


@dataclass
class Night:
    """The frames of a folder, sorted. ``str()`` gives a summary."""

    frames: list[NightFrame]
    """All readable frames, sorted by name."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """Name of each unreadable file, and the reason."""
    temperature_tolerance: float = TEMPERATURE_TOLERANCE
    """Largest difference, in degrees, between temperatures of frames that belong together."""
    scale_darks: bool = True
    """Whether a dark may be scaled to another exposure."""

    def of(self, kind: Kind | str) -> list[NightFrame]:
        """Return the frames of a kind.

        Parameters
        ----------
        kind : Kind or str
            ``'bias'``, ``'dark'``, ``'flat'`` or ``'light'``.

        Returns
        -------
        list of NightFrame
            Sorted by name.
        """
        return [frame for frame in self.frames if frame.kind == kind]

    def groups(self, kind: Kind | str) -> list[FrameGroup]:
        """Group the frames of a kind by what must match.

        Parameters
        ----------
        kind : Kind or str
            ``'bias'``, ``'dark'``, ``'flat'`` or ``'light'``.

        Returns
        -------
        list of FrameGroup
            Each group has one shape and binning; darks also one exposure, flats one filter, and
            lights both. Except for flats, temperatures lie within the tolerance of the lowest in
            the group. Frames with unknown temperatures form a separate group.
        """
        alike: dict[FrameKeys, list[NightFrame]] = {}
        for frame in self.of(kind):
            keys = replace(frame.keys, temperature=None)
            if frame.kind not in (Kind.DARK, Kind.LIGHT):
                keys = replace(keys, exposure=None)
            if frame.kind not in (Kind.FLAT, Kind.LIGHT):
                keys = replace(keys, filter="")
            alike.setdefault(keys, []).append(frame)
        groups = []
        for keys, frames in alike.items():
            tolerance = float("inf") if kind == Kind.FLAT else self.temperature_tolerance
            for part in _by_temperature(frames, tolerance):
                groups.append(FrameGroup(_with_mean_temperature(keys, part), tuple(part)))
        return groups

    def calibration_of(self, frame: NightFrame) -> dict[Kind, FrameGroup | None]:
        """Return which groups calibrate a frame.

        Parameters
        ----------
        frame : NightFrame
            The frame.

        Returns
        -------
        dict
            The group of each kind; ``None`` if none fits: see `best_match`.
        """
        return {kind: self._match(kind, frame.keys, self.groups(kind)) for kind in _CALIBRATION}

    def without(self, kind: Kind | str) -> list[NightFrame]:
        """Return the lights for which no frames of a kind fit.

        Parameters
        ----------
        kind : Kind or str
            ``'bias'``, ``'dark'`` or ``'flat'``.

        Returns
        -------
        list of NightFrame
            Sorted by name. All lights if there are no frames of that kind.
        """
        groups = self.groups(kind)
        known: dict[FrameKeys, bool] = {}
        for light in self.of(Kind.LIGHT):
            if light.keys not in known:
                known[light.keys] = self._match(kind, light.keys, groups) is not None
        return [light for light in self.of(Kind.LIGHT) if not known[light.keys]]

    def _match(
        self, kind: Kind | str, keys: FrameKeys, groups: list[FrameGroup]
    ) -> FrameGroup | None:
        number = best_match(
            kind,
            keys,
            [group.keys for group in groups],
            temperature_tolerance=self.temperature_tolerance,
            scales=self.scale_darks,
        )
        return None if number is None else groups[number]

    def __str__(self) -> str:
        lines = [str(group) for kind in Kind for group in self.groups(kind)]
        for kind in _CALIBRATION:
            lacking = [frame.name for frame in self.without(kind)]
            if lacking:
                lines.append(f"No {kind} fits {names_text(lacking)}.")
        lines += [f"{os.path.basename(name)}: {reason}" for name, reason in self.unreadable]
        return "\n".join(lines) or "no FITS files"


def night(
    folder: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    temperature_tolerance: float = TEMPERATURE_TOLERANCE,
    scale_darks: bool = True,
    header_of: Callable[[Any], Any] = read_header,
    **options: Any,
) -> Night:
    """Sort the frames of a folder into bias, dark, flat and light, by their headers.

    Parameters
    ----------
    folder : str, os.PathLike or iterable of them
        A folder, without its subfolders; or the names of the files.
    temperature_tolerance : float, optional
        Largest difference, in degrees, between temperatures of frames that belong together.
    scale_darks : bool, optional
        Whether a dark may be scaled to another exposure.
    header_of : callable, optional
        Function that takes a name and returns the header to use. Give your own for a camera
        whose headers use unusual words.
    **options
        Options of `BigMultiPipe`, which reads the headers.

    Returns
    -------
    Night
        The frames, and those that could not be read.

    Raises
    ------
    OSError
        If the folder cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> for name, kind in {"b.fits": "bias", "f.fits": "flat", "m1.fits": "light"}.items():
    ...     fits.writeto(name, np.ones((3, 4)), fits.Header({"IMAGETYP": kind}))
    >>> print(night(".", num_processes=1))
       1 bias  3 x 4
       1 flat  3 x 4
       1 light 3 x 4
    No dark fits m1.fits.
    """
    is_folder = isinstance(folder, (str, os.PathLike))
    names = fits_names(folder) if is_folder else list(folder)  # type: ignore[arg-type]
    found: list[NightFrame] = []
    unreadable = []
    options = {"on_error": "return", "max_errors": len(names) + 1, **options}
    pipe = _HeaderPipe(header_of, **options)
    for result in pipe.pipeline(names).results:
        if result.error is None:
            found.append(NightFrame(os.fspath(result.in_name), **result.meta))
        else:
            unreadable.append((os.fspath(result.in_name), reason_of(result.error)))
    return Night(found, unreadable, temperature_tolerance, scale_darks)


class _HeaderPipe(BigMultiPipe):
    """Put the properties of each frame into its metadata; writes nothing."""

    def __init__(self, header_of: Callable[[Any], Any], **kwargs: Any) -> None:
        self.header_of = header_of
        super().__init__(post_process_list=[describe, no_outfile], **kwargs)

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        return self.header_of(in_name)


def describe(header: Any, bmp_meta: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """Put the properties of a frame into the metadata."""
    if bmp_meta is not None:
        shape = tuple(
            length for i in range(header["NAXIS"], 0, -1) if (length := header[f"NAXIS{i}"]) > 1
        )
        bmp_meta.update(
            keys=keys_of(header, shape),
            object=headers.object_of(header),
            gain=headers.gain_of(header),
        )
    return header


def fits_names(folder: str | os.PathLike[str]) -> list[str]:
    """Return the FITS files of a folder, sorted by name, without hidden ones.

    Parameters
    ----------
    folder : str or os.PathLike
        The folder.

    Returns
    -------
    list of str
        Names, path included.
    """
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    return [
        entry.path
        for entry in entries
        if is_fits_name(entry.name) and not entry.name.startswith(".") and entry.is_file()
    ]


def reason_of(error: FileError) -> str:
    """Return the first line of the hook's exception, or else of the error itself."""
    reason = str(error.__cause__ or error).strip().partition("\n")[0]
    return reason.removeprefix(f"{error.in_name}: ")


def names_text(names: list[str]) -> str:
    """Return the first few base names as text."""
    shown = [os.path.basename(name) for name in names[:MAX_NAMES_SHOWN]]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return ", ".join(shown) + more


def _by_temperature(frames: list[NightFrame], tolerance: float) -> list[list[NightFrame]]:
    """Split frames so that those of a part are within the tolerance of its coldest."""
    known = [frame for frame in frames if frame.keys.temperature is not None]
    parts: list[list[NightFrame]] = []
    lowest = float("-inf")
    for frame in sorted(known, key=lambda frame: frame.keys.temperature or 0.0):
        temperature = frame.keys.temperature or 0.0
        if not parts or temperature - lowest > tolerance:
            parts.append([])
            lowest = temperature
        parts[-1].append(frame)
    unknown = [frame for frame in frames if frame.keys.temperature is None]
    return [sorted(part, key=lambda frame: frame.name) for part in parts] + (
        [unknown] if unknown else []
    )


def _with_mean_temperature(keys: FrameKeys, frames: list[NightFrame]) -> FrameKeys:
    known = [frame.keys.temperature for frame in frames if frame.keys.temperature is not None]
    return replace(keys, temperature=sum(known) / len(known)) if known else keys
