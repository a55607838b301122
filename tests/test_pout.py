from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from bigpipe.errors import BigpipeWarning, FileError, OptionError
from bigpipe.pout import Pout, cached_pout, prune_pout
from bigpipe.records import FileResult, MemoryUse, Outcome

ENTRIES = [
    ("a_bmp.fits", {"sky": 7}),
    (None, {}),
    (None, {"n_stars": 3}),
    ("d_bmp.fits", {}),
]
NAMES = ["a.fits", "b.fits", ["c1.fits", "c2.fits"], "d.fits"]
OUTCOMES = [Outcome.WRITTEN, Outcome.REJECTED, Outcome.METADATA_ONLY, Outcome.WRITTEN]


def results() -> list[FileResult]:
    """Results of four files that did not fail, the third with the highest peak."""
    return [
        FileResult(i, name, entry[0], dict(entry[1]), outcome, peak_rss=(i % 3) * 2**30 or None)
        for i, (name, entry, outcome) in enumerate(zip(NAMES, ENTRIES, OUTCOMES, strict=True))
    ]


def failed(index: int, hook: str, cause: Exception | None = None) -> FileResult:
    error = FileError(f"file {index} failed", in_name=f"{index}.fits", hook=hook, exitcode=None)
    error.__cause__ = cause
    meta = {"bmp_error": error}
    return FileResult(index, f"{index}.fits", None, meta, Outcome.FAILED, error=error)


def test_pout_equals_the_plain_list() -> None:
    pout = Pout(results())
    assert pout == ENTRIES
    assert list(ENTRIES) == pout
    assert isinstance(pout, list)
    assert all(type(entry) is tuple for entry in pout)
    assert Pout.from_results(iter(results())) == pout
    assert Pout() == []


def test_pout_can_be_unzipped() -> None:
    outnames, metas = zip(*Pout(results()), strict=True)
    assert outnames == ("a_bmp.fits", None, None, "d_bmp.fits")
    assert metas[2] == {"n_stars": 3}


def test_slices_and_sums_are_plain_lists() -> None:
    pout = Pout(results())
    assert type(pout[1:3]) is list
    assert pout[1:3] == ENTRIES[1:3]
    assert type(pout + pout) is list
    assert pout[0] == ENTRIES[0]


@pytest.mark.parametrize(
    "copied",
    [
        lambda pout: pickle.loads(pickle.dumps(pout)),
        lambda pout: pickle.loads(pickle.dumps(pout, protocol=2)),
        copy.deepcopy,
        copy.copy,
    ],
    ids=["pickle", "pickle-2", "deepcopy", "copy"],
)
def test_copy_has_all_that_the_original_has(copied: Any) -> None:
    cause = ValueError("no such column")
    pout = copied(Pout([*results(), failed(4, "data_process", cause)], elapsed_s=2.0))
    assert type(pout) is Pout
    assert pout[:4] == ENTRIES
    assert pout.elapsed_s == 2.0
    assert pout.in_names == [*NAMES, "4.fits"]
    assert [result.outcome for result in pout.results] == [*OUTCOMES, Outcome.FAILED]
    assert [str(error.__cause__) for error in pout.errors] == ["no such column"]
    assert pout[0][1] is pout.results[0].meta


def test_errors_are_those_of_the_files_that_failed() -> None:
    pout = Pout([*results(), failed(4, "file_read"), failed(5, "file_read")])
    assert [error.in_name for error in pout.errors] == ["4.fits", "5.fits"]
    assert Pout(results()).errors == []


def test_pruned_pout_keeps_what_has_an_output_or_metadata() -> None:
    pout = Pout([*results(), failed(4, "file_read")], elapsed_s=3.0).prune()
    assert type(pout) is Pout
    assert pout[:3] == [ENTRIES[0], ENTRIES[2], ENTRIES[3]]
    assert pout.in_names == [NAMES[0], NAMES[2], NAMES[3], "4.fits"]
    assert pout.elapsed_s == 3.0


