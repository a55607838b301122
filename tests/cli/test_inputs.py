"""The forms of INPUT: files, folders, patterns and lists."""

from __future__ import annotations

import io
import os

import pytest

from bigpipe.cli.inputs import expanded
from bigpipe.errors import OptionError


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("raw/deep")
    os.makedirs("raw/cube.zarr")
    for name in ("raw/b.fits", "raw/a.fits", "raw/c.txt", "raw/deep/d.fits", "raw/[x].fits"):
        with open(name, "w"):
            pass


@pytest.mark.parametrize(
    ("arguments", "options", "names"),
    [
        (["raw/b.fits", "nowhere", "raw/a.fits"], {}, ["raw/b.fits", "nowhere", "raw/a.fits"]),
        (["raw"], {"pattern": "?.fits"}, ["raw/a.fits", "raw/b.fits"]),
        (
            ["raw/"],
            {"pattern": "**/*.fits"},
            ["raw/[x].fits", "raw/a.fits", "raw/b.fits", "raw/deep/d.fits"],
        ),
        (["raw/?.fits"], {}, ["raw/a.fits", "raw/b.fits"]),
        (["raw/[ab].fits"], {}, ["raw/a.fits", "raw/b.fits"]),
        (["raw/[x].fits"], {}, ["raw/[x].fits"]),
        (["raw/c*"], {}, ["raw/c.txt", "raw/cube.zarr"]),
        (["raw/cube.zarr"], {}, ["raw/cube.zarr"]),
        (["raw/b.fits", "raw/?.fits"], {}, ["raw/b.fits", "raw/a.fits"]),
        (["s3://bucket/a.fits"], {}, ["s3://bucket/a.fits"]),
    ],
    ids=[
        *("names", "folder", "folder and below", "pattern", "one of", "name like a pattern"),
        *("no folders", "zarr", "only once", "no file at all"),
    ],
)
def test_arguments_stand_for_names(arguments, options, names):
    assert expanded(arguments, **options) == names


@pytest.mark.parametrize(
    ("arguments", "options", "names"),
    [
        (
            ["raw/?.fits", "raw/c.txt"],
            {"are_groups": True},
            [["raw/a.fits", "raw/b.fits"], ["raw/c.txt"]],
        ),
        (["raw"], {"are_groups": True, "pattern": "?.fits"}, [["raw/a.fits", "raw/b.fits"]]),
        (
            [["raw/c.txt", "raw/?.fits"], "raw/?.fits"],
            {},
            [["raw/c.txt", "raw/a.fits", "raw/b.fits"], "raw/a.fits", "raw/b.fits"],
        ),
        (["raw/?.fits", "raw/[ab].fits"], {"are_groups": True}, [["raw/a.fits", "raw/b.fits"]]),
        ([["raw/a.fits", "raw/?.fits"]], {}, [["raw/a.fits", "raw/b.fits"]]),
    ],
    ids=["patterns", "folder", "lists among names", "only once", "no member twice"],
)
def test_arguments_stand_for_groups(arguments, options, names):
    assert expanded(arguments, **options) == names


def test_group_may_be_listed_and_must_have_a_file(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\n")))
    assert expanded(["-"], are_groups=True) == [["a", "b"]]
    with pytest.raises(OptionError, match="has no files"):
        expanded([[]])


@pytest.mark.parametrize(
    ("content", "is_null", "names"),
    [
        (b"a b\n\nc\r\n", False, ["a b", "c"]),
        (b"a\nb\0c\0", True, ["a\nb", "c"]),
        (b"\xff.fits\n", False, ["\udcff.fits"]),
        (b"", False, []),
    ],
    ids=["lines", "NUL", "no text", "empty"],
)
@pytest.mark.parametrize("argument", ["@list", "-"])
def test_list_of_names_is_read(argument, content, is_null, names, monkeypatch):
    with open("list", "wb") as file:
        file.write(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert expanded([argument], are_null_ended=is_null) == names


def test_folder_that_is_not_there_is_refused_and_a_file_left_to_the_run():
    with pytest.raises(OptionError, match="there is no folder 'rww/'"):
        expanded(["rww/"], pattern="*.npy")
    assert expanded(["rww/gone.npy"], pattern="**/*.npy") == ["rww/gone.npy"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("raw", r"'raw' is a folder: choose its files with --glob, such as '\*\.fits'"),
        ("raw/*.png", "no file matches"),
        ("@nowhere", "cannot read the list 'nowhere'"),
    ],
)
def test_argument_that_stands_for_nothing_is_refused(argument, message):
    with pytest.raises(OptionError, match=message):
        expanded([argument])
