"""Values of each pixel become one as plain numpy, and ccdproc, would have it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from astropy.nddata import CCDData
from astropy.stats import mad_std
from hypothesis import given
from hypothesis import strategies as st

from bigpipe import OptionError
from bigpipe.fits.stacking import Rule, _network, combine_stack

RULES = {
    "average": {},
    "median": {"method": "median"},
    "sum": {"method": "sum"},
    "mean and std": {"sigma_clip": True, "sigma_clip_func": np.ma.mean},
    "median and mad": {
        "method": "median",
        "sigma_clip": True,
        "sigma_clip_func": "median",
        "sigma_clip_dev_func": mad_std,
        "sigma_clip_high_thresh": 4,
    },
    "one side": {"sigma_clip": True, "sigma_clip_low_thresh": None, "sigma_clip_high_thresh": 1.2},
    "extrema": {"clip_extrema": True, "nlow": 1, "nhigh": 2},
    "limits": {"minmax_clip": True, "minmax_clip_min": 992, "minmax_clip_max": 1010},
}


def values(n_frames: int, n_pixels: int = 300) -> np.ndarray:
    rng = np.random.default_rng(seed=n_frames)
    stack = rng.normal(1000, 5, (n_frames, n_pixels))
    stack[rng.random(stack.shape) < 0.03] += 300
    return stack.round().astype(np.float32)


def one_pixel(column: np.ndarray, rule: dict[str, Any]) -> tuple[float, float]:
    """Combine one pixel's values in plain steps."""
    column = column[np.isfinite(column)].astype(float)
    if rule.get("clip_extrema"):
        column = np.sort(column)[rule["nlow"] : max(0, len(column) - rule["nhigh"])]
    if rule.get("minmax_clip"):
        column = column[(column >= 992) & (column <= 1010)]
    if rule.get("sigma_clip") and len(column):
        is_median = rule.get("sigma_clip_func") == "median"
        center = np.median(column) if is_median else column.mean()
        sigma = mad_std(column) if rule.get("sigma_clip_dev_func") is mad_std else column.std()
        low, high = rule.get("sigma_clip_low_thresh", 3), rule.get("sigma_clip_high_thresh", 3)
        low = 1e9 if low is None else low
        column = column[(column >= center - low * sigma) & (column <= center + high * sigma)]
    n = len(column)
    if not n:
        return np.nan, np.nan
    if rule.get("method") == "median":
        return float(np.median(column)), float(mad_std(column) / np.sqrt(n))
    error = float(column.std() / np.sqrt(n))
    return (column.sum(), error * n) if rule.get("method") == "sum" else (column.mean(), error)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 8, 33])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("holes", [False, True], ids=["all count", "some are NaN"])