@pytest.mark.parametrize(("peak", "is_told"), [(2**30, True), (2**31, False), (2**32, False)])
def test_summary_says_why_one_worker_may_exceed_all(peak: int, is_told: bool) -> None:
    text = Pout(results(), 1.0, MemoryUse(2**33, peak, {})).summary()
    assert "highest peak RSS 2.0 GiB" in text
    assert ("in all workers without shared pages, budget 8.0 GiB" in text) is is_told
    assert ("in all workers, budget 8.0 GiB" in text) is not is_told


def test_summary_counts_each_outcome_and_kind_of_error() -> None:
    failures = [failed(i, "file_read", OSError("gone")) for i in range(4, 7)]
    failures.append(failed(7, "data_process", ValueError("bad")))
    pout = Pout([*results(), *failures], elapsed_s=4.0)
    first, *kinds = pout.summary().split("\n")
    assert pout.summary(failures=False) == first
    assert first == (
        "8 files: 2 written, 1 metadata only, 1 rejected, 4 failed in 4 s (2 files/s); "
        "highest peak RSS 2.0 GiB"
    )
    assert kinds[0].strip().startswith("3 x OSError in file_read")
    assert kinds[1].strip().startswith("1 x ValueError in data_process")


@pytest.mark.parametrize(
    ("n", "elapsed_s", "told"),
    [
        (2, 13_000.0, "2 files: 2 written in 3 h 37 min (1 h 48 min/file)"),
        (2, 1230.0, "2 files: 2 written in 20 min (615 s/file)"),
        (8000, 2.0, "8000 files: 8000 written in 2 s (4000 files/s)"),
    ],
)
def test_summary_has_no_exponents(n: int, elapsed_s: float, told: str) -> None:
    written = FileResult(0, "a", "b", {}, Outcome.WRITTEN)
    assert Pout([written] * n, elapsed_s).summary() == told


def test_summary_does_not_count_files_from_the_journal_as_work() -> None:
    kept, run = (
        FileResult(0, "a", "b", {}, Outcome.WRITTEN, from_journal=is_kept)
        for is_kept in (True, False)
    )
    assert Pout([kept] * 90 + [run] * 10, 5.0).summary() == (
        "100 files, 90 of them from the journal: 100 written in 5 s (2 files/s)"
    )
    assert Pout([kept] * 90, 5.0).summary().endswith(": 90 written in 5 s")


def test_summary_says_who_rejected_files_and_which_was_the_first() -> None:
    ends = [(0, "data_process"), (1, "pre_process: clouds"), (2, "data_process"), (3, None)]
    rejected = [
        FileResult(i, f"{i}.fits", None, {}, Outcome.REJECTED, rejected_by=who) for i, who in ends
    ]
    assert Pout(rejected).summary().split("\n") == [
        "4 files: 4 rejected",
        "  2 x rejected by data_process, first: '0.fits'",
        "  1 x rejected by pre_process: clouds, first: '1.fits'",
    ]


@pytest.mark.parametrize(
    ("pout", "text"),
    [
        (Pout(), "0 files"),
        (Pout([], elapsed_s=0.0), "0 files in 0 s"),
        (Pout(results()[3:]), "1 file: 1 written"),
    ],
    ids=["empty", "empty-run", "one"],
)
def test_summary_says_only_what_is_known(pout: Pout, text: str) -> None:
    assert pout.summary() == text


@pytest.mark.parametrize("kind", [list, iter, tuple], ids=["list", "iterator", "tuple"])
def test_pruned_lists_fit_each_other(kind: Any) -> None:
    pruned, names = prune_pout(kind(ENTRIES), kind(NAMES))
    assert pruned == [ENTRIES[0], ENTRIES[2], ENTRIES[3]]
    assert names == [NAMES[0], NAMES[2], NAMES[3]]


def test_entry_of_a_failed_file_is_not_pruned() -> None:
    pout = Pout([failed(0, "file_read")])
    assert prune_pout(pout, pout.in_names) == (list(pout), ["0.fits"])


