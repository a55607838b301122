from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.budget import fit_count, format_bytes, parse_bytes, wanted_processes
from bigpipe.errors import OptionError
from tests.ids import shown


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        pytest.param(0, 0, id="zero"),
        pytest.param(2.5e9, 2_500_000_000, id="float"),
        pytest.param(1.9, 1, id="part-of-a-byte"),
        pytest.param(np.int64(7), 7, id="numpy-int"),
        pytest.param(np.float32(8), 8, id="numpy-float"),
        pytest.param(Fraction(9, 2), 4, id="fraction"),
        pytest.param(2**70 + 1, 2**70 + 1, id="large-int-exactly"),
        pytest.param("123", 123, id="text"),
        pytest.param("1_000", 1000, id="underscore"),
        pytest.param("5B", 5, id="B"),
        pytest.param("1kB", 1000, id="kB"),
        pytest.param("500MB", 500_000_000, id="MB"),
        pytest.param("2GB", 2 * 10**9, id="GB"),
        pytest.param("2TB", 2 * 10**12, id="TB"),
        pytest.param("1KiB", 1024, id="KiB"),
        pytest.param("1MiB", 2**20, id="MiB"),
        pytest.param("2GiB", 2**31, id="GiB"),
        pytest.param(" 2 GiB ", 2**31, id="spaces"),
        pytest.param("2gib", 2**31, id="small-letters"),
        pytest.param("1.5 GiB", 3 * 2**29, id="decimal"),
        pytest.param(".5KiB", 512, id="leading-point"),
        pytest.param("1e9", 10**9, id="exponent"),
        pytest.param("1.005kB", 1005, id="no-rounding-error"),
        pytest.param("1PiB", 2**50, id="PiB"),
    ],
)
def test_size_is_read(size: Any, expected: int) -> None:
    assert parse_bytes(size) == expected
    assert type(parse_bytes(size)) is int


@pytest.mark.parametrize(
    "size",
    ["", "GiB", "2 XB", "-1", "1 2", "nan", "inf", "2GiBs", "0x10", "1__0", "1.2.3", "²"],
)
def test_text_that_is_no_size_is_refused(size: str) -> None:
    with pytest.raises(OptionError):
        parse_bytes(size)


@pytest.mark.parametrize("size", ["2G", "2 g", "512M", "3k"])
def test_letter_alone_is_refused_as_it_can_be_read_in_two_ways(size: str) -> None:
    with pytest.raises(OptionError, match=r"write [KMG]iB .* or [KMG]B"):
        parse_bytes(size)


@pytest.mark.parametrize("size", ["2 x", "2 gi", "2 bytes"])
def test_unknown_unit_is_refused_with_the_known_ones(size: str) -> None:
    with pytest.raises(OptionError, match="has no known unit: use kB"):
        parse_bytes(size)


@pytest.mark.parametrize(
    "size",
    [-1, -0.5, math.nan, math.inf, True, None, [1], b"1", 1j, object(), Decimal("NaN")],
    ids=lambda size: type(size).__name__ + str(size)[:5],
)
def test_object_that_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(OptionError, match="is not a size"):
        parse_bytes(size)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (1023 * 2**20, "1023.0 MiB"),
        (8482560410, "7.9 GiB"),
        (2**40, "1.0 TiB"),
        (2**64, "16384.0 PiB"),
        (-(2**20), "-1.0 MiB"),
    ],
)
def test_size_is_written(n_bytes: int, text: str) -> None:
    assert format_bytes(n_bytes) == text


@given(st.integers(0, 2**59))
def test_written_size_is_read_as_nearly_the_same(n_bytes: int) -> None:
    assert parse_bytes(format_bytes(n_bytes)) == pytest.approx(n_bytes, rel=0.051)


@given(st.integers(0, 2**59))
def test_written_size_is_below_the_next_unit(n_bytes: int) -> None:
    assert float(format_bytes(n_bytes).split()[0]) < 1024


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, 4),
        (0, 4),
        (0.0, 4),
        (0.01, 1),
        (0.5, 2),
        (0.99, 4),
        (1, 1),
        (2.0, 2),
        (2.9, 2),
        (100, 100),
        (np.int64(3), 3),
    ],
)
def test_processes_wanted_of_four_cores(asked: Any, expected: int) -> None:
    count = wanted_processes(asked, 4)
    assert count == expected
    assert type(count) is int


@pytest.mark.parametrize("asked", [-1, -0.1, math.nan, math.inf, "2", object()], ids=shown)
def test_number_of_processes_that_makes_no_sense_is_refused(asked: Any) -> None:
    with pytest.raises(OptionError, match="num_processes="):
        wanted_processes(asked, 4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param((None, 8, None, None), 8, id="processes"),
        pytest.param((3, 8, None, None), 3, id="tasks"),
        pytest.param((100, 8, 10, 3), 3, id="memory"),
        pytest.param((100, 8, 9, 3), 3, id="memory-exactly"),
        pytest.param((100, 8, 2, 3), 0, id="none-fits"),
        pytest.param((0, 8, 10, 3), 0, id="nothing-to-do"),
        pytest.param((100, 8, 10, 0), 8, id="no-size"),
        pytest.param((100, 8, 0, None), 8, id="size-unknown"),
        pytest.param((100, 8, None, 3), 8, id="memory-unlimited"),
        pytest.param((100, 8, 0, 1), 0, id="no-memory"),
    ],
)
def test_least_of_tasks_processes_and_memory(arguments: tuple[Any, ...], expected: int) -> None:
    assert fit_count(*arguments) == expected


@given(st.integers(0, 10**6), st.integers(1, 10**4), st.integers(0, 2**50), st.integers(1, 2**40))
def test_what_fits_never_exceeds_the_memory(
    n_tasks: int, n_processes: int, memory: int, size: int
) -> None:
    count = fit_count(n_tasks, n_processes, memory, size)
    assert 0 <= count <= min(n_tasks, n_processes)
    assert count * size <= memory
    assert count in (n_tasks, n_processes) or (count + 1) * size > memory
