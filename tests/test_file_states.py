"""By what a file is known again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bigpipe.file_states import (
    checksum,
    checksums,
    flat_names,
    input_states,
    key_of,
    names_of,
    state_of,
)


def touch(path, by_ns=1):
    status = os.stat(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + by_ns))


@pytest.mark.parametrize(
    "in_name",
    ["a.fits", "./a.fits", "x/../a.fits", Path("a.fits"), "{here}/a.fits", "{here}//a.fits"],
    ids=repr,
)
def test_one_file_has_one_key_whatever_it_is_called(in_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = in_name.format(here=tmp_path) if isinstance(in_name, str) else in_name
    assert key_of(name) == str(tmp_path / "a.fits")
    assert key_of([name, [name]]) == json.dumps([str(tmp_path / "a.fits")] * 2).replace(
        f', "{tmp_path}/a.fits"]', f', ["{tmp_path}/a.fits"]]'
    )


def test_keys_differ_where_inputs_do():
    in_names = ["/a", "/b", ["/a"], [["/a"]], ["/a", "/b"], 1, "/1", 1.0, "/\udcff", "/\n"]
    assert len({key_of(in_name) for in_name in in_names}) == len(in_names)


@pytest.mark.parametrize(
    ("in_name", "names"),
    [
        ("/a.fits", ["/a.fits"]),
        ("/\udcff.gz", ["/\udcff.gz"]),
        (["/a", ["/b\n", "/\udcff"]], ["/a", "/b\n", "/\udcff"]),
    ],
    ids=["name", "name that is no UTF-8", "group"],
)
def test_key_tells_the_names_of_its_files(in_name, names):
    assert names_of(key_of(in_name)) == names


def test_key_goes_into_a_database_whatever_the_name_is():
    for name in ("/\udcff", "/a\nb", "/\N{GREEK SMALL LETTER ALPHA}"):
        key_of(name).encode()
        key_of([name]).encode()


def test_state_is_that_of_what_a_link_leads_to(tmp_path):
    (tmp_path / "file").write_bytes(b"four")
    os.symlink("file", tmp_path / "link")
    assert state_of(tmp_path / "link") == state_of(tmp_path / "file")
    assert state_of(tmp_path / "link")[0] == 4


@pytest.mark.parametrize("name", ["no such file", "a\0b"])
def test_what_is_not_there_has_no_state(name):
    assert state_of(name) is None


def write_more(folder):
    (folder / "inner" / "b").write_bytes(b"longer")


def remove(folder):
    (folder / "inner" / "b").unlink()


def rename(folder):
    (folder / "inner" / "b").rename(folder / "inner" / "c")


def touch_inside(folder):
    touch(folder / "inner" / "b", by_ns=10**12)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cube.zarr"
    (folder / "inner").mkdir(parents=True)
    (folder / "a").write_bytes(b"a")
    (folder / "inner" / "b").write_bytes(b"bb")
    for path in (folder / "a", folder / "inner" / "b", folder / "inner", folder):
        os.utime(path, ns=(0, 10**18))  # long ago, so that each change is seen
    return folder


@pytest.mark.parametrize("change", [write_more, remove, rename, touch_inside])
def test_state_of_a_folder_tells_a_change_in_it(folder, change):
    before = state_of(folder)
    assert before == (3, 10**18)
    change(folder)
    assert state_of(folder) != before


@pytest.mark.parametrize("change", [write_more, remove, rename])
def test_checksum_of_a_folder_tells_names_and_content(folder, change):
    before = checksum(folder)
    touch_inside(folder)
    assert checksum(folder) == before
    change(folder)
    assert checksum(folder) != before


@pytest.mark.parametrize("name", ["no such file", "a\0b"])
def test_what_is_not_there_has_no_checksum(name):
    assert checksum(name) is None


def test_checksum_is_that_of_the_content(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abc")
    first, second, none = checksums([tmp_path / "a", [tmp_path / "b", tmp_path / "none"]])
    assert first == second
    assert first.startswith("ba7816bf")
    assert none is None


def test_states_are_those_of_all_files_of_a_group(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    states = input_states([tmp_path / "a", [str(tmp_path / "none")]])
    assert states == (state_of(tmp_path / "a"), None)
    assert input_states(7) == ()


@pytest.mark.parametrize(
    ("in_name", "names"),
    [
        ("a", ["a"]),
        (Path("a"), ["a"]),
        (["a", ["b", Path("c")]], ["a", "b", "c"]),
        (b"a", []),
        (7, []),
    ],
)
def test_names_of_an_input_are_found_however_deep(in_name, names):
    assert list(flat_names(in_name)) == names
