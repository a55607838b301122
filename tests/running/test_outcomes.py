"""From reports and deaths to results, and the words of errors that no hook raised."""

from __future__ import annotations

import errno
import signal
from dataclasses import replace

import pytest

from bigpipe import BigMultiPipe, BigpipeWarning, FunctionPipe, no_outfile
from bigpipe.errors import FileError, FileTimeoutError, WorkerError
from bigpipe.executors.base import HOOKS, Died, Report
from bigpipe.records import Outcome
from bigpipe.running import outcomes

GIB = 1024**3


def died(exitcode=-signal.SIGSEGV, hook="data_process"):
    return Died(0, 4121, exitcode, hook)


@pytest.mark.parametrize(
    ("outname", "meta", "outcome"),
    [
        ("x", {}, Outcome.WRITTEN),
        ("x", {"a": 1}, Outcome.WRITTEN),
        (None, {"a": 1}, Outcome.METADATA_ONLY),
        (None, {}, Outcome.REJECTED),
        (None, "something else", Outcome.METADATA_ONLY),
    ],
)
def test_outcome_follows_from_name_and_metadata(outname, meta, outcome):
    report = Report(3, outname, meta, "data_process", {"data_process": 0.5}, 10**9, None, 4121)
    result = outcomes.reported(report, "a.fits", attempts=2)
    assert result.outcome is outcome
    assert result.entry == (outname, meta)
    assert (result.index, result.in_name, result.attempts) == (3, "a.fits", 2)
    assert (result.seconds, result.peak_rss, result.worker) == ({"data_process": 0.5}, 10**9, 4121)


@pytest.mark.parametrize("n", range(len(HOOKS) + 1))
def test_seconds_that_come_without_names_are_those_of_the_first_hooks(n):
    result = outcomes.reported(Report(0, "x", seconds=tuple(map(float, range(n)))), "a", 1)
    assert list(result.seconds.items()) == [(HOOKS[i], float(i)) for i in range(n)]


def test_only_a_rejected_file_tells_who_rejected_it():
    rejected = outcomes.reported(Report(0, None, {}, "pre_process: dark"), "a", 1)
    assert rejected.rejected_by == "pre_process: dark"
    ended = outcomes.reported(Report(0, None, {"a": 1}, "post_process: no_outfile"), "a", 1)
    assert ended.rejected_by is None


def test_input_that_is_none_is_named_by_its_place():
    error = FileError("file_read raised TypeError", hook="file_read")
    outcomes.reported(Report(7, error=error), None, attempts=1)
    assert str(error) == "in_names[7] is None: file_read raised TypeError"


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [(ValueError("x"), Outcome.FAILED), (FileTimeoutError("x"), Outcome.TIMED_OUT)],
)
def test_error_of_a_hook_is_completed_with_what_the_worker_does_not_know(cause, outcome):
    error = FileError("data_process raised", in_name=None, hook="data_process")
    error.__cause__ = cause
    result = outcomes.reported(Report(0, "x", {"a": 1}, error=error), ["a", "b"], attempts=2)
    assert result.outcome is outcome
    assert result.error is error
    assert (error.in_name, error.attempts) == (["a", "b"], 2)
    assert result.meta == {"bmp_error": error}


@pytest.mark.parametrize(
    ("exitcode", "words"),
    [
        (-signal.SIGKILL, ["SIGKILL", "memory", "process_size", "num_processes"]),
        (-signal.SIGSEGV, ["SIGSEGV"]),
        (3, ["exit code 3"]),
        (0, ["exit code 0"]),
    ],
)
def test_killed_file_says_how_its_worker_ended_where_and_what_helps(exitcode, words):
    result = outcomes.killed(1, "a.fits", died(exitcode), attempts=1, budget=GIB)
    assert result.outcome is Outcome.KILLED
    error = result.error
    assert all(word in str(error) for word in ["4121", "'a.fits'", "data_process", *words])
    assert (error.exitcode, error.hook, error.attempts) == (exitcode, "data_process", 1)
    assert error.in_name == "a.fits"
    assert (result.worker, result.attempts) == (4121, 1)


def test_killed_file_says_how_many_workers_it_cost():
    assert "attempt 3" in str(outcomes.killed(0, "a", died(), attempts=3, budget=GIB).error)


