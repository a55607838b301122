from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bigpipe.errors import BigpipeError, OutnameError
from bigpipe.outname import (
    OUTNAME_APPEND,
    outname_creator,
    outname_maker,
    outname_with_extension,
    split_extension,
)

GROUP = ["raw/b1.fits", "raw/b2.fits"]


@pytest.mark.parametrize(
    ("in_name", "keywords", "expected"),
    [
        pytest.param("raw/b1.fits", {}, "out/b1_bmp.fits", id="plain"),
        pytest.param("raw/b1.fits", {"outname_append": "_r"}, "out/b1_r.fits", id="append"),
        pytest.param("raw/b1.fits", {"outname_append": ""}, "out/b1.fits", id="append-nothing"),
        pytest.param("raw/b1.fits", {"outname_append": None}, "out/b1_bmp.fits", id="append-none"),
        pytest.param("raw/b1.fits.gz", {}, "out/b1.fits_bmp.gz", id="last-extension"),
        pytest.param("raw/.hidden", {}, "out/.hidden_bmp", id="leading-dot"),
        pytest.param("README", {}, "out/README_bmp", id="no-extension"),
        pytest.param("raw/cube.zarr/", {}, "out/cube_bmp.zarr", id="folder-with-separator"),
        pytest.param(Path("raw/b1.fits"), {}, "out/b1_bmp.fits", id="path"),
        pytest.param(np.str_("b1.fits"), {}, "out/b1_bmp.fits", id="numpy-text"),
        pytest.param("b1.fits", {"outdir": Path("out")}, "out/b1_bmp.fits", id="path-outdir"),
        pytest.param("b1.fits", {"outdir": "out/"}, "out/b1_bmp.fits", id="outdir-separator"),
        pytest.param("b1.fits", {"outdir": "/"}, "/b1_bmp.fits", id="outdir-root"),
        pytest.param("b1.fits", {"outname": "x.fits"}, "out/x.fits", id="outname"),
        pytest.param("b1.fits", {"outname": Path("x.fits")}, "out/x.fits", id="outname-path"),
        pytest.param("b1.fits", {"outname": "../x.fits"}, "out/../x.fits", id="own-word-up"),
        pytest.param("b1.fits", {"outname": "/d/x.fits"}, "/d/x.fits", id="own-word-absolute"),
        pytest.param(
            "b1.fits", {"outname": "x.fits", "outdir": None}, "x.fits", id="outname-no-outdir"
        ),
        pytest.param(GROUP, {"outname": "bias.fits"}, "out/bias.fits", id="group"),
        pytest.param("b1.fits", {"reject_value": 2, "data": None}, "out/b1_bmp.fits", id="others"),
    ],
)
def test_name_follows_from_input_and_keywords(
    in_name: Any, keywords: dict[str, Any], expected: str
) -> None:
    name = outname_creator(in_name, **{"outdir": "out", **keywords})
    assert name == expected
    assert type(name) is str


@pytest.mark.parametrize("outdir", [None, ""], ids=["none", "empty"])
def test_output_goes_to_the_current_folder_without_outdir(
    outdir: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert outname_creator("raw/b1.fits", outdir=outdir) == str(tmp_path / "b1_bmp.fits")


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        pytest.param({"outdir": "m"}, "m/b1_a.fits", id="outdir"),
        pytest.param({"outname_append": "_m"}, "out/b1_m.fits", id="append"),
        pytest.param({"outname_append": ""}, "out/b1.fits", id="append-empty"),
        pytest.param({"outname": "m.fits"}, "out/m.fits", id="outname"),
        pytest.param({"outname": "m.fits", "outdir": "m"}, "m/m.fits", id="both"),
        pytest.param({"outname": Path("s/m.fits")}, "out/s/m.fits", id="path"),
        pytest.param({"outname": None, "outdir": None}, "out/b1_a.fits", id="none-is-not-given"),
        pytest.param({"median": 3}, "out/b1_a.fits", id="other-keys"),
    ],
)
def test_metadata_wins_over_arguments(meta: dict[str, Any], expected: str) -> None:
    assert outname_creator("b1.fits", meta, outdir="out", outname_append="_a") == expected


def test_outname_in_metadata_wins_over_argument() -> None:
    name = outname_creator("b1.fits", {"outname": "m.fits"}, outdir="out", outname="a.fits")
    assert name == "out/m.fits"


@pytest.mark.parametrize(
    "outname",
    ["/etc/passwd", "../x.fits", "a/../../x.fits", "..", ".", "a/..", "../output/x.fits"],
)
@pytest.mark.parametrize("outdir", ["out", "/data/out", "."])
def test_metadata_cannot_lead_outside_outdir(outname: str, outdir: str) -> None:
    with pytest.raises(OutnameError) as caught:
        outname_creator("raw/b1.fits", {"outname": outname}, outdir=outdir)
    assert repr(outname) in str(caught.value)
    assert repr(outdir) in str(caught.value)
    assert "raw/b1.fits" in str(caught.value)


