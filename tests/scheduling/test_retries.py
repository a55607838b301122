"""Which failed file is retried and when, and when errors stop a run."""

from __future__ import annotations

import os
import pickle
import signal
import threading

import pytest

import bigpipe
from bigpipe import (
    BigpipeError,
    BigpipeWarning,
    FileTimeoutError,
    Journal,
    OptionError,
    Outcome,
    PipelineError,
    TooManyErrorsError,
)
from bigpipe.errors import FileError, RemoteError
from bigpipe.scheduling.retries import MAX_PAUSE_S, N_ALIKE, ErrorLimit, Retries, may_pass
from tests.pipes import Doubler, FirstTimeOnly, fail, kill_self
from tests.places import not_spawned


def error_of(cause, hook="file_read", attempts=1):
    error = FileError(f"{hook} raised {cause!r}", hook=hook, attempts=attempts)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("exception", "passes"),
    [
        (OSError(5, "input/output error"), True),
        (TimeoutError(), True),
        (FileNotFoundError(), True),  # the drive may not be mounted yet
        (PermissionError(), True),
        (FileExistsError(), False),
        (IsADirectoryError(), False),
        (NotADirectoryError(), False),
        (bigpipe.CollisionError(), False),
        (FileTimeoutError(), False),
        (ValueError(), False),
        (MemoryError(), False),
    ],
    ids=repr,
)
def test_fault_of_a_drive_may_pass_and_a_bug_does_not(exception, passes):
    assert may_pass(exception) is passes
    assert Retries(1).wants(0, error_of(exception), 0.0) is passes


def test_function_that_raises_costs_no_other_file(outdir, make_files):
    pipe = Doubler(outdir=outdir, trouble={("data_process", "000.bin"): fail})
    options = {"max_retries": 1, "executor": "serial", "on_error": "return"}
    message = "retry_on= raised AttributeError: .* for the ValueError of '.*000.bin'"
    with pytest.warns(BigpipeWarning, match=message):
        pout = pipe.pipeline(make_files(3), retry_on=lambda error: error.errno == 5, **options)
    assert [r.outcome for r in pout.results] == [Outcome.FAILED, Outcome.WRITTEN, Outcome.WRITTEN]
    assert type(pout.errors[0].__cause__) is ValueError


def test_function_that_raises_is_told_of_once(recwarn):
    retries = Retries(3, retry_on=lambda error: error.errno == 5)
    assert not retries.wants(0, error_of(ValueError()), 0.0)
    assert not retries.wants(1, error_of(KeyError()), 0.0)
    assert len(recwarn) == 1
    assert retries.wants(2, error_of(OSError(5, "input/output error")), 0.0)


def test_pause_doubles_up_to_a_minute():
    retries = Retries(10, pause_s=1.0)
    pauses = []
    for _ in range(10):
        assert retries.wants(3, error_of(OSError()), 100.0)
        pauses.append(retries.next_at() - 100.0)
        assert retries.due(100.0 + pauses[-1] - 1e-6) == []
        assert retries.due(100.0 + pauses[-1]) == [3]
    assert pauses == [1, 2, 4, 8, 16, 32, MAX_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S, MAX_PAUSE_S]
    assert not retries.wants(3, error_of(OSError()), 0.0)


def test_files_are_due_in_the_order_of_their_times():
    retries = Retries(2, pause_s=1.0)
    for task, now in ((1, 5.0), (2, 4.0), (3, 6.0)):
        retries.wants(task, error_of(OSError()), now)
    assert retries.due(6.5) == [2, 1]
    assert retries.drop() == [3]
    assert retries.n_waiting == 0
    assert retries.next_at() is None


def test_file_that_has_ended_may_fail_anew():
    retries = Retries(1)
    assert retries.wants(1, error_of(OSError(), attempts=2), 0.0)
    assert retries.n_begun(1) == 2
    retries.forget([1])
    assert retries.n_begun(1) == 0
    assert retries.wants(1, error_of(OSError()), 0.0)


