"""The pipelines that reduce a night: master frames, light frames.

Owns the subclasses of `BigMultiPipe`. Each can run by itself:

    groups of biases, darks, flats -> MasterPipe -> one master for each group
    lights -> LightPipe, with the masters as a keyword -> reduced frames

`bigpipe.demo.night` decides in what order they run, and where their files go.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import Any

import numpy as np

from bigpipe.demo.frames import Bad, Frame, read_frame, write_frame
from bigpipe.demo.photometry import measure
from bigpipe.demo.statistics import Image, robust_noise
from bigpipe.demo.steps import (
    Masters,
    apply_gain,
    divide_flat,
    mask_unusable,
    reject_other_shape,
    remove_cosmic_rays,
    subtract_bias,
    subtract_dark,
    subtract_overscan,
    trim,
)
from bigpipe.fits.files import stem_of
from bigpipe.fits.headers import Kind
from bigpipe.fits.matching import keys_of, name_of_master
from bigpipe.pipeline import BigMultiPipe

__all__ = ["LightPipe", "MasterPipe", "combine"]

CALIBRATION = [
    mask_unusable,
    subtract_overscan,
    trim,
    apply_gain,
    subtract_bias,
    subtract_dark,
]
"""The steps of every raw frame; a step that lacks what it needs does nothing."""

REJECT_SIGMA = 5.0  # of a stack's values; rejects one in two million normal values
ROWS_AT_ONCE = 64  # rows of a stack to combine at once, few enough for the processor's cache

logger = logging.getLogger(__name__)


class MasterPipe(BigMultiPipe):
    """Combine groups of raw calibration frames, each into one master frame.

    Parameters
    ----------
    **kwargs
        Options of `BigMultiPipe`, and the keywords ``kind`` (`Kind`), that of the frames, and
        ``masters`` (`Masters`), those made before.

    Notes
    -----
    A frame of a group that cannot be read is left out, with a warning.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(pre_process_list=CALIBRATION, post_process_list=name_master, **kwargs)

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Read the frames of a group, leaving out those that cannot be read."""
        if not isinstance(in_name, (str, os.PathLike)):
            frames = super().file_read(in_name, **kwargs)
            return [frame for frame in frames if frame is not None] or None
        try:
            return read_frame(in_name)
        except (OSError, ValueError) as error:
            logger.warning("Left out of the master %s: %s", kwargs.get("kind", "frame"), error)
            return None

    def data_process(self, data: Any, kind: Kind = Kind.BIAS, **kwargs: Any) -> Any:
        """Combine the frames."""
        return combine(data, kind)

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write the master."""
        super().file_write(data, outname, **kwargs)
        write_frame(data, outname)
        return outname


def name_master(
    master: Frame,
    bmp_meta: dict[str, Any] | None = None,
    kind: Kind = Kind.BIAS,
    **kwargs: Any,
) -> Frame:
    """Name a master after what it is for; a group has no name of its own."""
    keys = replace(keys_of(master.header, master.shape), kind=kind)
    if bmp_meta is not None:
        bmp_meta.update(outname=name_of_master(keys), n_frames=master.header["NCOMBINE"])
        bmp_meta["level"] = float(np.median(master.data))
    return master


def combine(frames: list[Frame], kind: Kind) -> Frame:
    """Average frames of one kind without outliers, such as cosmic rays.

    Parameters
    ----------
    frames : list of Frame
        Frames of one shape; at least one. Flats are divided by their median first.
    kind : Kind
        Their kind. Biases have no photon noise; darks and flats have.

    Returns
    -------
    Frame
        The mean, with its variance and the first frame's header. A pixel is masked where it is
        masked in all frames.

    Notes
    -----
    A value is rejected if it is more than 5 sigma from the lower median of its pixel. Sigma comes
    from read noise and photons, or from the scatter of the values if that is larger. The lower
    median of two values is the smaller one, because cosmic rays only add.
    """
    first = frames[0]
    levels = np.ones(len(frames), dtype=np.float32)
    if kind is Kind.FLAT:
        levels[:] = [max(float(np.median(frame.data)), 1e-6) for frame in frames]
    level = float(levels.mean())
    read_noise = np.sqrt(np.mean([float(frame.read_noise or 0) ** 2 for frame in frames]))
    data = np.empty(first.shape, dtype=np.float32)
    variance = np.empty(first.shape, dtype=np.float32)
    for start in range(0, first.shape[0], ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        stack = np.stack([frame.data[rows] for frame in frames]) / levels[:, None, None]
        photons = 0.0 if kind is Kind.BIAS else level
        data[rows], variance[rows] = _combine_rows(stack, read_noise / level, photons, level)
    master = Frame(first.name, data, first.header.copy(), read_noise=float(read_noise))
    master.mark(np.all([frame.mask != 0 for frame in frames], axis=0), Bad.UNUSABLE)
    master.variance = variance + np.float32(first.shared_variance / level**2)
    master.unit = "" if kind is Kind.FLAT else first.unit
    master.steps = [*first.steps, "combine"]
    master.header["NCOMBINE"] = (len(frames), "frames combined")
    for number, frame in enumerate(frames):
        master.header[f"IMCMB{number + 1:03d}"] = frame.name
    return master


def _combine_rows(
    stack: Image, read_noise: float, photons: float, level: float
) -> tuple[Image, Image]:
    center = np.sort(stack, axis=0)[(len(stack) - 1) // 2]
    variance = read_noise**2 + np.maximum(center, 0) * (photons / level**2)
    if len(stack) > 1:
        # Differences between frames, not from the center: the center is one of the values.
        seen = robust_noise(np.diff(stack, axis=0) / np.sqrt(2 * variance))
        variance = variance * max(1.0, seen) ** 2
    keep = np.abs(stack - center) <= REJECT_SIGMA * np.sqrt(variance)
    count = keep.sum(axis=0)
    return (stack * keep).sum(axis=0) / count, (variance / count).astype(np.float32)


class LightPipe(BigMultiPipe):
    """Reduce light frames to electrons, with mask and uncertainty.

    Parameters
    ----------
    **kwargs
        Options of `BigMultiPipe`, and the keyword ``masters`` (`Masters`).
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            pre_process_list=[*CALIBRATION, reject_other_shape],
            post_process_list=[measure],
            **kwargs,
        )

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Read a raw frame."""
        return read_frame(in_name)

    def data_process(self, data: Any, masters: Masters | None = None, **kwargs: Any) -> Any:
        """Clean cosmic rays, while the noise is still that of photons; then divide by the flat."""
        return divide_flat(remove_cosmic_rays(data), masters)

    def outname_create(self, in_name: Any, outdir: Any = None, **kwargs: Any) -> Any:
        """Name the output after the input, without the extension of a compressed file."""
        return os.path.join(outdir or "", f"{stem_of(in_name)}_reduced.fits")

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write the reduced frame."""
        super().file_write(data, outname, **kwargs)
        write_frame(data, outname)
        return outname