def test_empty_outdir_is_the_current_folder_for_that_check() -> None:
    with pytest.raises(OutnameError, match="leads outside"):
        outname_creator("b1.fits", {"outname": "../x.fits"}, outdir="")


def test_metadata_outdir_is_the_one_that_counts_for_that_check() -> None:
    with pytest.raises(OutnameError, match="leads outside"):
        outname_creator("b1.fits", {"outname": "/a/x.fits", "outdir": "/b"}, outdir="/a")


@pytest.mark.parametrize("outdir", ["/data/out", "/data/out/", "/"])
def test_absolute_metadata_name_inside_outdir_is_fine(outdir: str) -> None:
    name = outname_creator("b1.fits", {"outname": "/data/out/x.fits"}, outdir=outdir)
    assert name == "/data/out/x.fits"


def test_absolute_metadata_name_inside_relative_outdir_is_fine() -> None:
    inside = os.path.abspath("out/x.fits")
    assert outname_creator("b1.fits", {"outname": inside}, outdir="out") == inside


def test_root_itself_is_no_name() -> None:
    with pytest.raises(OutnameError, match="leads outside"):
        outname_creator("b1.fits", {"outname": "."}, outdir="/")


@pytest.mark.parametrize("outname", ["/data/x.fits", "../x.fits", "x.fits"])
def test_metadata_name_is_used_as_it_is_without_outdir(outname: str) -> None:
    assert outname_creator(GROUP, {"outname": outname}) == outname


@given(outname=st.text(alphabet="ab./", min_size=1), outdir=st.sampled_from(["o", "/o/p", "."]))
def test_metadata_name_is_below_outdir_or_refused(outname: str, outdir: str) -> None:
    """Compared with another way to find out: the common path."""
    folder = os.path.abspath(outdir)
    target = os.path.abspath(os.path.join(outdir, outname)).replace("//", "/")
    below = os.path.commonpath([folder, target]) == folder and target != folder
    if below:
        assert outname_creator("b", {"outname": outname}, outdir) == os.path.join(outdir, outname)
    else:
        with pytest.raises(OutnameError):
            outname_creator("b", {"outname": outname}, outdir)


@pytest.mark.parametrize(
    "group", [GROUP, [["a"], ["b"]], [], ("a", "b")], ids=["flat", "nested", "empty", "tuple"]
)
def test_group_without_outname_is_told_how_to_give_one(group: Any) -> None:
    with pytest.raises(OutnameError) as caught:
        outname_creator(group, {"median": 1}, outdir="out")
    for remedy in ("'bmp_kwargs': {'outname'", "bmp_meta['outname']", "outname_create"):
        assert remedy in str(caught.value)


def test_large_group_is_not_listed_whole() -> None:
    with pytest.raises(OutnameError, match="1000 in all") as caught:
        outname_creator([f"b{i}.fits" for i in range(1000)])
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"in_name": b"b1.fits"}, id="in_name"),
        pytest.param({"outdir": b"out"}, id="outdir"),
        pytest.param({"outname": b"x"}, id="outname"),
        pytest.param({"outname_append": b"_r"}, id="outname_append"),
        pytest.param({"meta": {"outname": b"x"}}, id="meta"),
    ],
)
def test_bytes_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(OutnameError, match=r"is bytes: decode it with os\.fsdecode"):
        outname_creator(**{"in_name": "b1.fits", **arguments})


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"in_name": 7}, id="in_name"),
        pytest.param({"in_name": None}, id="in_name-none"),
        pytest.param({"outdir": 7}, id="outdir"),
        pytest.param({"outname_append": 7}, id="outname_append"),
        pytest.param({"meta": {"outname": 7}}, id="meta"),
    ],
)
def test_what_is_no_text_is_refused_by_its_type(arguments: dict[str, Any]) -> None:
    with pytest.raises(
        OutnameError, match=r"^(in_name|outdir|outname\w*)=.* is of type \w+: give a str"
    ):
        outname_creator(**{"in_name": "b1.fits", **arguments})


@pytest.mark.parametrize("in_name", ["", "/"], ids=["empty", "root"])
def test_input_without_base_name_is_refused(in_name: str) -> None:
    with pytest.raises(OutnameError, match="no base name"):
        outname_creator(in_name, outdir="out")


@pytest.mark.parametrize("arguments", [{"outname": ""}, {"meta": {"outname": ""}, "outname": "x"}])
def test_empty_outname_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(OutnameError, match="is empty"):
        outname_creator("b1.fits", outdir="out", **arguments)


def test_unusual_characters_stay_as_they_are() -> None:
    name = "-a\n\udcff" + "é" * 100 + ".fits"
    assert outname_creator(name, outdir="out") == f"out/{name[:-5]}_bmp.fits"


def test_error_is_also_a_value_error() -> None:
    assert issubclass(OutnameError, ValueError)
    assert issubclass(OutnameError, BigpipeError)