@pytest.mark.parametrize("meta", [None, ["a", "b"]], ids=["none", "list"])
def test_result_is_pruned_whatever_a_hook_returned_as_metadata(meta: Any) -> None:
    kept = FileResult(0, "a.fits", "a_bmp.fits", meta, Outcome.WRITTEN)
    pout = Pout([kept, FileResult(1, "b.fits", None, {}, Outcome.REJECTED)])
    assert prune_pout(pout, ["a.fits", "b.fits"]) == ([("a_bmp.fits", meta)], ["a.fits"])
    assert prune_pout([("x", None)], ["a.fits"]) == ([("x", None)], ["a.fits"])


def test_nothing_is_pruned_of_nothing() -> None:
    assert prune_pout([], []) == ([], [])


@pytest.mark.parametrize("names", [NAMES[:3], [*NAMES, "e.fits"]], ids=["fewer", "more"])
def test_in_names_of_another_length_are_refused(names: list[Any]) -> None:
    with pytest.raises(ValueError, match=rf"4 entries and in_names has {len(names)}"):
        prune_pout(ENTRIES, names)


@pytest.mark.parametrize("names", [NAMES, ["ab", "cd", "ef", "gh"]], ids=["names", "two-letters"])
def test_arguments_the_wrong_way_round_are_said_and_returned(names: list[Any]) -> None:
    with pytest.warns(BigpipeWarning, match="Swap the arguments") as caught:
        assert prune_pout(names, ENTRIES) == (names, ENTRIES)
    assert caught[0].filename == __file__


def test_something_else_than_a_result_is_refused() -> None:
    with pytest.raises(OptionError, match="not a list of"):
        prune_pout([1, 2], ["a", "b"])


class Runs:
    """A pipeline that counts its runs and remembers its keywords."""

    def __init__(self, pout: Any = None) -> None:
        self.n = 0
        self.keywords: dict[str, Any] = {}
        self.pout = ENTRIES if pout is None else pout

    def __call__(self, **kwargs: Any) -> Any:
        self.n += 1
        self.keywords = kwargs
        return self.pout


def test_pipeline_is_run_with_its_keywords() -> None:
    runs = Runs()
    assert cached_pout(runs, factor=3) is ENTRIES
    assert runs.keywords == {"create_outdir": False, "factor": 3}


@pytest.mark.parametrize("name", ["night.pout", "sub/night.pout"], ids=["folder", "new-folder"])
def test_written_result_is_read_without_a_run(name: str, tmp_path: Path) -> None:
    runs = Runs(Pout(results(), elapsed_s=1.0))
    first = cached_pout(runs, tmp_path / name, write_pout=True, create_outdir=True)
    assert first is runs.pout
    assert runs.keywords == {"create_outdir": True}
    second = cached_pout(runs, str(tmp_path / name), read_pout=True, write_pout=True)
    assert runs.n == 1
    assert second == ENTRIES
    assert second.in_names == NAMES


def test_name_without_a_folder_is_written_in_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cached_pout(Runs(), "night.pout", write_pout=True, create_outdir=True)
    assert os.listdir(tmp_path) == ["night.pout"]


def test_result_is_not_written_unless_asked(tmp_path: Path) -> None:
    cached_pout(Runs(), tmp_path / "night.pout")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["night.pout", "no/night.pout"], ids=["file", "folder"])
def test_missing_file_is_said_and_the_pipeline_run(name: str, tmp_path: Path) -> None:
    runs = Runs()
    with pytest.warns(BigpipeWarning, match=r"night\.pout.*no such file") as caught:
        assert cached_pout(runs, tmp_path / name, read_pout=True) is ENTRIES
    assert runs.n == 1
    assert caught[0].filename == __file__


WHOLE = pickle.dumps(ENTRIES)


