"""The steps from a raw frame to electrons on the sky, as functions for a pipeline's lists.

Each takes a `Frame` and the keywords of the run, changes the frame and returns it. Steps that raw
calibration frames need too are applied to each member of a group. `bigpipe.demo.reduce` makes
pipelines of these steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bigpipe.demo.cosmic_rays import find_cosmic_rays
from bigpipe.demo.frames import Bad, Frame
from bigpipe.demo.statistics import clipped_mean, pixel_noise, robust_noise
from bigpipe.fits import headers
from bigpipe.fits.headers import Kind
from bigpipe.fits.matching import best_match, keys_of
from bigpipe.steps import for_each_member

__all__ = [
    "Masters",
    "apply_gain",
    "divide_flat",
    "mask_unusable",
    "reject_other_shape",
    "remove_cosmic_rays",
    "subtract_bias",
    "subtract_dark",
    "subtract_overscan",
    "trim",
]

MIN_FLAT = 0.05  # of the median: pixels below saw too little light to be corrected
MIN_READ_NOISE = 1.0  # electrons: lower limit where the read noise must be guessed


@dataclass
class Masters:
    """The combined calibration frames of a night."""

    bias: list[Frame] = field(default_factory=list)
    """One for each image shape."""
    darks: list[Frame] = field(default_factory=list)
    """One for each shape and exposure."""
    flats: list[Frame] = field(default_factory=list)
    """One for each shape and filter."""

    def add(self, kind: Kind, masters: Iterable[Frame]) -> None:
        """Add masters of one kind."""
        {Kind.BIAS: self.bias, Kind.DARK: self.darks, Kind.FLAT: self.flats}[kind].extend(masters)

    @property
    def shapes(self) -> set[tuple[int, int]]:
        """Shapes of all of them."""
        return {master.shape for master in (*self.bias, *self.darks, *self.flats)}

    def bias_for(self, frame: Frame) -> Frame | None:
        """Return the master bias that fits the frame."""
        return _best(Kind.BIAS, frame, self.bias)

    def dark_for(self, frame: Frame) -> Frame | None:
        """Return the master dark of the frame's exposure, or else the longest that can be scaled.

        A dark that still contains the bias cannot be scaled.
        """
        dark = _best(Kind.DARK, frame, self.darks, scales=False)
        return dark or _best(Kind.DARK, frame, list(filter(_holds_no_bias, self.darks)))

    def flat_for(self, frame: Frame) -> Frame | None:
        """Return the master flat that fits the frame."""
        return _best(Kind.FLAT, frame, self.flats)


def _best(kind: Kind, frame: Frame, masters: list[Frame], *, scales: bool = True) -> Frame | None:
    keys = [keys_of(master.header, master.shape) for master in masters]
    number = best_match(kind, keys_of(frame.header, frame.shape), keys, scales=scales)
    return None if number is None else masters[number]


def _holds_no_bias(frame: Frame) -> bool:
    return "bias" in frame.steps or "overscan" in frame.steps


@for_each_member
def mask_unusable(frame: Frame, **kwargs: Any) -> Frame:
    """Mark pixels that are saturated or not a number; the latter are set to the median."""
    limit = headers.saturation_of(frame.header)
    if limit is not None:
        frame.mark(frame.data >= limit, Bad.SATURATED)
    finite = np.isfinite(frame.data)
    if not finite.all():
        frame.mark(~finite, Bad.UNUSABLE)
        frame.data[~finite] = np.median(frame.data[finite]) if finite.any() else 0
    return frame


@for_each_member
def subtract_overscan(frame: Frame, **kwargs: Any) -> Frame:
    """Subtract the level of each amplifier's overscan, and measure the read noise in it."""
    frame.data += headers.pedestal_of(frame.header)
    noises = []
    for amplifier in headers.readout_of(frame.header, frame.shape):
        if amplifier.overscan is None:
            continue
        overscan = frame.data[amplifier.overscan]
        frame.data[amplifier.data] -= np.float32(clipped_mean(overscan))
        noises.append(robust_noise(overscan))
    if noises:
        frame.read_noise = float(np.sqrt(np.mean(np.square(noises))))  # adu, until apply_gain
        frame.steps.append("overscan")
    return frame


