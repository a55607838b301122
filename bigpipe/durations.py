"""Seconds and rates as text for people."""

from __future__ import annotations

__all__ = ["format_clock", "format_rate", "format_seconds"]

SMALL = 1e-4  # seconds: smaller values would need an exponent
LARGE = 999.5  # from here on, three digits would need an exponent


def format_seconds(seconds: float) -> str:
    """Return a duration with three digits or, above about 17 minutes, in minutes and hours.

    Examples
    --------
    >>> format_seconds(0.02461), format_seconds(15.72), format_seconds(1234), format_seconds(13000)
    ('0.0246 s', '15.7 s', '21 min', '3 h 37 min')
    >>> format_seconds(2.24e-06)
    '2.24 µs'
    """
    if 0 < seconds < SMALL:
        return f"{seconds * 1e6:.3g} µs"
    if seconds < LARGE:
        return f"{seconds:.3g} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def format_clock(seconds: float) -> str:
    """Return a duration as on a clock, in whole seconds.

    Examples
    --------
    >>> format_clock(5.9), format_clock(1234), format_clock(13000)
    ('00:05', '20:34', '3:36:40')
    """
    minutes, whole_seconds = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}:" if hours else "") + f"{minutes:02d}:{whole_seconds:02d}"


def format_rate(n_per_second: float) -> str:
    """Return a rate as files per second or, below one, as time per file.

    Examples
    --------
    >>> format_rate(5512.3), format_rate(3.824), format_rate(0.01), format_rate(0.0001)
    ('5512 files/s', '3.82 files/s', '100 s/file', '2 h 47 min/file')
    """
    if 0 < n_per_second < 1:
        return f"{format_seconds(1 / n_per_second)}/file"
    text = f"{n_per_second:.3g}" if n_per_second < LARGE else f"{n_per_second:.0f}"
    return f"{text} files/s"
