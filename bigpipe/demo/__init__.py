"""Reduces a night of CCD frames, simulated or the user's own, in parallel with bigpipe.

Owns the demonstration as a whole, which ``bigpipe demo`` runs. A night passes through::

    simulate.py (detector.py, sky.py) -> raw/, truth/
    night.py: sort by header -> masters/ -> reduced/     pipelines in reduce.py, steps in steps.py
    compare.py: reduced/ against truth/ -> report.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigpipe.demo.folder import DemoError, output_folder

if TYPE_CHECKING:
    from bigpipe.demo.report import Report

__all__ = ["DemoError", "DemoSettings", "run_demo"]

MIN_SIDE = 64  # pixels: below, there is no room for stars and the sky around them


@dataclass(frozen=True)
class DemoSettings:
    """The settings of a demonstration."""

    output: Path = Path("bigpipe-demo")
    """Folder of the results."""
    source: Path | None = None
    """Folder of the user's own frames; ``None`` to simulate a night."""
    n_lights: int = 24
    """Light frames to simulate."""
    shape: tuple[int, int] = (800, 800)
    """Rows and columns of a simulated frame."""
    seed: int = 1
    """Seed of the simulation's random numbers."""
    num_processes: float | None = None
    """Most workers; ``None`` or 0: all physical cores; below 1: a fraction of them."""
    overwrite: bool = False
    """Replace even the results of an earlier run on the user's own frames."""

    def check(self) -> None:
        """Raise `DemoError` if the demonstration cannot run with these settings."""
        if self.n_lights < 1:
            raise DemoError(f"cannot simulate {self.n_lights} light frames: give at least 1")
        if min(self.shape) < MIN_SIDE:
            raise DemoError(
                f"a frame of {self.shape[0]} x {self.shape[1]} pixels is too small: give at least "
                f"{MIN_SIDE} x {MIN_SIDE}"
            )
        if self.seed < 0:
            raise DemoError(f"the seed {self.seed} is negative: give 0 or more")
        if self.source is not None and not self.source.is_dir():
            raise DemoError(f"the input folder {self.source} does not exist, or is not a folder")


def run_demo(settings: DemoSettings, say: Callable[[str], None], **options: Any) -> Report:
    """Run the demonstration.

    Parameters
    ----------
    settings : DemoSettings
        What to do.
    say : callable
        Called with a line of text at each stage.
    **options
        Further options of `bigpipe.BigMultiPipe`, such as ``progress``.

    Returns
    -------
    Report
        The results. Files that failed are listed in it; they raise no error.

    Raises
    ------
    DemoError
        If it cannot run as asked.
    """
    from bigpipe.demo.night import compare_night, reduce_night, simulate_night
    from bigpipe.demo.report import Report, table_of

    settings.check()
    options = {"num_processes": settings.num_processes, **options}
    with output_folder(settings.output, settings.source, overwrite=settings.overwrite) as output:
        source = settings.source
        if source is None:
            source = simulate_night(
                output, settings.n_lights, settings.shape, settings.seed, say, **options
            )
        begin = time.monotonic()
        night = reduce_night(source, output, say, **options)
        seconds = time.monotonic() - begin
        agreement = None
        if settings.source is None:
            agreement = compare_night(night, output, say, **options)
        table_name = output / "table.ecsv"
        table_of(night).write(table_name, overwrite=True)
        return Report(night, output, table_name, seconds, agreement)
