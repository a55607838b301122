"""A night of CCD frames, simulated or a person's own, reduced in parallel with bigpipe.

Owns the demonstration as a whole; `bigpipe demo` runs it. A night goes this way::

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
    """What a demonstration is asked to do."""

    output: Path = Path("bigpipe-demo")
    """Folder of the results."""
    source: Path | None = None
    """Folder of a person's own frames; ``None`` to simulate a night."""
    n_lights: int = 24
    """Light frames to simulate."""
    shape: tuple[int, int] = (800, 800)
    """Rows and columns of a simulated frame."""
    seed: int = 1
    """What all that is random in the simulation follows from."""
    num_processes: float | None = None
    """Workers at most; ``None`` or 0: all physical cores; below 1: that part of them."""
    overwrite: bool = False
    """Replace even what an earlier run made from a person's own frames."""

    def check(self) -> None:
        """Raise `DemoError` if it cannot be done."""
        if self.n_lights < 1:
            raise DemoError(f"{self.n_lights} light frames cannot be reduced: at least 1.")
        if min(self.shape) < MIN_SIDE:
            raise DemoError(
                f"A frame of {self.shape[0]} x {self.shape[1]} pixels is too small: at least "
                f"{MIN_SIDE} x {MIN_SIDE}."
            )
        if self.seed < 0:
            raise DemoError(f"The seed {self.seed} is negative: at least 0.")
        if self.source is not None and not self.source.is_dir():
            raise DemoError(f"The input folder {self.source} does not exist, or is no folder.")


def run_demo(settings: DemoSettings, say: Callable[[str], None], **options: Any) -> Report:
    """Run the demonstration.

    Parameters
    ----------
    settings : DemoSettings
        What to do.
    say : callable
        Given a line of text at each stage.
    **options
        Further options of `bigpipe.BigMultiPipe`, such as ``progress``.

    Returns
    -------
    Report
        What came out. Files that failed are in it; they raise nothing.

    Raises
    ------
    DemoError
        If it cannot be run as asked.
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
