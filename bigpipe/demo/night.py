"""Reduces a night from a folder of raw frames: which pipeline runs when, on which frames.

Owns the order, and the record of what could not be done. `bigpipe.fits.sorting` finds which frames
belong together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigpipe.budget import format_bytes
from bigpipe.demo.compare import Agreement, ComparePipe, agreement_of
from bigpipe.demo.detector import N_AMPLIFIERS, OVERSCAN_COLUMNS
from bigpipe.demo.folder import MASTERS, RAW, REDUCED, TRUTH, DemoError
from bigpipe.demo.frames import read_reduced
from bigpipe.demo.reduce import LightPipe, MasterPipe
from bigpipe.demo.simulate import SimulationPipe, detector_of, plan_night, write_truth
from bigpipe.demo.steps import Masters
from bigpipe.fits.headers import Kind
from bigpipe.fits.sorting import NightFrame, fits_names, names_text, reason_of
from bigpipe.fits.sorting import night as sort_frames
from bigpipe.measure import num_can_process
from bigpipe.plurals import plural
from bigpipe.records import FileResult, Outcome

__all__ = ["Night", "compare_night", "reduce_night", "simulate_night"]

# Bytes for each pixel of a raw frame: the highest peak RSS measured, and a fifth more.
SIMULATED_BYTES = 75
REDUCED_BYTES = 130
COMBINED_BYTES = 60  # plus, for each frame of the group:
STACKED_BYTES = 10
WORKER_BYTES = 150_000_000  # of a worker that has loaded numpy and astropy

_MISSING = {
    Kind.BIAS: "No bias frames: the structure of the bias is not subtracted.",
    Kind.DARK: "No dark frames: dark current is not subtracted.",
    Kind.FLAT: "No flat frames: the response of the pixels is not corrected.",
}

Say = Callable[[str], None]


@dataclass
class Night:
    """The outcome of a night's frames."""

    n_frames: dict[Kind, int] = field(default_factory=dict)
    """Raw frames of each kind."""
    lights: list[FileResult] = field(default_factory=list)
    """The result of each light."""
    failures: list[tuple[str, str]] = field(default_factory=list)
    """Name and reason of each file that failed, calibration frames included."""
    notes: list[str] = field(default_factory=list)
    """What could not be done, or not for all frames."""

    @property
    def reduced(self) -> list[FileResult]:
        """The lights that were reduced and written."""
        return [result for result in self.lights if result.outcome is Outcome.WRITTEN]


def simulate_night(
    output: Path, n_lights: int, shape: tuple[int, int], seed: int, say: Say, **options: Any
) -> Path:
    """Simulate the raw frames of a night, and write the truth about them.

    Returns
    -------
    Path
        The folder of the raw frames.
    """
    plans = {plan.name: plan for plan in plan_night(n_lights)}
    width = shape[1] + N_AMPLIFIERS * OVERSCAN_COLUMNS
    size = WORKER_BYTES + SIMULATED_BYTES * shape[0] * width
    if num_can_process(process_size=size, error_if_zero=False) == 0:
        raise DemoError(
            f"a frame of {shape[0]} x {shape[1]} pixels needs {format_bytes(size)}, more than the "
            "memory available. Give a smaller --shape."
        )
    detector = detector_of(shape, seed)
    raw, truth = output / RAW, output / TRUTH
    truth.mkdir(exist_ok=True)
    write_truth(detector, truth)
    say(f"Simulating {len(plans)} raw frames of {shape[0]} x {width} pixels")
    pipe = SimulationPipe(outdir=raw, create_outdir=True, truth_dir=truth, **options)
    pipe.pipeline(list(plans), plans=plans, detector=detector, seed=seed, process_size=size)
    return raw


def reduce_night(source: Path, output: Path, say: Say, **options: Any) -> Night:
    """Reduce all frames of a folder.

    Parameters
    ----------
    source : Path
        Folder of raw frames. It is only read; its subfolders are not searched.
    output : Path
        Folder in which ``masters`` and ``reduced`` are made.
    say : callable
        Called with a line of text at each stage.
    **options
        Options of `BigMultiPipe`.

    Returns
    -------
    Night
        The outcome of the frames.

    Raises
    ------
    DemoError
        If there are no light frames in the folder.
    """
    night = Night()
    names = _fits_names(source)
    say(f"Sorting {len(names)} {plural(len(names), 'file')} of {source} by their headers")
    options = {"on_error": "return", **options}
    frames = sort_frames(names, **options)
    night.failures += frames.unreadable
    found = {frame.name: frame for frame in frames.frames}
    by_kind = {kind: [frame.name for frame in frames.of(kind)] for kind in Kind}
    night.n_frames = {kind: len(names) for kind, names in by_kind.items()}
    if not by_kind[Kind.LIGHT]:
        raise DemoError(f"{source} holds no light frames: {_counts_text(night)}")
    masters = Masters()
    for kind in (Kind.BIAS, Kind.DARK, Kind.FLAT):
        if by_kind[kind]:
            groups = [group.names for group in frames.groups(kind)]
            _make_masters(night, groups, found, kind, masters, output, say, options)
        else:
            night.notes.append(_MISSING[kind])
    _reduce_lights(night, by_kind[Kind.LIGHT], found, masters, output, say, options)
    _note_what_lacked(night, found, masters)
    return night


