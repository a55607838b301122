"""Prints the result of a run as a table: for people, or for the next program in a pipe.

Owns the columns and the formats. What the values mean is in `bigpipe.records`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import IO, Any

from bigpipe.cli import screen
from bigpipe.columns import middle_out, n_columns, padded, start_within
from bigpipe.errors import FileError
from bigpipe.pout import Pout
from bigpipe.pout_table import metadata_of, table_of
from bigpipe.records import FileResult, Outcome

__all__ = ["FORMATS", "print_results", "results_of"]

_FIRST = ("in_name", "outname", "outcome", "seconds", "error")
_LEAST_WIDTH = 8  # characters that a shortened column keeps; arbitrary
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"
_FAILED = (Outcome.FAILED, Outcome.KILLED, Outcome.TIMED_OUT)


def results_of(pout: Any, in_names: list[Any]) -> list[FileResult]:
    """Return the result of each file, even if a subclass's `pipeline` returned a plain list."""
    if isinstance(pout, Pout):
        return pout.results
    entries = [
        entry for entry in pout or () if isinstance(entry, (tuple, list)) and len(entry) == 2
    ]
    names = in_names if len(in_names) == len(entries) else [None] * len(entries)
    pairs = enumerate(zip(entries, names, strict=True))
    return [_result_of(i, name, *entry) for i, (entry, name) in pairs]


def _result_of(index: int, in_name: Any, outname: Any, meta: Any) -> FileResult:
    meta = meta if isinstance(meta, dict) else {}
    error = meta.get("bmp_error")
    if isinstance(error, FileError):
        return FileResult(index, in_name, outname, meta, Outcome.FAILED, error=error)
    if outname is not None:
        outcome = Outcome.WRITTEN
    else:
        outcome = Outcome.METADATA_ONLY if meta else Outcome.REJECTED
    return FileResult(index, in_name, outname, meta, outcome)


def print_results(results: Iterable[FileResult], form: str, stream: IO[str]) -> None:
    """Print a table in one of `FORMATS`."""
    if isinstance(stream, io.TextIOWrapper):  # names may have bytes that are not valid text
        stream.reconfigure(errors="backslashreplace")
    FORMATS[form](list(results), stream)


def _print_json(results: list[FileResult], stream: IO[str]) -> None:
    for result in results:
        line = {**_about(result), "meta": _meta_of(result)}
        stream.write(json.dumps(_plain(line), ensure_ascii=True) + "\n")


def _print_csv(results: list[FileResult], stream: IO[str]) -> None:
    columns, rows = _columns_and_rows(results)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if (x := row.get(name)) is None else _printable(x) for name in columns])


def _print_ecsv(results: list[FileResult], stream: IO[str]) -> None:
    from astropy.table import MaskedColumn

    table = table_of(
        [
            replace(result, in_name=_printable(_plain(result.in_name)), meta=_meta_of(result))
            for result in results
        ]
    )
    about = [_about(result) for result in results]
    for place, (name, kind) in enumerate((("seconds", float), ("error", str)), start=3):
        values = [row[name] for row in about]
        filled = [kind() if value is None else kind(_printable(value)) for value in values]
        mask = [value is None for value in values]
        if name in table.colnames:
            table.rename_column(name, f"meta.{name}")
        table.add_column(MaskedColumn(filled, mask=mask, dtype=kind), index=place, name=name)
    for name in table.colnames:
        dtype = getattr(table[name], "dtype", None)  # times and coordinates have none
        if dtype is not None and (dtype.hasobject or dtype.kind in "mM"):  # ECSV has no times
            table[name] = [_cell(_plain(value)) for value in table[name]]
    table.write(stream, format="ascii.ecsv")


def _print_table(results: list[FileResult], stream: IO[str]) -> None:
    columns, rows = _columns_and_rows(results)
    for row, result in zip(rows, results, strict=True):
        if result.error is not None:  # the full message goes to standard error
            row["error"] = " in ".join(reversed(result.error.kind))
    columns = [name for name in columns if name != "error" or any(row["error"] for row in rows)]
    lines = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(n_columns, column)) for column in zip(*lines, strict=True)]
    room = screen.width()
    if room is not None:
        widths = _narrowed(widths, room)
    is_coloured = screen.has_colour()
    for i, line in enumerate(lines):
        cells = [padded(middle_out(x, n), n) for x, n in zip(line, widths, strict=True)]
        text = "  ".join(cells)
        text = (text if room is None else start_within(text, room)).rstrip()
        if is_coloured and i and rows[i - 1]["outcome"] in _FAILED:
            text = f"{_RED}{text}{_PLAIN}"
        stream.write(text + "\n")


FORMATS: dict[str, Callable[[list[FileResult], IO[str]], None]] = {
    "table": _print_table,
    "csv": _print_csv,
    "json": _print_json,
    "ecsv": _print_ecsv,
}


def _columns_and_rows(results: list[FileResult]) -> tuple[list[str], list[dict[str, Any]]]:
    rows = []
    columns = dict.fromkeys(_FIRST)
    for result in results:
        row = _plain(_about(result))
        for name, value in _flat(_plain(_meta_of(result))):
            row[f"meta.{name}" if name in _FIRST else name] = value
        columns |= dict.fromkeys(row)
        rows.append(row)
    return list(columns), rows


def _about(result: FileResult) -> dict[str, Any]:
    seconds = sum(result.seconds.values()) if result.seconds else None
    return {
        "in_name": result.in_name,
        "outname": result.outname,
        "outcome": str(result.outcome),
        "seconds": None if seconds is None else round(seconds, 6),
        "error": None if result.error is None else str(result.error),
    }


def _meta_of(result: FileResult) -> dict[str, Any]:
    return {name: value for name, value in metadata_of(result).items() if name != "bmp_error"}


def _plain(value: Any) -> Any:
    """Return a value in a type that JSON has; other types become text."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(x) for key, x in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(x) for x in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "unit") or hasattr(value, "isot"):  # of astropy: with units, or a time
        return str(getattr(value, "isot", value))
    if hasattr(value, "tolist"):  # of numpy
        kind = value.dtype.kind if type(value).__module__.startswith("numpy") else ""
        return _times(value) if kind in ("m", "M") else _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if type(value).__name__ in ("NAType", "NaTType"):  # of pandas, where nothing is known
        return None
    return value if isinstance(value, int) else str(value)


def _times(value: Any) -> Any:
    """Return times of numpy as text, of which `tolist` may make bare numbers of ns, or of years."""
    if value.ndim:
        return [_plain(x) for x in value]
    time = value.item()
    if isinstance(time, int) and value.dtype.name.endswith("[ns]"):
        coarse = value.astype(f"{value.dtype.kind}8[us]")
        time = coarse.item() if coarse == value else time
    return str(value) if isinstance(time, int) else _plain(time)


def _flat(meta: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in meta.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _printable(value: Any) -> Any:
    """Return a value for one cell: lists as JSON, lone surrogates escaped."""
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    return value


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(_printable(value))
    if text.isprintable():  # as nearly all are
        return text
    line = " ".join(text.splitlines())
    # A tab would move the columns, an escape the cursor.
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in line)


def _narrowed(widths: list[int], room: int) -> list[int]:
    """Return widths that fit in a line, as far as possible; the widest columns shrink."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > room:
        widest = max(range(len(widths)), key=lambda i: widths[i])
        if widths[widest] <= _LEAST_WIDTH:
            break
        widths[widest] -= 1
    return widths