@pytest.mark.parametrize(
    ("retry_on", "cause", "holds"),
    [
        ((ValueError,), ValueError(), True),
        ((ValueError,), OSError(), False),
        ((LookupError, OSError), KeyError(), True),
        ((ValueError,), RemoteError("ValueError: no"), True),
        ((ValueError,), RemoteError("KeyError: no"), False),
        (lambda error: "flaky" in str(error), RuntimeError("a flaky one"), True),
        (lambda error: "flaky" in str(error), RuntimeError("another"), False),
        ((FileTimeoutError,), FileTimeoutError(), True),
        ((Exception,), None, False),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)),
)
def test_retry_on_says_after_what(retry_on, cause, holds):
    assert Retries(1, retry_on).wants(0, error_of(cause), 0.0) is holds


def test_limit_is_reached_by_so_many_errors_of_any_kind():
    limit = ErrorLimit(3)
    assert limit.add(error_of(ValueError())) is None
    assert limit.add(None) is None
    assert limit.add(error_of(KeyError())) is None
    assert limit.add(error_of(OSError())) == "3 files failed, and max_errors=3 allows no more"
    # Others may have failed before the run could be stopped.
    assert "4 files failed, and max_errors=3" in limit.add(error_of(OSError()))


def test_first_files_that_fail_alike_are_the_limit_by_default():
    limit = ErrorLimit()
    for _ in range(N_ALIKE - 1):
        assert limit.add(error_of(ValueError())) is None
    assert f"the first {N_ALIKE} files all failed with ValueError in file_read" in limit.add(
        error_of(ValueError())
    )


@pytest.mark.parametrize(
    "other", [None, error_of(KeyError()), error_of(ValueError(), "file_write")]
)
def test_one_file_that_ends_otherwise_lets_a_run_go_on(other):
    limit = ErrorLimit()
    errors = [error_of(ValueError()) for _ in range(100)]
    errors[7] = other
    assert [limit.add(error) for error in errors] == [None] * 100


# In a run.


class Flaky(Doubler):
    """Fail at the first reads of some files, as often as ``n_faults`` says."""

    def file_read(self, in_name, n_faults=0, marks=None, fault=OSError, **kwargs):
        for i in range(n_faults):
            try:
                os.close(
                    os.open(f"{marks}/{os.path.basename(in_name)}.{i}", os.O_CREAT | os.O_EXCL)
                )
            except FileExistsError:
                continue
            raise fault("the server does not answer")
        return super().file_read(in_name, **kwargs)


@pytest.fixture
def flaky(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "marks").mkdir()
    return Flaky(outdir=str(tmp_path / "out"), marks=str(tmp_path / "marks"), retry_pause=0)


@not_spawned
def test_file_is_tried_again_and_attempts_are_counted(make_files, flaky, anywhere):
    pout = flaky.pipeline(make_files(4), n_faults=2, max_retries=2, **anywhere)
    assert [result.attempts for result in pout.results] == [3] * 4
    assert {result.outcome for result in pout.results} == {Outcome.WRITTEN}


@not_spawned
def test_file_that_fails_too_often_has_its_last_error(make_files, flaky, anywhere):
    with pytest.raises(PipelineError) as caught:
        flaky.pipeline(make_files(2), n_faults=3, max_retries=2, **anywhere)
    assert [error.attempts for error in caught.value.exceptions] == [3, 3]
    assert [result.attempts for result in caught.value.pout.results] == [3, 3]


def test_bug_is_not_tried_again(make_files, flaky):
    with pytest.raises(PipelineError) as caught:
        flaky.pipeline(make_files(2), n_faults=1, fault=ValueError, max_retries=2)
    assert [error.attempts for error in caught.value.exceptions] == [1, 1]


def test_each_attempt_is_in_the_journal(make_files, flaky, tmp_path):
    (name,) = make_files(1)
    flaky.pipeline([name], n_faults=2, max_retries=5, journal=tmp_path / "j")
    with Journal(tmp_path / "j") as journal:
        attempts = list(journal.attempts(name))
        assert [result.outcome for result in attempts] == ["failed", "failed", "written"]
        assert [result.attempts for result in attempts] == [1, 2, 3]
        assert len(journal.pout()) == 1


