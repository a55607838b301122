"""The size of chunks that keeps a file of any length within its share of memory.

Owns the arithmetic. `bigpipe.measure` measures what a run may use, `bigpipe.streaming.reader` cuts
chunks.
"""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import Any

from bigpipe.budget import parse_bytes
from bigpipe.errors import OptionError
from bigpipe.measure import count_workers, usable_memory
from bigpipe.options import Options

__all__ = [
    "COPIES",
    "WORKER_BYTES",
    "check_length",
    "check_overlap",
    "checked_seconds",
    "chunk_bytes_for",
    "file_bytes",
]

COPIES = 16  # of a chunk: 16-bit integers in double precision (4 chunks), and 4 such arrays
WORKER_BYTES = 100_000_000  # a worker with numpy and scipy but no chunk: measured 80 MB
LEAST_BYTES = 8_000_000  # a forked worker, which shares the rest with its parent: measured 7 MB
ALONE = 0.75  # share of the budget that leaves no room for a second worker; arbitrary
MIN_CHUNK = 1 << 16  # bytes: smaller ones take longer to handle than to read; arbitrary
MAX_CHUNK = 32 << 20  # bytes: larger ones are no faster; arbitrary


def chunk_bytes_for(options: Options, n_files: int | None, copies: float = COPIES) -> int:
    """Return the most bytes of a chunk in a run.

    Parameters
    ----------
    options : Options
        Options of the run.
    n_files : int or None
        Number of its inputs, if known.
    copies : float, optional
        Number of chunks in a worker's memory at a time.

    Returns
    -------
    int
        A power of two, so that a repeated run has the same even if somewhat less memory is free.
    """
    n_workers = count_workers(n_files, replace(options, process_size=None))
    share = usable_memory(options)[0] // max(1, n_workers)
    if options.process_size is not None and not callable(options.process_size):
        share = min(share, options.process_size)
    return chunk_bytes_within(share, copies)


def chunk_bytes_within(share: int, copies: float = COPIES) -> int:
    """Return the most bytes of a chunk for a worker with a given share of memory.

    Examples
    --------
    >>> chunk_bytes_within(300_000_000, copies=16)
    8388608
    >>> chunk_bytes_within(0)
    65536
    """
    most = max(1, int((share - WORKER_BYTES) / copies))
    return min(MAX_CHUNK, max(MIN_CHUNK, 1 << (most.bit_length() - 1)))


def file_bytes(chunk_bytes: float, copies: float, budget: int) -> int:
    """Return the most bytes that a worker needs, for a file of any length.

    What a worker needs without a chunk is known only once it runs. So if the budget has no room for
    what it may need, this assumes less, and one worker is tried alone.

    Examples
    --------
    >>> file_bytes(1 << 20, copies=16, budget=1 << 30)
    116777216
    >>> file_bytes(1 << 16, copies=16, budget=40_000_000)
    30000000
    >>> file_bytes(1 << 16, copies=16, budget=1_000_000)
    9048576
    """
    chunks = int(copies * chunk_bytes)
    return chunks + min(WORKER_BYTES, max(LEAST_BYTES, int(ALONE * budget) - chunks))


def check_length(control: dict[str, Any]) -> None:
    """Raise `OptionError` if the keywords set an invalid length of chunks, or set it twice."""
    length, n_bytes = control.get("chunk_length"), control.get("chunk_bytes")
    if length is not None and n_bytes is not None:
        raise OptionError(
            f"chunk_length={length!r} and chunk_bytes={n_bytes!r} both set the length of chunks: "
            "give one of them"
        )
    if length is not None and not (isinstance(length, Integral) and int(length) >= 1):
        raise OptionError(f"chunk_length={length!r} is not a number of samples: give 1 or more")
    if n_bytes is not None:
        try:
            parse_bytes(n_bytes)
        except (TypeError, ValueError) as error:
            raise OptionError(f"chunk_bytes={n_bytes!r}: {error}") from None
    shared = control.get("chunk_overlap")
    if shared is not None and not (isinstance(shared, Integral) and int(shared) >= 0):
        raise OptionError(f"chunk_overlap={shared!r} is not a number of samples: give 0 or more")
    if shared is not None and length is not None and shared >= length:
        raise OptionError(
            f"chunk_overlap={shared} leaves no new samples in a chunk of chunk_length={length}: "
            "give less overlap, or longer chunks"
        )


def check_overlap(value: Any) -> None:
    """Raise `OptionError` for a number of samples: ``overlap`` says whether files overlap."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        raise OptionError(
            f"overlap={value} is neither True nor False: it says whether to read the next file "
            "while one is processed. If chunks are to share samples with the chunk before, give "
            f"chunk_overlap={value}."
        )


def checked_seconds(value: Any) -> float | None:
    """Return the seconds between checkpoints; ``None`` for no checkpoints."""
    if value is None or value is False:
        return None
    if isinstance(value, (int, float)) and value is not True and value >= 0:
        return float(value)
    raise OptionError(f"checkpoint={value!r} is not a number of seconds, such as 60")
