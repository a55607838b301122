"""Ready-made steps: any chunking gives what the whole in one chunk gives, for any array library."""

from __future__ import annotations

import functools
import pickle
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bigpipe.chunks import Tiling
from bigpipe.encoding import decode, encode
from bigpipe.streaming import (
    StreamError,
    can_save,
    compose,
    count,
    decimate,
    fir,
    fresh,
    iir,
    outputs_of,
    pack,
    repack,
    restore,
    run_steps,
    running_mean,
    sosfilt,
    state_of,
    unpack,
    windows,
)

SHAPES = {0: (-1,), 1: (2, -1), -1: (2, 3, -1)}
B, A = [0.2, -0.5, 0.25], [1.0, -0.3, 0.8]
SECTIONS = [[0.1, 0.2, 0.1, 1.0, -1.5, 0.7], [1.0, -2.0, 1.0, 1.0, -1.9, 0.91]]


def needs_scipy(make):
    def made(axis):
        pytest.importorskip("scipy")
        return make(axis)

    return made


FILTERS = {
    "fir": lambda axis: fir(B, axis),
    "fir of one": lambda axis: fir([2.0], axis),
    "fir, every third": lambda axis: fir(B, axis, every=3),
    "fir, steady": lambda axis: fir(B, axis, steady=True),
    "fir, complex": lambda axis: fir(np.array([1j, 0.5]), axis),
    "iir": needs_scipy(lambda axis: iir(B, A, axis)),
    "iir, steady": needs_scipy(lambda axis: iir(B, A, axis, steady=True)),
    "sosfilt": needs_scipy(lambda axis: sosfilt(SECTIONS, axis)),
    "sosfilt, steady": needs_scipy(lambda axis: sosfilt(SECTIONS, axis, steady=True)),
    "running_mean(1)": lambda axis: running_mean(1, axis),
    "running_mean(2)": lambda axis: running_mean(2, axis),
    "running_mean(7)": lambda axis: running_mean(7, axis),
    "decimate": lambda axis: decimate(3, axis),
    "all": lambda axis: compose(fir(B, axis), running_mean(3, axis), decimate(2, axis)),
}
each_filter = pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS)


@st.composite
def streams(draw, dtypes=("f8", "f4", "i2")):
    """Draw a whole array, the axis of its samples, and chunks of it, some of them empty."""
    axis = draw(st.sampled_from(list(SHAPES)))
    length = draw(st.integers(1, 40))
    seed, dtype = draw(st.integers(0, 99)), draw(st.sampled_from(dtypes))
    shape = tuple(length if size == -1 else size for size in SHAPES[axis])
    whole = (100 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)
    if draw(st.booleans()):
        at = range(1, length)  # one sample in each
    else:
        at = sorted(draw(st.lists(st.integers(0, length), max_size=6)))
    return whole, axis, np.split(whole, list(at), axis)


@each_filter
@given(streams())
def test_any_chunking_gives_what_the_whole_gives_to_the_last_bit(make, stream):
    whole, axis, chunks = stream
    (expected,) = run_steps([whole], make(axis))
    got = list(run_steps(chunks, make(axis)))
    np.testing.assert_array_equal(np.concatenate(got, axis), expected)
    assert {chunk.dtype for chunk in got} == {expected.dtype}


@each_filter
@given(streams(), st.data())
def test_a_saved_filter_goes_on_with_the_same_output(make, stream, data):
    whole, axis, chunks = stream
    step = make(axis)
    assert can_save(step)
    at = data.draw(st.integers(0, len(chunks)))
    before = [step(chunk) for chunk in chunks[:at]]
    other = pickle.loads(pickle.dumps(step))
    restore(other, decode(encode(state_of(step))))
    after = [other(chunk) for chunk in chunks[at:]]
    (expected,) = run_steps([whole], fresh(step))
    np.testing.assert_array_equal(np.concatenate(before + after, axis), expected)


@each_filter
def test_what_a_filter_keeps_is_not_the_memory_of_a_chunk(make):
    whole = np.random.default_rng(1).normal(size=50)
    (expected,) = run_steps([whole], make(0))
    chunk, step, got = np.empty(5), make(0), []
    for start in range(0, 50, 5):
        chunk[:] = whole[start : start + 5]
        got.append(step(chunk).copy())
        chunk[:] = np.nan
    np.testing.assert_array_equal(np.concatenate(got), expected)