@pytest.mark.process
def test_worker_that_died_is_an_attempt_in_the_journal(make_files, flaky, tmp_path):
    names = make_files(2)
    trouble = {("file_write", "001.bin"): FirstTimeOnly(kill_self, tmp_path / "died")}
    options = {"executor": "processes", "num_processes": 2, "journal": tmp_path / "j"}
    flaky.pipeline(names, trouble=trouble, **options)
    with Journal(tmp_path / "j") as journal:
        attempts = list(journal.attempts(names[1]))
        assert [result.outcome for result in attempts] == ["killed", "written"]
        assert [result.attempts for result in attempts] == [1, 2]
        assert attempts[0].error.signal == signal.SIGKILL
        assert attempts[0].error.hook == "file_write"
        assert len(list(journal.attempts())) == 3


def test_workers_go_on_while_a_file_waits_to_be_tried_again(make_files, flaky):
    names = make_files(6)
    trouble = {("file_read", "000.bin"): interrupted_once(threading.Event())}
    results = list(
        flaky.iter_pipeline(
            names,
            trouble=trouble,
            max_retries=1,
            retry_pause=0.2,
            executor="threads",
            num_processes=2,
        )
    )
    assert results[-1].in_name == names[0]
    assert results[-1].attempts == 2


def interrupted_once(has_happened):
    def action(name):
        if not has_happened.is_set():
            has_happened.set()
            raise ConnectionError("gone")

    return action


def test_retries_with_a_pool_are_refused(make_files, flaky):
    with pytest.raises(OptionError, match="PoolClass"):
        flaky.pipeline(
            make_files(3), max_retries=1, num_processes=2, PoolClass=bigpipe.NestablePool
        )


# A thread may be stopped between opening a file and the block that closes it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@not_spawned
def test_run_stops_when_its_first_files_fail_alike(make_files, flaky, anywhere):
    names = make_files(N_ALIKE + 30)
    with pytest.raises(
        TooManyErrorsError, match="all failed with ValueError in file_write"
    ) as caught:
        flaky.pipeline(names, trouble={"file_write": fail}, **anywhere)
    pout = caught.value.pout
    assert N_ALIKE <= len(pout) < len(names)
    assert len(caught.value.exceptions) == len(pout)


def test_all_files_of_a_short_run_are_tried(make_files, flaky):
    names = make_files(N_ALIKE)
    with pytest.raises(PipelineError) as caught:
        flaky.pipeline(names, trouble={"file_write": fail})
    assert not isinstance(caught.value, TooManyErrorsError)
    assert len(caught.value.pout) == N_ALIKE


def test_run_whose_first_file_goes_well_goes_on(make_files, flaky):
    names = make_files(N_ALIKE + 5)
    trouble = {("file_write", os.path.basename(name)): fail for name in names[1:]}
    with pytest.raises(PipelineError) as caught:
        flaky.pipeline(names, trouble=trouble, executor="serial")
    assert not isinstance(caught.value, TooManyErrorsError)
    assert len(caught.value.pout) == len(names)


def test_max_errors_lets_all_files_fail(make_files, flaky):
    names = make_files(N_ALIKE + 5)
    pout = flaky.pipeline(names, trouble={"file_write": fail}, max_errors=1000, on_error="return")
    assert len(pout) == len(names)


def test_max_errors_stops_an_iteration_after_all_was_yielded(make_files, flaky):
    trouble = {("file_write", "001.bin"): fail, ("file_write", "002.bin"): fail}
    results = flaky.iter_pipeline(make_files(9), trouble=trouble, max_errors=2, executor="serial")
    seen = [next(results).outcome for _ in range(3)]
    with pytest.raises(TooManyErrorsError, match="2 files failed") as caught:
        next(results)
    assert seen == ["written", "failed", "failed"]
    assert isinstance(caught.value, BigpipeError)


def test_error_of_too_many_survives_pickling():
    error = TooManyErrorsError("enough", [error_of(ValueError())])
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is TooManyErrorsError
    assert str(again) == str(error)