def test_each_pixel_is_combined_by_the_rule(n_frames: int, name: str, holes: bool) -> None:
    stack = values(n_frames)
    if holes:
        stack[np.random.default_rng(1).random(stack.shape) < 0.2] = np.nan
    expected = [one_pixel(column, RULES[name]) for column in stack.T]
    data, error = combine_stack(stack.copy(), Rule(**RULES[name]))
    assert data.dtype == error.dtype == np.float32
    np.testing.assert_allclose(data, [x for x, _ in expected], rtol=1e-6)
    np.testing.assert_allclose(error, [x for _, x in expected], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", RULES)
def test_ccdproc_combines_to_the_same(name: str) -> None:
    ccdproc = pytest.importorskip("ccdproc")
    stack = values(9).reshape(9, 15, 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pixels where nothing is left
        theirs = ccdproc.combine([CCDData(x, unit="adu") for x in stack], **RULES[name])
    data, error = combine_stack(stack.copy(), Rule(**RULES[name]))
    counts = ~theirs.mask
    np.testing.assert_allclose(data[counts], theirs.data[counts], rtol=1e-6)
    np.testing.assert_allclose(error[counts], theirs.uncertainty.array[counts], atol=1e-3)
    np.testing.assert_array_equal(np.isnan(data), theirs.mask)


def test_a_stack_of_many_blocks_is_combined_as_one_of_few(monkeypatch: Any) -> None:
    stack = values(5, 5000)
    whole = combine_stack(stack.copy(), Rule("median"))
    monkeypatch.setattr("bigpipe.fits.stacking.BLOCK_VALUES", 10)
    np.testing.assert_array_equal(combine_stack(stack, Rule("median")), whole)


@pytest.mark.parametrize("holes", [0, 1, 2])
def test_a_median_of_infinite_values_is_infinite_as_numpys_is(holes: int) -> None:
    inf = np.inf
    columns = [[1, inf, inf], [1, 2, inf], [-inf, -inf, 5], [-inf, inf, inf], [inf] * 3, [-inf] * 3]
    columns += [[-inf, 1, 4], [5, -inf, inf]]
    stack = np.array(columns, dtype=np.float32).T
    stack = np.concatenate([stack, np.full((holes, len(columns)), np.nan, np.float32)])
    even = np.concatenate([stack, stack[1:2]])
    for each in (stack, even):
        data, _ = combine_stack(each.copy(), Rule(method="median"))
        np.testing.assert_array_equal(data, np.nanmedian(each, axis=0))


def test_double_precision_stays_so() -> None:
    stack = np.array([[2.0**40], [2.0**40 + 2]])
    assert combine_stack(stack, Rule())[0] == 2.0**40 + 1


@given(st.lists(st.booleans(), min_size=1, max_size=32))
def test_the_network_sorts(bits: list[bool]) -> None:
    """A network that sorts all sequences of two values sorts every sequence."""
    result = list(bits)
    for i, j in _network(len(bits)):
        result[i], result[j] = min(result[i], result[j]), max(result[i], result[j])
    assert result == sorted(bits)


@pytest.mark.parametrize(
    "wrong", [{"method": "mode"}, {"sigma_clip_func": "mid"}, {"sigma_clip_dev_func": max}], ids=str
)
def test_a_rule_that_is_not_known_is_refused(wrong: dict[str, Any]) -> None:
    [name] = wrong
    with pytest.raises(OptionError, match=f"{name}=.*: give one of"):
        Rule(**wrong)


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"sigma_clip": 5}, "sigma_clip=5 .* sigma_clip_low_thresh"),
        ({"sigma_clip": "False"}, "sigma_clip='False' is neither True nor False"),
        ({"clip_extrema": 2}, "clip_extrema=2 .* nlow"),
        ({"minmax_clip": (1, 5)}, r"minmax_clip=\(1, 5\) .* minmax_clip_min"),
        ({"nlow": -1}, "nlow=-1 is not a number of values"),
        ({"nhigh": 1.5}, "nhigh=1.5 is not a number of values"),
        ({"sigma_clip_high_thresh": "3"}, "sigma_clip_high_thresh='3' is not a number"),
        ({"sigma_clip_high_thresh": -1}, "sigma_clip_high_thresh=-1 is below the center"),
        ({"minmax_clip_max": [10]}, r"minmax_clip_max=\[10\] is not a number"),
    ],
    ids=str,
)
def test_a_rule_that_would_mean_something_else_is_refused(
    wrong: dict[str, Any], remedy: str
) -> None:
    with pytest.raises(OptionError, match=remedy):
        Rule(**wrong)


def test_the_numbers_of_a_rule_may_be_those_of_numpy() -> None:
    stack = values(6)
    given = Rule(
        sigma_clip=np.True_,
        sigma_clip_high_thresh=np.float32(1.5),
        clip_extrema=True,
        nlow=np.int64(2),
        nhigh=0,
    )
    same = Rule(sigma_clip=True, sigma_clip_high_thresh=1.5, clip_extrema=True, nlow=2, nhigh=0)
    np.testing.assert_array_equal(
        combine_stack(stack.copy(), given), combine_stack(stack.copy(), same)
    )