@given(streams())
def test_fir_and_iir_are_those_of_scipy(stream):
    signal = pytest.importorskip("scipy.signal")
    whole, axis, chunks = stream
    whole = whole.astype("f8")
    for step, expected in [
        (fir(B, axis), signal.lfilter(B, 1, whole, axis)),
        (
            fir(B, axis, every=4),
            functools.reduce(
                lambda x, f: f(x),
                [lambda x: signal.lfilter(B, 1, x, axis), decimate(4, axis)],
                whole,
            ),
        ),
        (iir(B, A, axis), signal.lfilter(B, A, whole, axis)),
        (sosfilt(SECTIONS, axis), signal.sosfilt(SECTIONS, whole, axis)),
    ]:
        got = np.concatenate(list(run_steps([chunk.astype("f8") for chunk in chunks], step)), axis)
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)
    exact = np.concatenate(list(run_steps(chunks, iir(B, A, axis))), axis)
    np.testing.assert_array_equal(exact, signal.lfilter(B, A, np.concatenate(chunks, axis), axis))


@given(streams(), st.integers(1, 12))
def test_a_running_mean_is_that_of_the_samples_that_there_are(stream, n):
    whole, axis, chunks = stream
    got = np.concatenate(list(run_steps(chunks, running_mean(n, axis))), axis)
    moved = np.moveaxis(whole.astype("f8"), axis, 0)
    means = [moved[max(0, i + 1 - n) : i + 1].mean(0) for i in range(len(moved))]
    tight = 1e-4 if whole.dtype == "f4" else 1e-9
    np.testing.assert_allclose(got, np.moveaxis(np.array(means), 0, axis), rtol=tight, atol=tight)


def test_what_is_not_a_number_is_gone_after_the_window():
    x = np.ones(40)
    x[11] = np.nan
    for chunks in ([x], np.array_split(x, 9)):
        mean = np.concatenate(list(run_steps(chunks, running_mean(5))))
        assert np.flatnonzero(np.isnan(mean)).tolist() == [11, 12, 13, 14, 15]


def test_a_long_running_mean_does_not_drift():
    step = running_mean(10)
    for _ in range(50):
        last = step(np.full(1000, 1e9))
    last = step(np.full(20, 0.1))
    np.testing.assert_allclose(last[10:], np.full(10, 0.1), rtol=1e-14)


@pytest.mark.parametrize(
    "make",
    [
        lambda: fir([0.25] * 4, steady=True),
        lambda: iir([0.5], [1, -0.5], steady=True),
        lambda: sosfilt([[0.1, 0.2, 0.1, 1.0, -1.5, 0.9]], steady=True),
    ],
    ids=["fir", "iir", "sosfilt"],
)
def test_a_steady_filter_begins_as_if_it_had_run_for_ever(make):
    pytest.importorskip("scipy")
    got = make()(np.full(20, 3.0))
    np.testing.assert_allclose(got, np.full(20, got[-1]))


def test_the_precision_of_chunks_is_kept_and_whole_numbers_become_double():
    for step in (fir(B), running_mean(3)):
        assert fresh(step)(np.ones(9, "f4")).dtype == np.float32
        assert fresh(step)(np.ones(9, "i2")).dtype == np.float64
        assert fresh(step)(np.ones(9, "c8")).dtype == np.complex64
    assert fir([1j])(np.ones(3, "f4")).dtype == np.complex64


def test_a_long_chunk_is_filtered_in_blocks():
    x = np.random.default_rng(1).normal(size=200_001)
    np.testing.assert_allclose(fir(B)(x), np.convolve(x, B)[: len(x)], atol=1e-14)
    np.testing.assert_array_equal(fir(B, every=7)(x), fir(B)(x)[::7])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: fir([[1, 2]]), "list of weights"),
        (lambda: fir([]), "list of weights"),
        (lambda: fir([1], every=0), "every=0"),
        (lambda: running_mean(0), r"running_mean\(0\)"),
        (lambda: decimate(0), r"decimate\(0\)"),
        (lambda: pack(0), r"pack\(0\)"),
        (lambda: pack(2.5), r"pack\(2\.5\) would never be full: give an int"),
        (lambda: windows(2.5), r"windows\(2\.5\) would never be full"),
        (lambda: repack(0), r"repack\(0\)"),
        (lambda: windows(3, overlap=3), "overlap=3"),
        (lambda: fir(B, axis=1)(np.zeros(3)), r"fir works along axis 1.* has shape \(3,\)"),
        (lambda: repack(2, axis=2)(np.zeros(3)), "repack works along axis 2"),
    ],
    ids=[
        "2-d",
        "empty",
        "every",
        "mean",
        "decimate",
        "pack",
        "pack, fraction",
        "windows, fraction",
        "repack",
        "overlap",
        "axis",
        "axis 2",
    ],
)
def test_what_makes_no_sense_is_refused(make, said):
    with pytest.raises(StreamError, match=said):
        make()


