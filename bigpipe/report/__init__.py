"""Shows a run as a page, a trace, a table, figures, and lines in a terminal.

Owns these presentations. `bigpipe.running.sampler` and the journal record the data, and
`bigpipe.report.record` puts it together.
"""

from __future__ import annotations

from bigpipe.report.advice import advise
from bigpipe.report.html import write_page
from bigpipe.report.plots import plot_memory, plot_timeline
from bigpipe.report.record import RunRecord, record_of
from bigpipe.report.tables import write_csv
from bigpipe.report.trace import write_trace

__all__ = [
    "RunRecord",
    "advise",
    "plot_memory",
    "plot_timeline",
    "record_of",
    "write_csv",
    "write_page",
    "write_trace",
]
