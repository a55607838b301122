"""Chunks tile an array, and are as long as requested."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe.chunks import Tiling, axis_index, chunk_length, sample_nbytes, storage_grid
from bigpipe.errors import StoreError


@st.composite
def tilings(draw):
    start = draw(st.integers(0, 20))
    n = draw(st.integers(1, 12))
    return Tiling(start, start + draw(st.integers(0, 60)), n, draw(st.integers(0, n - 1)))


@given(tilings())
def test_chunks_tile_a_file(tiling):
    chunks = list(tiling)
    assert len(chunks) == len(tiling)
    new = [tiling.start, *(first + tiling.overlap for first, _ in chunks[1:]), tiling.stop]
    pieces = list(itertools.pairwise(new)) if chunks else []
    # What each adds to those before it: all samples once, in order, and never nothing.
    assert [i for piece in pieces for i in range(*piece)] == list(range(tiling.start, tiling.stop))
    assert all(first < last for first, last in pieces)
    assert [last for _, last in pieces] == [last for _, last in chunks]


@given(tilings())
def test_all_chunks_but_the_last_are_equally_long(tiling):
    lengths = [last - first for first, last in tiling]
    assert all(length == tiling.n for length in lengths[:-1])
    assert all(tiling.overlap < length <= tiling.n for length in lengths[-1:]) or len(lengths) == 1


@pytest.mark.parametrize(
    ("n", "overlap", "said"),
    [
        (0, 0, "n=0 is not a valid chunk length"),
        (-3, 0, "n=-3"),
        (4, 4, "overlap=4 must be at least 0 and less than the 4 samples"),
        (4, -1, "overlap=-1"),
    ],
)
def test_a_tiling_that_would_not_go_on_is_refused(n, overlap, said):
    with pytest.raises(StoreError, match=said):
        Tiling(0, 10, n, overlap)


@given(
    nbytes=st.integers(0, 10_000),
    sample=st.integers(1, 200),
    overlap=st.integers(0, 50),
    cell=st.integers(1, 60),
)
def test_a_chunk_is_within_its_bytes_if_any_can_be(nbytes, sample, overlap, cell):
    n = chunk_length(nbytes, sample, overlap, cell)
    new = n - overlap
    assert new >= 1
    assert new % cell == 0 or cell % new == 0
    assert n * sample <= nbytes or new == 1
    # No longer one would be as good.
    longer = (
        new + cell if new >= cell else min(m for m in range(new + 1, cell + 1) if cell % m == 0)
    )
    assert (overlap + longer) * sample > nbytes


@given(
    shape=st.lists(st.integers(0, 5000), min_size=1, max_size=4),
    itemsize=st.sampled_from([1, 2, 8, 16]),
    n=st.integers(1, 10**6),
    data=st.data(),
)
def test_storage_chunks_are_of_moderate_size(shape, itemsize, n, data):
    axis = data.draw(st.integers(0, len(shape) - 1))
    grid = storage_grid(shape, itemsize, axis, n)
    others = [(grid[i], shape[i]) for i in range(len(shape)) if i != axis]
    assert all(1 <= cell <= max(1, length) for cell, length in others)
    assert grid[axis] >= 1
    assert math.prod(grid) * itemsize <= 1 << 20
    assert grid[axis] <= max(n, 4096)


def test_an_axis_is_counted_from_either_end():
    assert [axis_index(axis, (3, 4), "a.npy") for axis in (0, 1, -1, -2)] == [0, 1, 1, 0]
    assert sample_nbytes((3, 4, 5), 2, axis=1) == 30


@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_is_not_there_names_the_file(axis):
    with pytest.raises(StoreError, match=rf"no axis {axis} in 'a.npy', whose shape is \(3, 4\)"):
        axis_index(axis, (3, 4), "a.npy")
    with pytest.raises(StoreError, match=r"'a.npy' is a single number"):
        axis_index(axis, (), "a.npy")
