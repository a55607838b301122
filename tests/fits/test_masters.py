"""Groups become masters: prepared frame by frame, in memory or in stripes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

from bigpipe import BigpipeWarning, OptionError, PipelineError, for_each_member
from bigpipe.fits import CombinePipe, masters
from bigpipe.fits.frame_stack import FrameStack
from bigpipe.fits.pipeline import WORKER_BYTES
from bigpipe.fits.stacking import Rule
from tests.fits.frames import write
from tests.places import not_spawned


@pytest.fixture
def groups(tmp_path: Path) -> list[list[str]]:
    rng = np.random.default_rng(seed=5)
    return [
        [
            write(
                tmp_path / f"{kind}{i}.fits",
                rng.poisson(1000 + 100 * i, (30, 40)).astype(np.uint16),
                IMAGETYP=kind,
                EXPTIME=float(30 * number),
            )
            for i in range(n_frames)
        ]
        for number, (kind, n_frames) in enumerate([("bias", 5), ("dark", 4)])
    ]


def stack_of(names: list[str]) -> Any:
    return np.array([fits.getdata(name) for name in names], dtype=float)


def pipe(tmp_path: Path, **keywords: Any) -> CombinePipe:
    return CombinePipe(
        fallback_unit="adu", outdir=tmp_path / "out", create_outdir=True, overwrite=True, **keywords
    )


@pytest.mark.parametrize("mem_limit", [None, 1000, "20 KiB"], ids=["memory", "stripes", "two"])
@not_spawned
def test_masters_are_the_same_in_memory_and_in_stripes(
    tmp_path: Path, groups: list[list[str]], mem_limit: Any, anywhere: dict[str, Any]
) -> None:
    pout = pipe(tmp_path, method="median").pipeline(groups, mem_limit=mem_limit, **anywhere)
    assert [Path(name).name for name, _ in pout] == ["bias-30x40.fits", "dark-30s-30x40.fits"]
    for (outname, _), names in zip(pout, groups, strict=True):
        np.testing.assert_array_equal(fits.getdata(outname), np.median(stack_of(names), axis=0))
        header = fits.getheader(outname)
        assert header["NCOMBINE"] == len(names)
        assert header["IMCMB002"] == Path(names[1]).name
        assert fits.getdata(outname, "UNCERT").min() > 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("bias-30x40.fits", "dark-30s-30x40.fits"),
    ]


def test_each_frame_is_prepared_by_itself_and_may_be_left_out(
    tmp_path: Path, groups: list[list[str]]
) -> None:
    seen = []

    def subtract(ccd: Any, in_name: Any = None, offset: float = 0, **kwargs: Any) -> Any:
        seen.append(Path(in_name).name)
        if in_name.endswith("bias1.fits"):
            return None
        return ccd.subtract(offset * ccd.unit, handle_meta="first_found")

    def note(ccd: Any, bmp_meta: Any = None, in_name: Any = None, **kwargs: Any) -> Any:
        bmp_meta["used"] = [Path(name).name for name in in_name]
        return ccd

    [(outname, meta)] = pipe(tmp_path, num_processes=1).pipeline(
        groups[:1], pre_process_list=for_each_member(subtract), post_process_list=note, offset=100
    )
    assert seen == [f"bias{i}.fits" for i in range(5)]
    assert meta["used"] == ["bias0.fits", "bias2.fits", "bias3.fits", "bias4.fits"]
    expected = np.delete(stack_of(groups[0]), 1, axis=0).mean(axis=0) - 100
    np.testing.assert_allclose(fits.getdata(outname), expected, rtol=1e-6)


def test_a_group_of_which_no_frame_is_left_is_rejected(
    tmp_path: Path, groups: list[list[str]]
) -> None:
    def reject(ccd: Any, **kwargs: Any) -> None:
        return None

    pout = pipe(tmp_path, num_processes=1).pipeline(groups, pre_process_list=reject)
    assert pout == [(None, {}), (None, {})]


def test_an_empty_group_is_rejected(tmp_path: Path) -> None:
    assert pipe(tmp_path).pipeline([[]], executor="serial") == [(None, {})]


def test_a_function_of_the_frames_may_name_the_master(
    tmp_path: Path, groups: list[list[str]]
) -> None:
    def name(ccd: Any, **kwargs: Any) -> dict[str, Any]:
        return {"bmp_data": ccd, "bmp_kwargs": {"outname": "mine.fits"}}

    [(outname, _)] = pipe(tmp_path, num_processes=1).pipeline(groups[:1], pre_process_list=name)
    assert Path(outname).name == "mine.fits"


@pytest.mark.parametrize(
    ("scale", "factors"),
    [
        ("median", lambda stack: 1 / np.median(stack, axis=(1, 2))),
        ("mean", lambda stack: 1 / stack.mean(axis=(1, 2))),
        (lambda values: 1 / values.max(), lambda stack: 1 / stack.max(axis=(1, 2))),
        ([1, 2, 3, 4, 5], lambda stack: np.arange(1, 6)),
    ],
    ids=["median", "mean", "function", "list"],
)
def test_frames_are_scaled_first(
    tmp_path: Path, groups: list[list[str]], scale: Any, factors: Any
) -> None:
    [(outname, _)] = pipe(tmp_path, num_processes=1).pipeline(groups[:1], scale=scale)
    stack = stack_of(groups[0])
    expected = (stack * factors(stack)[:, None, None]).mean(axis=0)
    np.testing.assert_allclose(fits.getdata(outname), expected, rtol=1e-6)


def test_factors_stay_with_their_frames_when_one_is_left_out(
    tmp_path: Path, groups: list[list[str]]
) -> None:
    def leave_out(ccd: Any, in_name: Any = None, **kwargs: Any) -> Any:
        return None if in_name.endswith("bias1.fits") else ccd

    [(outname, _)] = pipe(tmp_path, num_processes=1).pipeline(
        groups[:1], pre_process_list=leave_out, scale=[1, 10, 2, 3, 4]
    )
    kept = np.delete(stack_of(groups[0]), 1, axis=0)
    expected = (kept * np.array([1, 2, 3, 4])[:, None, None]).mean(axis=0)
    np.testing.assert_allclose(fits.getdata(outname), expected, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*truncated")
@pytest.mark.parametrize("damage", ["cut short", "no FITS file", "missing"])
def test_a_frame_that_cannot_be_read_is_named_and_costs_its_group_only(
    tmp_path: Path, groups: list[list[str]], damage: str
) -> None:
    bad = Path(groups[0][2])
    if damage == "cut short":
        bad.write_bytes(bad.read_bytes()[:4000])
    elif damage == "no FITS file":
        bad.write_text("no")
    else:
        bad.unlink()
    pout = pipe(tmp_path, num_processes=1).pipeline(groups, on_error="return")
    assert [outname is None for outname, _ in pout] == [True, False]
    said = str(pout.errors[0].__cause__)
    assert str(bad) in said
    assert damage == "missing" or "copy it again, or leave it out" in said
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["dark-30s-30x40.fits"]


def test_masked_pixels_do_not_count_and_where_none_does_is_masked(tmp_path: Path) -> None:
    names = []
    for i in range(2):
        data = np.full((3, 4), 10.0 + 2 * i, dtype=np.float32)
        mask = np.zeros((3, 4), dtype=bool)
        mask[0, 0], mask[0, i] = True, True
        names.append(str(tmp_path / f"{i}.fits"))
        CCDData(data, unit="adu", mask=mask, meta=fits.Header({"OBJECT": "x"})).write(names[-1])
    [(outname, _)] = pipe(tmp_path, num_processes=1).pipeline([names], outname="m.fits")
    master = CCDData.read(outname)
    assert np.argwhere(master.mask).tolist() == [[0, 0]]
    assert (master.data[0, 1], master.data[2, 2]) == (10, 11)


@pytest.mark.parametrize(
    ("other", "cards"),
    [(np.zeros((30, 41), np.uint16), {}), (np.zeros((30, 40), np.uint16), {"BUNIT": "electron"})],
    ids=["shape", "unit"],
)
def test_frames_that_do_not_belong_together_are_named(
    tmp_path: Path, groups: list[list[str]], other: Any, cards: dict[str, str]
) -> None:
    odd = write(tmp_path / "odd.fits", other, **cards)
    wrong = r"odd\.fits has 30 x .*bias0\.fits of the same group has 30 x 40 pi"
    with pytest.raises(PipelineError) as caught:
        pipe(tmp_path, num_processes=1).pipeline([[*groups[0], odd]])
    assert re.search(wrong, str(caught.value.pout.errors[0]))


def test_files_of_several_images_cannot_be_combined_as_such(
    tmp_path: Path, groups: list[list[str]]
) -> None:
    with pytest.raises(PipelineError, match="was read as list, but only one CCDData"):
        pipe(tmp_path, num_processes=1).pipeline(groups[:1], hdu="all", outname="m.fits")


def test_a_list_of_frames_in_place_of_groups_is_doubted(
    tmp_path: Path, groups: list[list[str]]
) -> None:
    with pytest.warns(BigpipeWarning, match=r"each of the 5 inputs .* pipeline\(\[names\]\)"):
        pout = pipe(tmp_path, num_processes=1).pipeline(groups[0])
    assert len(pout) == 5


def test_a_rule_that_is_not_known_is_refused_before_anything_is_read(
    tmp_path: Path, groups: list[list[str]]
) -> None:
    with pytest.raises(OptionError, match="method='mode'"):
        pipe(tmp_path).pipeline(groups, method="mode")


@pytest.mark.parametrize("name", ["weights", "combine_uncertainty_function"])
def test_a_keyword_of_ccdproc_that_would_have_no_effect_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} has no effect"):
        CombinePipe().pipeline([["missing.fits"]], **{name: [1]})

    class Own(CombinePipe):
        def data_process(self, data: Any, **kwargs: Any) -> Any:
            return None

    assert Own().plan([["missing.fits"]], **{name: [1]})


def test_a_keyword_of_ccdproc_that_a_function_knows_is_not_refused() -> None:
    def note_weights(data: Any, bmp_meta: Any = None, weights: Any = None, **kwargs: Any) -> Any:
        bmp_meta["weights"] = weights
        return data

    assert CombinePipe(post_process_list=note_weights).plan([["missing.fits"]], weights=[1])


@pytest.mark.parametrize("n_factors", [2, 4])
def test_as_many_factors_as_frames_are_asked_for(tmp_path: Path, n_factors: int) -> None:
    names = [write(tmp_path / f"{i}.fits", np.full((4, 5), 10.0 * i)) for i in range(3)]
    with pytest.raises(PipelineError) as caught:
        pipe(tmp_path, executor="serial").pipeline([names], scale=[1] * n_factors)
    message = f"scale has {n_factors} factors for a group of 3 frames"
    assert message in str(caught.value.exceptions[0])


@pytest.mark.parametrize("scale", [2.0, "mode"], ids=str)
def test_a_scale_that_is_not_known_is_refused_before_anything_is_read(scale: Any) -> None:
    with pytest.raises(OptionError, match=f"scale={scale!r} .*: give 'median'"):
        CombinePipe().pipeline([["missing.fits"]], scale=scale)


@pytest.mark.parametrize("scale", ["median", "mean"])
def test_a_frame_that_cannot_be_scaled_is_named(tmp_path: Path, scale: str) -> None:
    names = [write(tmp_path / f"{i}.fits", np.full((4, 5), 1.0 - i)) for i in range(2)]
    with pytest.raises(PipelineError) as caught:
        pipe(tmp_path, executor="serial").pipeline([names], scale=scale)
    assert re.search(f"the {scale} of .*1.fits is 0", str(caught.value.exceptions[0]))


def test_weights_may_be_given_as_scale(tmp_path: Path) -> None:
    names = [write(tmp_path / f"{i}.fits", np.full((4, 5), 10.0 * i)) for i in range(3)]
    weights = np.array([1, 2, 5])
    [(outname, _)] = CombinePipe(outdir=tmp_path, fallback_unit="adu").pipeline(
        [names], outname="mean.fits", scale=list(weights / weights.sum()), method="sum"
    )
    expected = np.average([0, 10, 20], weights=weights)
    np.testing.assert_allclose(fits.getdata(outname), expected, rtol=1e-6)


def test_a_rule_that_is_misspelt_is_doubted(tmp_path: Path) -> None:
    with pytest.warns(BigpipeWarning, match=r"'sigma_clp' .* did you mean 'sigma_clip'\?"):
        CombinePipe().plan([["missing.fits"]], sigma_clp=True)


def test_memory_is_that_of_the_stack_or_its_limit_and_one_frame_at_work(
    groups: list[list[str]],
) -> None:
    combine, names, n_pixels = CombinePipe(), groups[0], 30 * 40
    one = combine.projected_size(names[0]) - WORKER_BYTES
    both = WORKER_BYTES + one + 40 * n_pixels
    assert combine.projected_size(names) == both + len(names) * 4 * n_pixels
    assert combine.projected_size(names, mem_limit="1 kB") == both + 1000
    assert combine.projected_size([*names, "missing.fits"]) is None


def test_memory_of_a_stack_is_that_of_the_object_where_there_is_no_run(
    groups: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masters, "MIN_STACK_BYTES", 1000)
    most, least = (CombinePipe(mem_available=n).projected_size(groups[0]) for n in ("1 GiB", 1))
    assert most - least == len(groups[0]) * 4 * 30 * 40 - 1000


def test_a_stack_can_be_read_directly_whatever_options_of_a_run_are(
    groups: list[list[str]],
) -> None:
    assert CombinePipe(object(), order=3).projected_size(groups[0])


@pytest.mark.parametrize("limit", [4 * 12, 10**6], ids=["disk", "memory"])
def test_a_stack_leaves_no_file_behind(tmp_path: Path, limit: int) -> None:
    with FrameStack(3, limit, tmp_path, {}) as stack:
        for i in range(3):
            ccd = CCDData(np.full((3, 4), i, dtype=np.float32), unit="adu", meta=fits.Header())
            stack.add(ccd, f"{i}.fits", i)
        assert stack.is_on_disk == (limit == 48)
        assert list(tmp_path.iterdir()) == []
        assert (stack.combined(Rule()).data == 1).all()
