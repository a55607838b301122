from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bigpipe.input_files import file_size, is_compressed


@pytest.fixture
def name(tmp_path: Path) -> str:
    path = tmp_path / "seven.bin"
    path.write_bytes(b"1234567")
    return str(path)


def test_size_is_that_of_the_file(name: str) -> None:
    assert file_size(name) == 7
    assert file_size(Path(name)) == 7


def test_sizes_of_a_nested_group_are_added(name: str) -> None:
    assert file_size([name, [name, Path(name)]]) == 21


def test_link_is_as_large_as_its_file(name: str, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(name)
    assert file_size(link) == 7


def test_group_with_a_member_that_is_no_file_has_no_size(name: str, tmp_path: Path) -> None:
    assert file_size([name, str(tmp_path / "missing")]) is None


@pytest.mark.parametrize(
    "in_name",
    ["missing.fits", "", "a\0b", "https://example.org/a.fits", "/dev/null", ".", 0, None, ("a",)],
    ids=repr,
)
def test_what_is_no_file_has_no_size(in_name: Any) -> None:
    assert file_size(in_name) is None


@pytest.mark.parametrize(
    ("in_name", "expected"),
    [
        ("a.fits.gz", True),
        ("a.fits.fz", True),
        ("A.NPZ", True),
        ("a.Z", True),
        (Path("a.tar.zst"), True),
        (["a.fits", ["b.fits.bz2"]], True),
        ("a.fits", False),
        ("a.gz/b.fits", False),
        (["a.fits", "b.npy"], False),
        ([], False),
        (7, False),
    ],
    ids=str,
)
def test_compression_is_told_by_the_extension(in_name: Any, expected: bool) -> None:
    assert is_compressed(in_name) is expected
