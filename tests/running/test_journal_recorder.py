"""What a journal records of a run, for all sorts of inputs and keywords."""

from __future__ import annotations

import enum
import os
import sys
import tracemalloc
import warnings

import numpy as np
import pytest

from bigpipe import BigpipeWarning, Journal, no_outfile
from bigpipe.running.journal_recorder import MAX_SHOWN
from tests.pipes import Doubler, note_size


@pytest.fixture
def pipe(tmp_path):
    return Doubler(
        outdir=tmp_path,
        journal=tmp_path / "night1.bigpipe",
        post_process_list=[note_size, no_outfile],
        executor="serial",
    )


class Shapeless:
    @property
    def shape(self):
        raise RuntimeError("no shape")


class Speechless:
    def __repr__(self):
        raise RuntimeError("no words")


def of_size(data, bmp_meta=None, **kwargs):
    """A post function."""
    return data


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("quiet", "'quiet'"),
        (np.zeros((2, 3), np.float32), "ndarray of shape (2, 3), float32"),
        (bytes(1000), "bytes of 1000 bytes"),
        ([of_size, len], "[of_size, len]"),
        ("x" * 1000, "'" + "x" * 95),
        (Shapeless(), "Shapeless"),
        (Speechless(), "Speechless"),
    ],
    ids=["text", "array", "bytes", "functions", "long", "shape that raises", "repr that raises"],
)
def test_keyword_is_told_in_a_short_form(make_files, pipe, value, told):
    pipe.pipeline(make_files(1), given=value, fingerprint="1")
    with Journal(pipe._bmp_options.journal) as journal:
        shown = journal.runs[0].keywords["given"]
    assert told in shown
    assert len(shown) <= MAX_SHOWN


def test_long_keyword_is_not_copied_to_be_told(make_files, pipe):
    data = bytes(30 << 20)
    names = make_files(1)
    tracemalloc.start()
    try:
        pipe.pipeline(names, given=data, fingerprint="1")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < len(data)


def test_modules_that_are_none_or_objects_are_passed_over(make_files, pipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "blocked", None)
    monkeypatch.setitem(sys.modules, "a number", 1)
    pipe.pipeline(make_files(1))
    with Journal(pipe._bmp_options.journal) as journal:
        assert journal.runs[0].versions["numpy"] == np.__version__


def test_folder_whose_name_is_no_utf8_is_told(make_files, pipe, tmp_path, monkeypatch):
    folder = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(folder)
    monkeypatch.chdir(folder)
    names = make_files(1)
    pipe.pipeline(names, journal="night2.bigpipe", outdir=None)
    with Journal("night2.bigpipe") as journal:
        assert journal.runs[0].folder.endswith("udcff")
    pout = pipe.pipeline(names, journal="night2.bigpipe", outdir=None)
    assert pout.results[0].from_journal


def test_file_is_noted_before_a_warning_that_is_an_error(make_files, pipe):
    def odd(data, bmp_meta=None, **kwargs):
        bmp_meta["model"] = object()
        return data

    pipe.post_process_list = odd
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BigpipeWarning, match="'model'"):
            pipe.pipeline(make_files(1))
    with Journal(pipe._bmp_options.journal) as journal:
        assert [run.state for run in journal.runs] == ["interrupted"]
        assert len(list(journal.attempts())) == 1


class Mode(enum.Enum):
    FAST = 1


def test_metadata_that_is_lost_is_named_with_its_type_and_the_remedy(make_files, pipe):
    def odd(data, bmp_meta=None, **kwargs):
        bmp_meta["mode"] = Mode.FAST
        return data

    pipe.post_process_list = odd
    with pytest.warns(BigpipeWarning) as caught:
        pipe.pipeline(make_files(1))
    text = str(caught[0].message)
    assert "meta['mode'], a " in text
    assert "Mode, cannot be kept" in text
    assert "keep its .name or .value. A later run" in text


def test_a_part_of_a_memory_map_is_kept_as_an_array(make_files, pipe, tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(6).reshape(2, 3))

    def first_row(data, bmp_meta=None, **kwargs):
        bmp_meta["row"] = np.load(tmp_path / "rows.npy", mmap_mode="r")[0]
        return data

    pipe.post_process_list = [first_row, no_outfile]
    names = make_files(1)
    pipe.pipeline(names)
    (result,) = pipe.pipeline(names).results
    assert result.from_journal
    assert type(result.meta["row"]) is np.ndarray
    assert result.meta["row"].tolist() == [0, 1, 2]