@pytest.mark.parametrize(
    "content",
    [b"", WHOLE[:1], WHOLE[: len(WHOLE) // 2], WHOLE[:-1], b"\x00" * 50, b"text\n", b"I12x\n."],
    ids=["empty", "one-byte", "half", "last-byte", "zeros", "text", "number"],
)
def test_damaged_file_is_said_and_written_anew(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "night.pout"
    path.write_bytes(content)
    runs = Runs()
    with pytest.warns(BigpipeWarning, match="it is damaged"):
        assert cached_pout(runs, path, read_pout=True, write_pout=True) is ENTRIES
    assert runs.n == 1
    assert cached_pout(runs, path, read_pout=True) == ENTRIES
    assert runs.n == 1


def test_file_cut_at_any_byte_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "night.pout"
    for length in range(len(WHOLE)):
        path.write_bytes(WHOLE[:length])
        with pytest.warns(BigpipeWarning, match="it is damaged"):
            cached_pout(Runs(), path, read_pout=True)


@pytest.mark.parametrize(
    ("content", "error"),
    [(b"cno_such_module\nThing\n.", ImportError), (b"cos\nNoSuchThing\n.", AttributeError)],
    ids=["module", "class"],
)
def test_whole_file_of_an_unknown_class_is_not_taken_for_damaged(
    content: bytes, error: type[Exception], tmp_path: Path
) -> None:
    path = tmp_path / "night.pout"
    path.write_bytes(content)
    runs = Runs()
    with pytest.raises(error) as caught:
        cached_pout(runs, path, read_pout=True, write_pout=True)
    assert "night.pout" in caught.value.__notes__[0]
    assert runs.n == 0
    assert path.read_bytes() == content


def test_error_of_the_system_is_not_taken_for_a_missing_file(tmp_path: Path) -> None:
    runs = Runs()
    with pytest.raises(IsADirectoryError):
        cached_pout(runs, tmp_path, read_pout=True)
    assert runs.n == 0


@pytest.mark.parametrize("poutname", [None, ""], ids=["none", "empty"])
@pytest.mark.parametrize("option", ["read_pout", "write_pout"])
def test_name_that_was_not_given_is_said_before_the_run(option: str, poutname: Any) -> None:
    runs = Runs()
    with pytest.raises(OptionError, match="give poutname"):
        cached_pout(runs, poutname, **{option: True})
    assert runs.n == 0


def test_missing_folder_is_said_before_the_run(tmp_path: Path) -> None:
    runs = Runs()
    with pytest.raises(OptionError, match=r"night\.pout.*create_outdir=True"):
        cached_pout(runs, tmp_path / "no" / "night.pout", write_pout=True)
    assert runs.n == 0


def test_folder_in_place_of_a_file_is_said_before_the_run(tmp_path: Path) -> None:
    runs = Runs()
    with pytest.raises(OptionError, match="is a folder"):
        cached_pout(runs, tmp_path, write_pout=True)
    assert runs.n == 0


def test_folder_closed_to_writing_is_said_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *args: False)
    runs = Runs()
    with pytest.raises(OptionError, match="cannot be written to"):
        cached_pout(runs, tmp_path / "night.pout", write_pout=True)
    assert runs.n == 0


def test_result_that_cannot_be_pickled_is_returned_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "night.pout"
    path.write_bytes(WHOLE)
    pout = [("a_bmp.fits", {"function": lambda: None})]
    with pytest.warns(BigpipeWarning, match=r"night\.pout.*could not be written"):
        assert cached_pout(Runs(pout), path, write_pout=True) is pout
    assert path.read_bytes() == WHOLE
    assert os.listdir(tmp_path) == ["night.pout"]


def test_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "night.pout"
    path.write_bytes(WHOLE)

    def interrupt(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_pout(Runs([]), path, write_pout=True)
    assert path.read_bytes() == WHOLE
    assert os.listdir(tmp_path) == ["night.pout"]


def test_link_stays_a_link(tmp_path: Path) -> None:
    path, target = tmp_path / "link.pout", tmp_path / "other" / "night.pout"
    target.parent.mkdir()
    path.symlink_to(target)
    cached_pout(Runs(), path, write_pout=True)
    assert path.is_symlink()
    assert pickle.loads(target.read_bytes()) == ENTRIES


def test_file_has_the_mode_of_any_new_file(tmp_path: Path) -> None:
    cached_pout(Runs(), tmp_path / "night.pout", write_pout=True)
    (tmp_path / "new").touch()
    assert (tmp_path / "night.pout").stat().st_mode == (tmp_path / "new").stat().st_mode