def test_without_scipy_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.signal", None)
    with pytest.raises(StreamError, match="pip install scipy"):
        sosfilt(SECTIONS)(np.zeros(3))
    assert fir(B)(np.zeros(3)).shape == (3,)


# Other lengths


@given(streams(), st.integers(1, 12), st.data())
@example((np.arange(6.0), 0, [np.arange(6.0)]), 4, None)
def test_windows_are_those_of_a_file_that_is_read_so(stream, n, data):
    whole, axis, chunks = stream
    overlap = data.draw(st.integers(0, n - 1)) if data else 2
    got = list(run_steps(chunks, windows(n, overlap, axis)))
    tiles = Tiling(0, whole.shape[axis], n, overlap)
    assert len(got) == len(tiles)
    for chunk, tile in zip(got, tiles, strict=True):
        np.testing.assert_array_equal(chunk, whole.take(range(*tile), axis))


@given(streams(), st.integers(1, 12))
def test_repacked_chunks_are_equally_long_but_for_the_last(stream, n):
    whole, axis, chunks = stream
    got = list(run_steps(chunks, repack(n, axis)))
    np.testing.assert_array_equal(np.concatenate(got, axis), whole)
    assert all(chunk.shape[axis] == n for chunk in got[:-1])
    assert 0 < got[-1].shape[axis] <= n


@given(streams(), st.integers(2, 12), st.data())
def test_saved_windows_go_on_with_the_same_output(stream, n, data):
    _, axis, chunks = stream
    at = data.draw(st.integers(0, len(chunks)))
    used = windows(n, 1, axis)
    before = [each for chunk in chunks[:at] for each in outputs_of(used(chunk))]
    other = fresh(used)
    restore(other, decode(encode(state_of(used))))
    after = [each for chunk in chunks[at:] for each in outputs_of(other(chunk))]
    after += outputs_of(other.flush())
    expected = list(run_steps(chunks, fresh(used)))
    assert [chunk.tolist() for chunk in before + after] == [chunk.tolist() for chunk in expected]


@pytest.mark.parametrize("length", [2, 7])
def test_what_windows_keep_is_not_the_memory_of_a_chunk(length):
    chunk, step, got = np.empty(length), repack(5), []
    for number in range(6):
        chunk[:] = number
        got += [each.tolist() for each in outputs_of(step(chunk))]
    got.append(step.flush().tolist())
    assert np.concatenate(got).tolist() == np.repeat(np.arange(6), length).tolist()


def test_windows_of_no_samples_are_none():
    assert list(run_steps([np.zeros(0), np.zeros(0)], repack(3))) == []
    assert list(run_steps([], repack(3))) == []