def _fits_names(source: Path) -> list[str]:
    try:
        names = fits_names(source)
    except OSError as error:
        raise DemoError(f"the input folder cannot be read: {error}") from error
    if not names:
        raise DemoError(
            f"{source} holds no FITS files (.fits, .fit, .fts, also .gz or .fz). Subfolders are "
            "not searched."
        )
    return names


def _counts_text(night: Night) -> str:
    counts = [f"{count} {kind}" for kind, count in night.n_frames.items() if count]
    if night.failures:
        counts.append(f"{len(night.failures)} that cannot be read ({night.failures[0][1]})")
    return ", ".join(counts)


def _make_masters(
    night: Night,
    groups: list[list[str]],
    found: dict[str, NightFrame],
    kind: Kind,
    masters: Masters,
    output: Path,
    say: Say,
    options: dict[str, Any],
) -> None:
    n_frames = sum(map(len, groups))
    say(f"Combining {n_frames} {kind} frames into {len(groups)} master{'s' * (len(groups) > 1)}")
    size = WORKER_BYTES + max(
        (COMBINED_BYTES + STACKED_BYTES * len(group)) * _n_pixels(found[group[0]])
        for group in groups
    )
    pipe = MasterPipe(outdir=output / MASTERS, create_outdir=True, **options)
    pout = pipe.pipeline(groups, kind=kind, masters=masters, process_size=size)
    for result in pout.results:
        if result.error is not None:
            what = f"the master {kind} of {len(result.in_name)} frames"
            night.failures.append((what, reason_of(result.error)))
            continue
        n_left_out = len(result.in_name) - result.meta.get("n_frames", 0)
        if n_left_out:
            what = f"{n_left_out} of {len(result.in_name)} {kind} frames"
            night.failures.append((what, "could not be read"))
    masters.add(kind, [read_reduced(r.outname) for r in pout.results if r.outname])


def _reduce_lights(
    night: Night,
    names: list[str],
    found: dict[str, NightFrame],
    masters: Masters,
    output: Path,
    say: Say,
    options: dict[str, Any],
) -> None:
    say(f"Reducing {len(names)} {plural(len(names), 'light frame')}")
    largest = max(_n_pixels(found[name]) for name in names)
    pipe = LightPipe(outdir=output / REDUCED, create_outdir=True, **options)
    size = WORKER_BYTES + REDUCED_BYTES * largest
    pout = pipe.pipeline(names, masters=masters, process_size=size)
    night.lights = pout.results
    night.failures += [(r.in_name, reason_of(r.error)) for r in pout.results if r.error]


def _n_pixels(frame: NightFrame) -> int:
    return math.prod(frame.keys.shape)


def _note_what_lacked(night: Night, found: dict[str, NightFrame], masters: Masters) -> None:
    """Note which lights lack a step that has master frames, lack a GAIN, or were rejected."""
    made = {"bias": masters.bias, "dark": masters.darks, "flat": masters.flats}
    fits = {"bias": "shape", "dark": "shape and exposure", "flat": "shape and filter"}
    for step, frames in made.items():
        without = [r.in_name for r in night.reduced if step not in r.meta["steps"].split()]
        if frames and without:
            night.notes.append(f"No {step} has the {fits[step]} of {names_text(without)}.")
    no_gain = [r.in_name for r in night.reduced if r.meta["unit"] == "adu"]
    if no_gain:
        night.notes.append(
            "Lights without GAIN in the header stay in adu, and their noise assumes 1 electron per "
            f"adu: {names_text(no_gain)}."
        )
    for result in night.lights:
        if result.outcome is Outcome.REJECTED:
            ny, nx = found[result.in_name].keys.shape
            night.notes.append(
                f"{os.path.basename(result.in_name)} was not reduced: no calibration frame has "
                f"its shape, {ny} x {nx} pixels."
            )


def compare_night(night: Night, output: Path, say: Say, **options: Any) -> Agreement | None:
    """Compare a simulated night's reduced frames with the truth; ``None`` if there are none."""
    if not night.reduced:
        return None
    truth = {
        str(result.outname): os.fspath(output / TRUTH / os.path.basename(result.in_name))
        for result in night.reduced
    }
    say("Comparing with the truth")
    pout = ComparePipe(**options).pipeline(list(truth), truth=truth)
    return agreement_of([meta for _, meta in pout])
