"""Names that may have been met before."""

from __future__ import annotations

from bigpipe.claims.bloom import BloomFilter


def test_what_was_added_is_always_known():
    names = BloomFilter()
    given = [f"out/{i:06d}_bmp.fits" for i in range(10_000)]
    names.add(given)
    assert all(names.add(given))


def test_hardly_one_new_name_of_many_is_taken_for_an_old_one():
    names = BloomFilter()
    assert sum(names.add([f"out/{i:06d}_bmp.fits" for i in range(100_000)])) < 20
