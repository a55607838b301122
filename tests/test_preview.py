"""The plan of a run says what it would do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bigpipe import BigMultiPipe, JournalError
from bigpipe.preview import Step
from bigpipe.scheduling.projection import Projector


class Doubling(BigMultiPipe):
    """Write bytes twice, under the usual name."""

    def data_process(self, data, is_bad=False, **kwargs):
        if is_bad and data.startswith(b"002"):
            raise ValueError("no good")
        return data + data

    def file_write(self, data, outname, **kwargs):
        Path(outname).write_bytes(data)
        return outname


@pytest.fixture
def pipe(tmp_path):
    (tmp_path / "out").mkdir()
    return Doubling(outdir=str(tmp_path / "out"))


def problems_of(preview):
    return [file.problems for file in preview.files]


def test_plan_touches_nothing(make_files, tmp_path, pipe):
    names = make_files(2)
    preview = pipe.plan(names, journal=tmp_path / "j")
    assert preview.is_good
    assert [file.step for file in preview.files] == [Step.RUN] * 2
    assert preview.files[0].outname == str(tmp_path / "out" / "000_bmp.bin")
    assert preview.files[0].size == 8
    assert not (tmp_path / "j").exists()
    assert os.listdir(tmp_path / "out") == []


def test_plan_tells_what_is_kept_and_why_others_are_not(make_files, tmp_path, pipe):
    names = make_files(4)
    options = {"journal": tmp_path / "j", "on_error": "return", "fingerprint": "1"}
    pout = pipe.pipeline(names[:3], is_bad=True, **options)
    os.unlink(pout[1][0])
    before = (tmp_path / "j").read_bytes()
    preview = pipe.plan(names, **options)
    assert [file.step for file in preview.files] == ["keep", "run again", "run again", "run"]
    reasons = [file.reasons for file in preview.files]
    assert reasons == [[], [f"{pout[1][0]!r} is gone"], ["it failed"], []]
    assert preview.seconds is not None
    assert "1 to run, 2 to run again, 1 to keep" in str(preview)
    assert (tmp_path / "j").read_bytes() == before


def test_plan_does_what_the_run_then_does(make_files, tmp_path, pipe):
    names = make_files(6)
    options = {"journal": tmp_path / "j"}
    pout = pipe.pipeline(names, **options)
    for outname, _ in pout[2:4]:
        os.unlink(outname)
    planned = [file.step is Step.KEEP for file in pipe.plan(names, **options).files]
    again = pipe.pipeline(names, **options)
    assert planned == [result.from_journal for result in again.results]
    assert planned == [True, True, False, False, True, True]


def missing(name):
    os.unlink(name)


def dangling(name):
    os.unlink(name)
    os.symlink("nowhere", name)


def empty(name):
    Path(name).write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (missing, "the input is missing"),
        (dangling, "the input is a broken link"),
        (empty, "the input is empty"),
    ],
)
def test_plan_tells_of_an_input_that_will_fail(make_files, pipe, spoil, told):
    names = make_files(2)
    spoil(names[1])
    preview = pipe.plan(names)
    assert problems_of(preview) == [[], [told]]
    assert not preview.is_good
    assert told in str(preview)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_plan_tells_of_an_input_that_may_not_be_read(make_files, pipe):
    (name,) = make_files(1)
    os.chmod(name, 0)
    assert "permissions" in problems_of(pipe.plan([name]))[0][0]


def test_plan_tells_of_outputs_that_collide(make_files, tmp_path, pipe):
    names = make_files(2)
    other = tmp_path / "000.bin"
    other.write_bytes(b"x")
    preview = pipe.plan([*names, other])
    assert problems_of(preview)[:2] == [[], []]
    assert f"{names[0]!r} has the same output" in problems_of(preview)[2][0]


def test_plan_tells_of_an_output_over_an_input(make_files, pipe):
    names = make_files(2)
    preview = pipe.plan(names, outdir=os.path.dirname(names[0]), outname_append="")
    assert all("would overwrite the input" in problems[0] for problems in problems_of(preview))


def test_plan_tells_of_a_missing_folder(make_files, tmp_path, pipe):
    names = make_files(1)
    preview = pipe.plan(names, outdir=tmp_path / "no")
    assert preview.problems == [
        f"the folder {str(tmp_path / 'no')!r} does not exist: make it, or give create_outdir=True"
    ]
    assert pipe.plan(names, outdir=tmp_path / "no", create_outdir=True).is_good


def test_plan_tells_of_a_keyword_that_cannot_be_sent(make_files, pipe):
    lock = threading.Lock()
    preview = pipe.plan(make_files(2), lock=lock, executor="processes")
    assert "the keyword 'lock' cannot be sent" in preview.problems[0]
    assert pipe.plan(make_files(2), lock=lock, executor="threads").is_good


def test_plan_tells_of_too_little_memory(make_files, pipe):
    names = make_files(2)
    sizes = dict(zip(names, ("10 MB", "3 GB"), strict=True))
    preview = pipe.plan(names, mem_available="1 GB", process_size=sizes.get)
    assert [file.projected for file in preview.files] == [10_000_000, 3_000_000_000]
    assert problems_of(preview)[0] == []
    assert "may be used" in problems_of(preview)[1][0]
    preview = pipe.plan(names, mem_available="1 GB", process_size="3 GB")
    assert preview.n_workers == 0
    assert "memory is not enough" in preview.problems[0]


def test_plan_tells_of_a_journal_in_use(make_files, tmp_path, pipe):
    results = pipe.iter_pipeline(make_files(3), journal=tmp_path / "j")
    next(results)
    preview = pipe.plan(make_files(3), journal=tmp_path / "j")
    results.close()
    assert f"in use by process {os.getpid()}" in preview.problems[0]


def test_plan_of_what_is_no_journal_is_refused(make_files, tmp_path, pipe):
    (tmp_path / "j").write_bytes(b"something else")
    with pytest.raises(JournalError, match="not a journal"):
        pipe.plan(make_files(1), journal=tmp_path / "j")


def test_names_that_only_data_tell_are_left_open(make_files, tmp_path):
    class Named(BigMultiPipe):
        def outname_create(self, in_name, data=None, **kwargs):
            return data.decode()

    preview = Named(outdir=tmp_path).plan(make_files(2))
    assert [file.outname for file in preview.files] == [None, None]
    assert preview.is_good


def test_plan_learns_sizes_and_disk_from_the_journal(make_files, tmp_path, pipe):
    names = make_files(4)
    pipe.pipeline(names[:3], journal=tmp_path / "j", executor="processes", num_processes=2)
    preview = pipe.plan(names, journal=tmp_path / "j")
    (file,) = preview.with_step("run")
    assert file.projected is not None
    assert preview.disk_needed == 2 * file.size
    assert preview.disk_free > preview.disk_needed


def test_plan_tells_time_and_disk_where_memory_was_not_measured(make_files, tmp_path, pipe):
    names = make_files(3)
    pipe.pipeline(names[:2], journal=tmp_path / "j", executor="threads")
    preview = pipe.plan(names, journal=tmp_path / "j")
    assert preview.disk_needed == 2 * preview.files[2].size
    assert preview.seconds is not None


def test_plan_learns_nothing_from_another_pipeline(make_files, tmp_path, pipe):
    class Other(Doubling):
        pass

    names = make_files(2)
    pipe.pipeline(names, journal=tmp_path / "j")
    preview = Other(outdir=tmp_path / "out", outname_append="_o").plan(
        names, journal=tmp_path / "j"
    )
    assert preview.disk_needed == sum(file.size for file in preview.files)
    assert preview.seconds is None


def test_plan_learns_of_compressed_files_apart(make_files, tmp_path, pipe, monkeypatch):
    (name,) = make_files(1)
    packed = f"{name}.gz"
    os.rename(name, packed)
    pipe.pipeline([packed], journal=tmp_path / "j", executor="processes")
    learned = []
    learn = Projector.learn

    def noted(projector, need, growth):
        learned.append(need.is_compressed)
        learn(projector, need, growth)

    monkeypatch.setattr(Projector, "learn", noted)
    pipe.plan([packed], journal=tmp_path / "j", limit=1)
    assert learned == [True]
