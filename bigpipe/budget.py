"""Sizes in bytes, and how many tasks of a size fit: arithmetic only.

Owns how byte counts are parsed and written as text, and the number of processes that fit.
`bigpipe.measure` measures what the machine has.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from numbers import Real
from typing import Any

from bigpipe.errors import OptionError

__all__ = ["fit_count", "format_bytes", "parse_bytes", "seconds_to_fill", "wanted_processes"]

FILLING_BYTES_PER_S = 10e9  # upper bound for one core, as the kernel clears each page first

_FACTORS = {
    "": 1,
    "b": 1,
    **{f"{prefix}b": 1000 ** (i + 1) for i, prefix in enumerate("kmgtp")},
    **{f"{prefix}ib": 1024 ** (i + 1) for i, prefix in enumerate("kmgtp")},
}

_SIZE = re.compile(r"([0-9]+(?:_[0-9]+)*(?:\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]{1,3})?\s*([a-z]*)")

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def parse_bytes(size: Any) -> int:
    """Return a size as a number of bytes.

    Parameters
    ----------
    size : number or str
        Bytes, or text with a unit: powers of 1000 for kB, MB, GB, TB, PB, powers of
        1024 for KiB, MiB, GiB, TiB, PiB, in upper or lower case. Fractions of a byte
        are dropped.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    OptionError
        If `size` is not a size, is negative or not finite, or its unit is a single letter,
        which means 1000 to some programs and 1024 to others.

    Examples
    --------
    >>> parse_bytes("2GiB"), parse_bytes("1.5 kB"), parse_bytes(4e6)
    (2147483648, 1500, 4000000)
    """
    if isinstance(size, str):
        return _parse_text(size)
    if isinstance(size, bool) or not _is_number(size):
        raise OptionError(f"{size!r} is not a size: give a number of bytes or text like '2 GiB'")
    if not 0 <= size < math.inf:  # NaN fails this too
        raise OptionError(f"{size!r} is not a size: it must be finite and not below zero")
    return int(size)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real)


def _parse_text(text: str) -> int:
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None:
        raise OptionError(f"{text!r} is not a size: give a number of bytes or text like '2 GiB'")
    number, exponent, unit = match.groups()
    if unit not in _FACTORS:
        if len(unit) == 1 and f"{unit}b" in _FACTORS:
            letter = unit.upper()
            raise OptionError(
                f"{text!r} can be read in two ways: write {letter}iB (powers of 1024) or "
                f"{letter}B (powers of 1000)"
            )
        raise OptionError(f"{text!r} has no known unit: use kB, MB, GB, TB or KiB, MiB, GiB, TiB")
    return int(Decimal(number + (exponent or "")) * _FACTORS[unit])


def format_bytes(n_bytes: float) -> str:
    """Return a number of bytes as readable text, in powers of 1024 with one decimal.

    Examples
    --------
    >>> format_bytes(8482560410), format_bytes(512)
    ('7.9 GiB', '512 B')
    """
    if abs(n_bytes) < 1024:
        return f"{n_bytes:.0f} B"
    power = 1
    while abs(n_bytes) / 1024**power >= 1023.95 and power < len(_UNITS):  # would show as 1024.0
        power += 1
    return f"{n_bytes / 1024**power:.1f} {_UNITS[power - 1]}"


def wanted_processes(num_processes: Any, n_cores: int) -> int:
    """Return the number of processes that ``num_processes`` asks for.

    Parameters
    ----------
    num_processes : number or None
        ``None`` or 0: one for each core. Below 1: that fraction of the cores. Otherwise that
        many, rounded down.
    n_cores : int
        Number of cores that may be used. At least 1.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    OptionError
        If `num_processes` is not a number, is negative or not finite.

    Examples
    --------
    >>> [wanted_processes(n, 8) for n in (None, 0.5, 2.0, 16)]
    [8, 4, 2, 16]
    """
    if num_processes is None:
        return n_cores
    if not _is_number(num_processes):
        raise OptionError(f"num_processes={num_processes!r} is not a number")
    if not 0 <= num_processes < math.inf:  # NaN fails this too
        raise OptionError(
            f"num_processes={num_processes!r} is not a number of processes: give 0 for all cores, "
            "a number below 1 for that fraction of them, or a whole number"
        )
    if num_processes == 0:
        return n_cores
    if num_processes < 1:
        return max(1, round(float(num_processes) * n_cores))
    return int(num_processes)


def fit_count(
    n_tasks: int | None, n_processes: int, memory_bytes: int | None, process_size: int | None
) -> int:
    """Count the processes that may run at once.

    Parameters
    ----------
    n_tasks : int or None
        Number of tasks; ``None`` if unknown.
    n_processes : int
        Maximum number of processes.
    memory_bytes : int or None
        Bytes that all processes together may use; ``None`` for no limit.
    process_size : int or None
        Bytes that one process needs; ``None`` or 0 for no limit.

    Returns
    -------
    int
        The smallest of the three limits. 0 if there is nothing to do or no process fits.

    Examples
    --------
    >>> fit_count(100, 8, memory_bytes=10, process_size=3)
    3
    """
    count = n_processes if n_tasks is None else min(n_tasks, n_processes)
    if memory_bytes is not None and process_size:
        count = min(count, memory_bytes // process_size)
    return count


def seconds_to_fill(n_bytes: int, n_cores: int) -> float:
    """Return the least time in seconds in which `n_cores` cores can fill `n_bytes` of free memory.

    Examples
    --------
    >>> seconds_to_fill(20_000_000_000, 2)
    1.0
    """
    return n_bytes / (FILLING_BYTES_PER_S * n_cores)