@for_each_member
def trim(frame: Frame, **kwargs: Any) -> Frame:
    """Cut off the columns and rows that saw no light."""
    parts = [amplifier.data for amplifier in headers.readout_of(frame.header, frame.shape)]
    rows, first = parts[0]
    columns = slice(first.start, parts[-1][1].stop)
    if (rows.stop - rows.start, columns.stop - columns.start) == frame.shape:
        return frame
    frame.data = np.ascontiguousarray(frame.data[rows, columns])
    frame.mask = np.ascontiguousarray(frame.mask[rows, columns])
    for keyword, start in (("CRPIX1", columns.start), ("CRPIX2", rows.start)):
        if keyword in frame.header:
            frame.header[keyword] -= start
    frame.steps.append("trim")
    return frame


@for_each_member
def apply_gain(frame: Frame, **kwargs: Any) -> Frame:
    """Convert adu to electrons if the gain is known, and the read noise with it."""
    gain = headers.gain_of(frame.header)
    if headers.is_in_electrons(frame.header):
        gain, frame.unit = 1.0, "electron"
    elif gain is not None:
        frame.data *= np.float32(gain)
        frame.unit = "electron"
        frame.steps.append("gain")
    measured = None if frame.read_noise is None else frame.read_noise * (gain or 1.0)
    frame.read_noise = headers.read_noise_of(frame.header) or measured
    return frame


@for_each_member
def subtract_bias(frame: Frame, masters: Masters | None = None, **kwargs: Any) -> Frame:
    """Subtract the master bias, if there is one, and start the variance from the read noise."""
    bias = masters.bias_for(frame) if masters else None
    if frame.read_noise is None:
        frame.read_noise = bias.read_noise if bias else None
    if frame.read_noise is None:
        photons = max(float(np.median(frame.data)), 0.0)
        guess = max(pixel_noise(frame.data) ** 2 - photons, MIN_READ_NOISE**2)
        frame.read_noise = float(np.sqrt(guess))
    frame.variance = np.full(frame.shape, frame.read_noise**2, dtype=np.float32)
    if bias is not None:
        frame.data -= bias.data
        _add_shared(frame, bias, 1.0)
        frame.steps.append("bias")
    return frame


def _add_shared(frame: Frame, master: Frame, scale: float) -> None:
    if master.variance is not None and frame.variance is not None:
        added = master.variance * np.float32(scale**2)
        frame.variance += added
        frame.shared_variance = frame.shared_variance + added


@for_each_member
def subtract_dark(frame: Frame, masters: Masters | None = None, **kwargs: Any) -> Frame:
    """Subtract the master dark, scaled to the exposure, and add its photon noise and its own."""
    dark = masters.dark_for(frame) if masters else None
    if dark is None:
        return frame
    exposure = headers.exposure_of(frame.header) or 0.0
    scale = np.float32(exposure / (headers.exposure_of(dark.header) or exposure or 1.0))
    electrons = dark.data * scale
    frame.data -= electrons
    assert frame.variance is not None
    if _holds_no_bias(dark):
        frame.variance += np.maximum(electrons, 0)
    _add_shared(frame, dark, float(scale))
    frame.steps.append("dark")
    return frame


def reject_other_shape(frame: Frame, masters: Masters | None = None, **kwargs: Any) -> Frame | None:
    """Reject a frame whose shape no calibration frame has."""
    shapes = masters.shapes if masters else set()
    return frame if not shapes or frame.shape in shapes else None


def remove_cosmic_rays(frame: Frame) -> Frame:
    """Mark cosmic rays and fill them; add the photons' noise to the variance.

    A frame of an arc lamp is left as it is, since its lines would be removed too.
    """
    assert frame.variance is not None
    if not headers.is_arc(frame.header):
        saturated = frame.marked(Bad.SATURATED)
        hit, frame.data = find_cosmic_rays(frame.data, frame.variance, ignore=saturated)
        frame.mark(hit, Bad.COSMIC_RAY)
        frame.steps.append("cosmic")
    frame.variance += np.maximum(frame.data, 0)
    return frame


def divide_flat(frame: Frame, masters: Masters | None = None) -> Frame:
    """Divide by the master flat, if there is one for the filter."""
    flat = masters.flat_for(frame) if masters else None
    if flat is None:
        return frame
    usable = (flat.data >= MIN_FLAT) & (flat.mask == 0)
    response = np.where(usable, flat.data, np.float32(1))
    frame.mark(~usable, Bad.UNUSABLE)
    frame.data /= response
    assert frame.variance is not None
    frame.variance /= response**2
    if flat.variance is not None:
        frame.variance += np.where(usable, flat.variance, 0) * (frame.data / response) ** 2
    frame.steps.append("flat")
    return frame