@pytest.mark.parametrize(
    ("chunks", "packed"),
    [
        ([1, 2, 3], [np.array([1, 2]), np.array([3])]),
        ([np.ones(2), np.zeros(2)], [np.array([[1.0, 1], [0, 0]])]),
        ([np.ones(2), np.zeros(3)], [[np.ones(2), np.zeros(3)]]),
        (["a", None, "b", "c"], [["a", "b"], ["c"]]),
    ],
    ids=["numbers", "arrays", "shapes that differ", "text"],
)
def test_so_many_chunks_become_one(chunks, packed):
    got = list(run_steps(chunks, pack(2)))
    assert [type(chunk) for chunk in got] == [type(chunk) for chunk in packed]
    for one, other in zip(got, packed, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(st.lists(st.integers(), max_size=20), st.integers(1, 7))
def test_unpacking_undoes_packing(numbers, n):
    numbers = [number % 1000 for number in numbers]
    assert list(run_steps(numbers, pack(n), unpack())) == numbers
    assert can_save(compose(pack(n), unpack()))


def test_packed_chunks_are_saved():
    used = pack(3)
    used(1.5)
    other = fresh(used)
    restore(other, decode(encode(state_of(used))))
    assert (other(2), other(3).tolist()) == (None, [1.5, 2, 3])


def test_counts_are_of_samples_or_of_chunks():
    chunks = [np.zeros((2, 3)), np.zeros((2, 5))]
    assert list(run_steps(chunks, count())) == [4]
    assert list(run_steps(chunks, count(axis=-1))) == [8]
    assert list(run_steps(chunks, count(axis=None))) == [2]
    assert list(run_steps([], count())) == [0]
    used = count()
    used([1, 2])
    other = fresh(used)
    restore(other, state_of(used))
    other([3])
    assert other.flush() == 3


# Other array libraries


@pytest.mark.parametrize(
    "step",
    [
        fir(B),
        pytest.param(fir(B, every=2, steady=True), id="fir, every second"),
        running_mean(3),
        decimate(3),
        repack(4),
        windows(5, 2),
        compose(pack(2), unpack()),
        iir(B, A),
        sosfilt(SECTIONS),
    ],
    ids=repr,
)
@pytest.mark.parametrize("shape", [(20,), (20, 2)], ids=["1", "2"])
@pytest.mark.filterwarnings("ignore::UserWarning")  # the strict library warns of its newest version
def test_steps_work_by_the_functions_of_the_library_of_the_chunks(step, shape):
    pytest.importorskip("scipy")
    strict = pytest.importorskip("array_api_strict")
    whole = np.random.default_rng(1).normal(size=shape)
    chunks = np.split(whole, [3, 4, 11])
    expected = list(run_steps(chunks, step))
    got = list(run_steps([strict.asarray(chunk) for chunk in chunks], step))
    assert len(got) == len(expected)
    for ours, numpys in zip(got, expected, strict=True):
        assert isinstance(ours, type(strict.asarray(0.0)))
        np.testing.assert_allclose(np.from_dlpack(ours), numpys, rtol=1e-12, atol=1e-12)


def masked_ramp():
    return np.ma.masked_equal(np.arange(20.0).reshape(10, 2), 5)


@pytest.mark.parametrize(
    "step", [repack(4), windows(5, 2), decimate(2), compose(pack(2), unpack())], ids=repr
)
def test_steps_that_cut_a_stream_keep_what_is_masked(step):
    whole = masked_ramp()
    expected = run_steps(np.array_split(whole.filled(np.nan), 5), step)
    got = run_steps([whole[at : at + 2] for at in range(0, 10, 2)], step)
    for ours, filled in zip(got, expected, strict=True):
        np.testing.assert_array_equal(ours.filled(np.nan), filled)


def test_the_saved_state_of_windows_has_the_mask():
    first = repack(5)
    first(masked_ramp()[:2])
    first(masked_ramp()[2:4])
    second = repack(5)
    restore(second, decode(encode(state_of(first))))
    np.testing.assert_array_equal(
        second(masked_ramp()[4:5]).filled(np.nan), masked_ramp()[:5].filled(np.nan)
    )


@each_filter
def test_a_filter_refuses_masked_values_and_takes_a_mask_of_none(make):
    whole = np.arange(20.0)
    for mask in (np.ma.nomask, np.zeros(20, bool)):
        np.testing.assert_array_equal(make(0)(np.ma.array(whole, mask=mask)), make(0)(whole))
    if not isinstance(make(0), decimate):
        with pytest.raises(StreamError, match=r"masked values of a chunk: fill .*filled\(nan\)"):
            make(0)(np.ma.masked_equal(whole, 5))


@each_filter
def test_samples_with_a_unit_keep_it_whatever_that_of_later_chunks(make):
    units = pytest.importorskip("astropy.units")
    chunks = np.split(np.random.default_rng(1).normal(size=(20, 2)), [3, 3, 4, 11])
    expected = np.concatenate(list(run_steps(chunks, make(0))))
    others = (units.Quantity(chunk * 1000, units.m) for chunk in chunks[1:])
    got = list(run_steps([units.Quantity(chunks[0], units.km), *others], make(0)))
    np.testing.assert_allclose(
        np.concatenate(got).to_value(units.km), expected, rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("make", [FILTERS["iir"], FILTERS["fir"]], ids=["iir", "fir"])
def test_the_saved_state_of_a_filter_has_the_unit(make):
    units = pytest.importorskip("astropy.units")
    samples = np.arange(6.0)
    step, other = make(0), make(0)
    step(samples[:3] * units.km)
    restore(other, decode(encode(state_of(step))))
    np.testing.assert_allclose(
        other(samples[3:] * 1000 * units.m).to_value(units.km), make(0)(samples)[3:], rtol=1e-12
    )


@pytest.mark.parametrize(
    "step", [fir(B), running_mean(3), repack(4), pack(2), sosfilt(SECTIONS)], ids=repr
)
def test_a_library_without_the_functions_of_the_standard_is_named(step):
    pytest.importorskip("scipy")
    lazy = pytest.importorskip("dask.array")
    with pytest.raises(StreamError, match=r"dask\.array\.core\.Array, .* np\.asarray"):
        list(run_steps([lazy.zeros(3), lazy.zeros(3)], step))