def test_default_append_is_the_published_one() -> None:
    assert OUTNAME_APPEND == "_bmp"


@pytest.mark.parametrize(
    "naming",
    [
        {"outdir": "out", "outname_append": "_r"},
        {"outdir": "o", "outname_append": ""},
        {"outdir": "out/", "outname_append": "_r"},
        {"outdir": "/", "outname_append": "_r"},
        {"outdir": "", "outname_append": "_r"},
        {"outdir": Path("out"), "outname_append": "_r"},
        {"outdir": "out", "outname_append": None},
        {"outdir": "out", "outname_append": "_r", "outname": "x.fits"},
        {"outdir": "out"},
        {},
    ],
    ids=str,
)
@given(in_name=st.one_of(st.text("ab./\n", max_size=8), st.just(Path("raw/b1.fits"))))
@example(in_name="raw/b1.fits")
@example(in_name="raw.d/.hidden")
@example(in_name="README")
@example(in_name="")
def test_maker_for_many_inputs_makes_the_same_names(
    in_name: str | Path, naming: dict[str, Any]
) -> None:
    try:
        expected = outname_creator(in_name, **naming)
    except OutnameError:
        with pytest.raises(OutnameError):
            outname_maker(**naming)(in_name)
    else:
        assert outname_maker(**naming)(in_name) == expected


@pytest.mark.parametrize("compression", ["gz", "bz2", "fz", "xz", "zst", "z", "Z"])
@pytest.mark.parametrize("kind", ["fits", "fit", "fts", "FITS"])
def test_compressed_fits_file_has_two_extensions(kind: str, compression: str) -> None:
    extension = f".{kind}.{compression}"
    assert split_extension(f"raw.d/b1.v2{extension}") == ("raw.d/b1.v2", extension)


@pytest.mark.parametrize(
    ("name", "extension"),
    [("b1.fits", ".fits"), ("b1.tar.gz", ".gz"), ("b1.fits.txt", ".txt"), ("b1", ""), ("gz", "")],
)
def test_other_file_has_one_extension_or_none(name: str, extension: str) -> None:
    assert split_extension(name) == (name.removesuffix(extension), extension)


@pytest.mark.parametrize(
    ("in_name", "arguments", "expected"),
    [
        pytest.param("raw/b1.fits", {}, "out/b1_bmp.fits", id="plain"),
        pytest.param("raw/b1.fits.gz", {}, "out/b1_bmp.fits.gz", id="compressed"),
        pytest.param("raw/b1.v2.fits", {}, "out/b1.v2_bmp.fits", id="dot-in-name"),
        pytest.param("raw/b1.fits.gz", {"outname_ext": "png"}, "out/b1_bmp.png", id="other"),
        pytest.param("raw/b1.fits", {"outname_ext": ".png"}, "out/b1_bmp.png", id="with-dot"),
        pytest.param("raw/b1.fits", {"outname_ext": ""}, "out/b1_bmp", id="none"),
        pytest.param("raw/cube.zarr/", {"outname_ext": "h5"}, "out/cube_bmp.h5", id="folder"),
        pytest.param(Path("raw/b1.fits"), {"outname_ext": "h5"}, "out/b1_bmp.h5", id="path"),
        pytest.param(
            "b1.fits", {"outname_append": "_r", "outname_ext": "h5"}, "out/b1_r.h5", id="append"
        ),
        pytest.param(
            "b1.fits",
            {"meta": {"outname_append": "_r"}, "outname_ext": "h5"},
            "out/b1_r.h5",
            id="append-in-metadata",
        ),
        pytest.param(
            "b1.fits", {"outname": "x.fits", "outname_ext": "h5"}, "out/x.fits", id="outname"
        ),
        pytest.param(
            "b1.fits",
            {"meta": {"outname": "x.fits"}, "outname_ext": "h5"},
            "out/x.fits",
            id="outname-in-metadata",
        ),
        pytest.param(GROUP, {"outname": "bias.fits"}, "out/bias.fits", id="group"),
    ],
)
def test_extension_is_changed_unless_the_output_has_a_name(
    in_name: Any, arguments: dict[str, Any], expected: str
) -> None:
    assert outname_with_extension(in_name, outdir="out", **arguments) == expected


@pytest.mark.parametrize(
    ("in_name", "told"),
    [(GROUP, "A group of inputs"), ("", "no base name"), ("/", "no base name"), (b"b1", "bytes")],
    ids=["group", "empty", "root", "bytes"],
)
def test_name_with_another_extension_is_refused_as_without(in_name: Any, told: str) -> None:
    with pytest.raises(OutnameError, match=told):
        outname_with_extension(in_name, outdir="out", outname_ext="h5")


def test_extension_that_is_no_text_is_refused() -> None:
    with pytest.raises(OutnameError, match=r"^outname_ext=7 of 'b1.fits' is of type int"):
        outname_with_extension("b1.fits", outname_ext=7)  # type: ignore[arg-type]
