"""The rows of a journal, and the results restored from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bigpipe.encoding import decode
from bigpipe.errors import FileError
from bigpipe.journal_store.rows import file_row, file_texts, result_of
from bigpipe.records import FileResult, Outcome

CHECKSUM = "ab" * 32


def row_of(result, inputs=(), outputs=(), *, is_final=True):
    returned = None if result.error is not None else (result.outname, result.meta)
    texts = file_texts(inputs, result.seconds, outputs, returned)
    return file_row(1, "/raw/a.fits", result, texts, 1.5e9, is_final=is_final)


def written(**changes):
    return FileResult(
        **{
            "index": 3,
            "in_name": "raw/a.fits",
            "outname": "out/a.fits",
            "meta": {"n": 1},
            "outcome": Outcome.WRITTEN,
            "seconds": {"file_read": 0.25, "file_write": 1.5},
            **changes,
        }
    )


@pytest.mark.parametrize(
    "name",
    ["a.fits", 'a "b" \\ 100 %s.fits', "a\nb", "\N{GREEK SMALL LETTER ALPHA}", "\udcff", "!tuple"],
    ids=["plain", "signs", "newline", "greek", "no utf-8", "tag"],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_result_comes_back_from_its_row(name, kind):
    numbers = {"peak_rss": 5, "attempts": 2, "worker": 1, "projected": 6, "growth": 7}
    before = written(in_name=kind(name), outname=kind(name), rejected_by="a", **numbers)
    row = row_of(before)
    now = result_of(row, 3, decode(row.in_name))
    assert now.from_journal
    now.from_journal = False
    assert now == before
    assert type(now.outname) is type(before.outname)


@pytest.mark.parametrize("name", ["a.fits", 'a "b" \\ %s', "a\nb", "\udcff"], ids=repr)
def test_states_are_json(name):
    inputs = [None, (1, 1_700_000_000_123_456_789), (2, 3, CHECKSUM)]
    outputs = [(name, None), (name, (1, -1))]
    row = row_of(written(), inputs, outputs)
    assert json.loads(row.inputs) == [None, [1, 1_700_000_000_123_456_789], [2, 3, CHECKSUM]]
    assert json.loads(row.outputs) == [[name, None], [name, [1, -1]]]
    assert row.states == json.loads(row.inputs)
    assert row.placed == json.loads(row.outputs)
    row = row_of(written())
    assert (row.inputs, row.outputs) == ("[]", "[]")


@pytest.mark.parametrize(
    ("inputs", "n_bytes"),
    [([(3, 1), None, (4, 1, CHECKSUM)], 7), ([(0, 1)], 0), ([None], None), ([], None)],
    ids=["group", "empty file", "no file", "no names"],
)
def test_size_is_unknown_only_if_no_name_is_that_of_a_file(inputs, n_bytes):
    assert row_of(written(), inputs).n_bytes == n_bytes


@pytest.mark.parametrize(
    "seconds",
    [{}, {"file_read": 1e-9}, {"a %s hook": 1e6, "file_read": 0.1234567}],
    ids=["none", "short", "odd name"],
)
def test_seconds_come_back_to_the_microsecond(seconds):
    row = row_of(written(seconds=seconds))
    assert result_of(row, 0, "").seconds == pytest.approx(seconds, abs=1e-6)


def test_error_comes_back_with_what_it_knows():
    error = FileError(
        "file_read raised ValueError on 'raw/a.fits': no good",
        in_name="raw/a.fits",
        hook="file_read",
        attempts=2,
        traceback="Traceback ...",
    )
    error.__cause__ = ValueError("no good")
    failed = written(outname=None, meta={"bmp_error": error}, outcome=Outcome.FAILED, error=error)
    failed.attempts = 2
    now = result_of(row_of(failed), 5, "elsewhere/a.fits")
    assert (now.index, now.in_name, now.outcome) == (5, "elsewhere/a.fits", Outcome.FAILED)
    assert now.meta == {"bmp_error": now.error}
    assert (str(now.error), now.error.hook, now.error.attempts) == (str(error), "file_read", 2)
    assert (now.error.kind, now.error.traceback) == (error.kind, error.traceback)
    assert str(now.error.__cause__) == "ValueError: no good"
    error.__cause__ = None
    assert result_of(row_of(failed), 5, "elsewhere/a.fits").error.__cause__ is None


def test_what_cannot_be_kept_is_named_in_its_row():
    row = row_of(written(meta={"model": object()}))
    assert row.meta is None
    assert "['model']" in row.lost
    assert row_of(written()).lost is None


def test_input_of_any_type_is_told_by_its_text():
    class Exposure:
        def __str__(self):
            return "exposure 7"

    assert decode(row_of(written(in_name=Exposure())).in_name) == "exposure 7"