@pytest.mark.parametrize(
    ("peak_rss", "remedy"),
    [
        (GIB // 8, "give process_size or lower num_processes"),
        (3 * GIB // 4, "provide more memory, or process the file in parts"),
    ],
    ids=["others beside it", "alone"],
)
def test_file_killed_for_want_of_memory_says_how_much_there_was(peak_rss, remedy):
    death = replace(died(-signal.SIGKILL), peak_rss=peak_rss)
    text = str(outcomes.killed(0, "a", death, attempts=2, budget=GIB).error)
    assert f"{peak_rss / 1024**2:.1f} MiB when last measured" in text
    assert "all workers may use 1.0 GiB" in text
    assert text.endswith(remedy)


def test_stopped_file_does_not_look_like_one_that_was_killed():
    result = outcomes.stopped(1, "a.fits", died(-signal.SIGKILL), attempts=2)
    error = result.error
    assert all(word in str(error) for word in ["4121", "'a.fits'", "data_process", "memory"])
    assert "SIGKILL" not in str(error)
    assert (error.exitcode, error.hook, result.attempts) == (None, "data_process", 2)


def test_killed_file_need_not_have_reached_a_hook():
    error = outcomes.killed(0, "a", died(hook=None), attempts=1, budget=GIB).error
    assert error.hook is None
    assert "None" not in str(error)


def test_timed_out_file_says_how_long_it_had_and_what_helps():
    result = outcomes.timed_out(0, "a.fits", died(-signal.SIGTERM), 1, file_timeout=2.5)
    assert result.outcome is Outcome.TIMED_OUT
    assert all(
        word in str(result.error) for word in ["'a.fits'", "file_timeout=2.5 s", "data_process"]
    )
    assert isinstance(result.error.__cause__, FileTimeoutError)


@pytest.mark.parametrize(("n_begun", "what"), [(0, "was not begun"), (1, "was broken off")])
def test_file_that_is_given_up_for_want_of_a_worker_says_whether_it_was_begun(n_begun, what):
    result = outcomes.not_started(0, "a.fits", FileError("no catalogue"), n_begun)
    assert what in str(result.error)
    assert result.attempts == result.error.attempts == n_begun


def test_file_that_was_not_begun_says_why_not():
    cause = FileError("worker_init raised OSError: none", hook="worker_init", traceback="text")
    cause.__cause__ = OSError("none")
    result = outcomes.not_started(0, "a.fits", cause)
    assert result.outcome is Outcome.FAILED
    assert all(word in str(result.error) for word in ["worker_init", "OSError: none", "'a.fits'"])
    assert (result.error.hook, result.error.attempts) == ("worker_init", 0)
    assert result.error.__cause__ is cause.__cause__
    assert (result.attempts, result.worker) == (0, None)


@pytest.mark.parametrize(("exitcode", "words"), [(7, "exit code 7"), (-9, "SIGKILL")])
@pytest.mark.parametrize(
    ("was_ready", "when"),
    [(False, "3 workers in a row died before they were"), (True, "died before they had begun a")],
)
def test_failure_to_start_says_how_workers_ended_and_where_to_look(
    was_ready, when, exitcode, words
):
    error = outcomes.start_failure(was_ready, died(exitcode, hook=None))
    for each in (when, words, "standard error", "executor='serial'"):
        assert each in str(error)
    assert (error.exitcode, error.attempts) == (exitcode, 0)
    assert error.hook


def test_messages_about_a_large_group_are_short():
    group = [f"{i:04d}.fits" for i in range(5000)]
    for result in (
        outcomes.killed(0, group, died(), 1, GIB),
        outcomes.timed_out(0, group, died(), 1, 2.5),
        outcomes.not_started(0, group, FileError("no")),
    ):
        assert len(str(result.error)) < 500
        assert result.error.in_name == group


class Forgetful(BigMultiPipe):
    def data_process(self, data, **kwargs):
        data = data.upper()


class Choosy(BigMultiPipe):
    def data_process(self, data, **kwargs):
        if data == b"good":
            return data
        return None


def test_method_that_forgets_to_return_is_named_when_all_files_are_gone(make_files):
    names = make_files(2)
    pipe = Forgetful(executor="serial")
    with pytest.warns(BigpipeWarning, match="all 2 files .* data_process of Forgetful never ret"):
        assert [result.outcome for result in pipe.pipeline(names).results] == [Outcome.REJECTED] * 2


def forget(data):
    data = data.upper()


def test_function_that_forgets_to_return_is_named(make_files):
    pipe = FunctionPipe(process=forget, executor="serial")
    with pytest.warns(BigpipeWarning, match=r"only file was .* the function forget never ret"):
        pipe.pipeline(make_files(1))


@pytest.mark.parametrize("cls", [Choosy, BigMultiPipe], ids=["rejects", "inherits"])
def test_method_that_rejects_all_files_on_purpose_is_not_doubted(cls, make_files):
    pipe = cls(executor="serial", post_process_list=no_outfile)
    assert len(pipe.pipeline(make_files(2))) == 2


@pytest.mark.parametrize(
    "refusal", [OSError(errno.EMFILE, "Too many open files"), WorkerError("no process. Raise the")]
)
def test_error_of_a_run_without_workers_tells_one_remedy(refusal):
    with pytest.raises(WorkerError, match="no worker can be started: ") as raised:
        outcomes.warn_of_fewer_workers(0, refusal)
    assert str(raised.value).count("Raise the") == 1
