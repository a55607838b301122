"""The report on a night: a table of the lights, what was not done, where the files are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from astropy.table import Table

from bigpipe.budget import format_bytes
from bigpipe.demo.compare import Agreement
from bigpipe.demo.folder import MASTERS, RAW, REDUCED, TRUTH
from bigpipe.demo.night import Night
from bigpipe.fits.headers import Kind
from bigpipe.plurals import plural

__all__ = ["Report", "table_of"]

MAX_LINES = 60  # of the table as printed; the file has all
MAX_FAILURES_SHOWN = 10  # arbitrary
_FOLDERS = {
    RAW: "raw frames",
    TRUTH: "the simulated truth: noise-free images, stars, cosmic rays",
    MASTERS: "master bias, dark and flat",
    REDUCED: "reduced lights: values, MASK, UNCERT (CCDData.read reads them)",
}


@dataclass(frozen=True)
class Report:
    """A night, ready to be shown."""

    night: Night
    """The outcome of each frame."""
    output: Path
    """Where the results are."""
    table_name: Path
    """File that holds the table."""
    seconds: float
    """How long the reduction took."""
    agreement: Agreement | None = None
    """Comparison with the truth, for a simulated night."""

    @property
    def n_failed(self) -> int:
        """Files that failed."""
        return len(self.night.failures)

    def text(self) -> str:
        """Return the whole report, several lines."""
        parts = [self._head(), _table_text(table_of(self.night)), *self._notes()]
        if self.agreement is not None:
            parts.append(_agreement_text(self.agreement))
        parts.append(self._files())
        return "\n\n".join(part for part in parts if part)

    def _head(self) -> str:
        night = self.night
        calibration = ", ".join(
            f"{night.n_frames.get(kind, 0)} {kind}"
            for kind in (Kind.BIAS, Kind.DARK, Kind.FLAT)
            if night.n_frames.get(kind)
        )
        n = len(night.lights)
        workers = len({result.worker for result in night.lights})
        return (
            f"{len(night.reduced)} of {n} {plural(n, 'light frame')} reduced with "
            f"{calibration or 'no calibration'} frames, by {workers} "
            f"{plural(workers, 'process')}, in {self.seconds:.1f} s"
        )

    def _notes(self) -> list[str]:
        parts = []
        if self.night.notes:
            parts.append("Not done\n" + "\n".join(f"  {note}" for note in self.night.notes))
        if self.night.failures:
            failures = self.night.failures
            lines = [
                f"  {os.path.basename(name)}: {reason}"
                for name, reason in failures[:MAX_FAILURES_SHOWN]
            ]
            if len(failures) > len(lines):
                lines.append(f"  and {len(failures) - len(lines)} more")
            parts.append("\n".join(["Failed", *lines]))
        return parts

    def _files(self) -> str:
        lines = [f"Files in {self.output} ({format_bytes(_bytes_in(self.output))})"]
        for name, what in _FOLDERS.items():
            if (self.output / name).is_dir():
                lines.append(f"  {name + '/':10} {what}")
        lines.append(f"  {self.table_name.name:10} the table above")
        return "\n".join(lines)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def table_of(night: Night) -> Table:
    """Make the table of the reduced lights.

    Returns
    -------
    astropy.table.Table
        One row for each light; sky and noise per pixel, in the unit of the frame.
    """
    rows = [
        (
            os.path.basename(result.outname or ""),
            result.meta["object"],
            result.meta["filter"],
            float("nan") if result.meta["exposure"] is None else result.meta["exposure"],
            result.meta["sky"],
            result.meta["noise"],
            result.meta["unit"],
            result.meta["n_cosmic"],
            result.meta["n_saturated"],
            result.meta["n_sources"],
            result.meta["steps"],
        )
        for result in night.reduced
    ]
    names = ("file", "object", "filter", "exposure", "sky", "noise", "unit", "cosmic", "saturated")
    types = (str, str, str, float, float, float, str, int, int, int, str)
    table = Table(rows=rows or None, names=(*names, "sources", "steps"), dtype=types)
    table["exposure"].unit = "s"
    table["exposure"].info.format = "g"
    table["sky"].info.format = table["noise"].info.format = ".1f"
    for name in ("cosmic", "saturated"):
        table[name].unit = "pix"
    return table


def _table_text(table: Table) -> str:
    """Return the table as text, without columns that have the same value in every row."""
    if len(table) == 0:
        return ""
    table = table.copy()
    same = []
    for name in ("filter", "unit", "saturated", "steps"):
        values = set(table[name])
        if len(values) == 1:
            value = str(values.pop())
            if value.strip() and name in ("unit", "steps"):
                same.append(f"{name}: {value.replace(' ', ', ')}")
            table.remove_column(name)
    lines = table.pformat(max_lines=MAX_LINES, max_width=-1)
    return "\n".join([*lines, *same])


def _agreement_text(agreement: Agreement) -> str:
    lines = [
        f"Against the simulated truth ({agreement.n_frames} frames)",
        f"  sky          (reduced - truth) / uncertainty: median {agreement.sky_median:+.3f}, "
        f"rms {agreement.sky_rms:.3f}",
        f"               over {agreement.n_sky:,} pixels (ideal: 0 and 1)",
    ]
    if agreement.n_stars:
        lines.append(
            f"  stars        measured / true light: median {agreement.star_ratio:.4f}, scatter "
            f"{100 * agreement.star_scatter:.2f} %\n"
            f"               ({agreement.star_sigma:.2f} times the uncertainty) over "
            f"{agreement.n_stars:,} measurements"
        )
    if agreement.n_cosmic:
        lines.append(
            f"  cosmic rays  {100 * agreement.cosmic_completeness:.1f} % of the "
            f"{agreement.n_cosmic:,} pixels hit by more than 5 sigma were found"
        )
    if agreement.n_flagged:
        lines.append(
            f"               {100 * agreement.cosmic_purity:.1f} % of the "
            f"{agreement.n_flagged:,} pixels flagged were hit by more than 1 sigma"
        )
    return "\n".join(lines)
