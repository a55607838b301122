"""The exceptions: what they say, that they survive pickling, and that many of them print short."""

from __future__ import annotations

import copy
import pickle
import signal
import sys
import textwrap
import traceback
from dataclasses import dataclass

import cloudpickle
import pytest

from bigpipe import errors
from bigpipe.errors import (
    MAX_MESSAGE_SHOWN,
    BigpipeError,
    BigpipeWarning,
    CollisionError,
    EncodingError,
    FileError,
    FileTimeoutError,
    InNamesError,
    MemoryBudgetError,
    OptionError,
    OutnameError,
    PipelineError,
    RemoteError,
    UnsafeValueError,
    WorkerError,
    WorkerTraceback,
    show_worker_traceback,
    shown,
    signal_name,
    summarise,
)
from tests.pipes import UnpicklableError
from tests.programs import run_python

TRACEBACK = 'Traceback:\n  File "hooks.py", line 7, in data_process\nValueError: no good\n'


class NeedsTwoError(Exception):
    """Can be pickled, not unpickled, and has fields."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class RefusingError(Exception):
    def __reduce__(self):
        raise RuntimeError("will not be pickled")


class SpeechlessError(RefusingError):
    def __str__(self):
        raise RuntimeError("no text")


class WithFieldsError(Exception):
    def __init__(self, message, code=0):
        super().__init__(message, code)
        self.code = code


@dataclass(frozen=True)
class FrozenError(Exception):
    """Refuses all attributes, ``__traceback__`` and ``__cause__`` among them."""

    frame: int


class OddError(Exception):
    """Comes back as an object that is not an exception."""

    def __reduce__(self):
        return (str, ("odd",))


def file_error(
    in_name="a.fits", hook="data_process", cause=None, message="data_process raised", **fields
):
    error = FileError(message, in_name=in_name, hook=hook, **fields)
    error.__cause__ = cause
    return error


def there_and_back(error):
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (OptionError, ValueError),
        (InNamesError, TypeError),
        (OutnameError, ValueError),
        (CollisionError, FileExistsError),
        (MemoryBudgetError, EnvironmentError),
        (EncodingError, ValueError),
        (UnsafeValueError, TypeError),
        (WorkerError, RuntimeError),
        (FileError, RuntimeError),
        (FileTimeoutError, TimeoutError),
        (PipelineError, ExceptionGroup),
    ],
)
def test_errors_can_be_caught_as_what_they_are(cls, builtin):
    assert issubclass(cls, builtin)
    assert issubclass(cls, BigpipeError)


def test_warning_is_a_user_warning():
    assert issubclass(BigpipeWarning, UserWarning)


def test_every_public_name_is_there():
    assert all(hasattr(errors, name) for name in errors.__all__)


@pytest.mark.parametrize(
    "cls",
    [
        *(OptionError, InNamesError, OutnameError, CollisionError, MemoryBudgetError),
        *(EncodingError, UnsafeValueError, WorkerError),
    ],
)
def test_errors_with_a_text_survive_pickling(cls):
    back = there_and_back(cls("what happened and what to do"))
    assert type(back) is cls
    assert str(back) == "what happened and what to do"


# FileError.


@pytest.mark.parametrize("copied", [there_and_back, copy.copy, copy.deepcopy])
def test_file_error_keeps_its_fields(copied):
    error = FileError(
        "worker 7 was killed",
        in_name=["a", ["b"]],
        hook="pre_process: reject",
        exitcode=-9,
        attempts=2,
        traceback=TRACEBACK,
    )
    back = copied(error)
    assert str(back) == "worker 7 was killed"
    assert (back.in_name, back.hook) == (["a", ["b"]], "pre_process: reject")
    assert (back.exitcode, back.signal, back.attempts) == (-9, signal.SIGKILL, 2)
    assert back.traceback == TRACEBACK


@pytest.mark.parametrize(("exitcode", "number"), [(None, None), (0, None), (3, None), (-11, 11)])
def test_signal_is_that_which_ended_the_worker(exitcode, number):
    assert FileError("", exitcode=exitcode).signal == number


def test_cause_survives_pickling_with_its_type_and_fields():
    back = there_and_back(file_error(cause=WithFieldsError("bad", code=7)))
    assert type(back.__cause__) is WithFieldsError
    assert back.__cause__.code == 7


def test_notes_of_the_cause_survive_pickling():
    cause = ValueError("bad")
    cause.add_note("look at the flat")
    assert there_and_back(file_error(cause=cause)).__cause__.__notes__ == ["look at the flat"]


def test_cause_of_a_class_that_cannot_be_imported_survives_by_value():
    class LocalError(ValueError):
        pass

    back = there_and_back(file_error(cause=LocalError("bad")))
    assert type(back.__cause__) is LocalError


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (NeedsTwoError(1, 2), "NeedsTwoError: 1 and 2"),
        (UnpicklableError("x", "y"), "UnpicklableError: xy"),
        (RefusingError("bad"), "RefusingError: bad"),
        (SpeechlessError(), "SpeechlessError: <no text"),
        (OddError("bad"), "OddError: bad"),
        (ValueError(x for x in ()), "ValueError: <generator"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Exception) else "",
)
def test_cause_that_cannot_be_pickled_leaves_its_type_and_text(cause, text):
    back = there_and_back(file_error(cause=cause, traceback=TRACEBACK))
    assert type(back.__cause__) is RemoteError
    assert str(back.__cause__).startswith(text)
    assert back.kind == ("data_process", type(cause).__name__)
    assert TRACEBACK in str(back.__cause__.__cause__)


def test_cause_that_cannot_be_rebuilt_there_leaves_its_type_and_text(monkeypatch):
    pickled = pickle.dumps(file_error(cause=WithFieldsError("bad", code=7)))
    monkeypatch.delattr(sys.modules[__name__], "WithFieldsError")
    back = pickle.loads(pickled)
    assert str(back.__cause__) == "WithFieldsError: ('bad', 7)"


def test_file_error_survives_being_pickled_again_and_again():
    error = file_error(cause=NeedsTwoError(1, 2), traceback=TRACEBACK)
    for _ in range(3):
        error = there_and_back(error)
    assert str(error.__cause__) == "NeedsTwoError: 1 and 2"
    assert str(error.__cause__.__cause__).count("Traceback") == 1


def test_worker_traceback_is_printed_as_the_cause_of_the_cause():
    back = there_and_back(file_error(cause=ValueError("bad"), traceback=TRACEBACK))
    assert TRACEBACK in "".join(traceback.format_exception(back))


def test_error_shown_here_lets_go_of_the_frames_that_hold_the_data():
    def hook(data):
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer")  # noqa: B904

    with pytest.raises(ValueError, match="outer") as raised:
        hook("data")
    cause = raised.value
    error = file_error(cause=cause, traceback=TRACEBACK)
    show_worker_traceback(error)
    assert cause.__traceback__ is None
    assert cause.__context__.__traceback__ is None
    assert TRACEBACK in "".join(traceback.format_exception(error))


def test_cause_that_refuses_attributes_lets_go_of_its_frames_all_the_same():
    with pytest.raises(FrozenError) as raised:
        raise FrozenError(7)
    error = file_error(cause=raised.value, traceback=TRACEBACK)
    show_worker_traceback(error)
    assert raised.value.__traceback__ is None
    assert printed(PipelineError("2 of 2 files failed", [error, error])) == [TRACEBACK] * 2
    assert there_and_back(error).kind == error.kind


def test_error_of_a_pipeline_inside_a_hook_keeps_its_own_cause():
    inner = file_error(cause=ValueError("bad"), traceback=TRACEBACK)
    outer = file_error(cause=inner, traceback="outer")
    back = there_and_back(outer)
    assert type(back.__cause__) is FileError
    assert type(back.__cause__.__cause__) is ValueError


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (file_error(cause=ValueError("x")), ("data_process", "ValueError")),
        (file_error(cause=RemoteError("SomeError: x: y")), ("data_process", "SomeError")),
        (file_error(exitcode=-9), ("data_process", "SIGKILL")),
        (file_error(exitcode=3), ("data_process", "exit code 3")),
        (file_error(hook=None, exitcode=0), ("before the first hook", "exit code 0")),
        (file_error(), ("data_process", "FileError")),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, tuple) else "",
)
def test_kind_is_hook_and_sort(error, kind):
    assert error.kind == kind


@pytest.mark.parametrize(
    ("number", "name"), [(9, "SIGKILL"), (11, "SIGSEGV"), (63, "signal 63"), (0, "signal 0")]
)
def test_signals_have_names(number, name):
    assert signal_name(number) == name


@pytest.mark.parametrize(
    ("in_name", "text"),
    [
        ("a", "'a'"),
        (["a", "b"], "['a', 'b']"),
        (["a", ["b", "c"]], "['a', ['b', 'c']]"),
    ],
)
def test_input_is_shown_as_it_was_given(in_name, text):
    assert shown(in_name) == text


def test_large_group_is_shown_by_a_few_of_its_members():
    text = shown([[f"{i:04d}.fits" for i in range(500)] for _ in range(500)])
    assert "'0000.fits'" in text
    assert "500" in text
    assert len(text) < 500


# PipelineError.


def pipeline_error(n=4):
    kinds = [ValueError("bad"), OSError(5, "broken")]
    failures = [
        there_and_back(file_error(f"{i}.fits", cause=kinds[i % 2], traceback=TRACEBACK))
        for i in range(n)
    ]
    pout = [(None, {"bmp_error": error}) for error in failures]
    return PipelineError(f"{n} of {n} files failed", failures, pout)


def test_message_counts_failures_by_hook_and_kind():
    message = str(pipeline_error(5))
    assert message.startswith("5 of 5 files failed\n")
    assert "3 x ValueError in data_process" in message
    assert "2 x OSError in data_process" in message
    assert message.index("ValueError") < message.index("OSError")


def test_error_holds_all_errors_and_the_whole_result():
    error = pipeline_error(4)
    assert [each.in_name for each in error.exceptions] == [f"{i}.fits" for i in range(4)]
    assert len(error.pout) == 4


def test_except_star_catches_file_errors():
    caught = []
    try:
        raise pipeline_error(4)
    except* FileError as group:
        caught.append(group)
    assert [each.in_name for each in caught[0].exceptions] == [f"{i}.fits" for i in range(4)]
    assert len(caught[0].pout) == 4


def pass_by_except_star(error):
    try:
        raise error
    except* CollisionError:
        pytest.fail("there is none")


def test_except_star_of_other_errors_lets_it_pass():
    with pytest.raises(PipelineError) as raised:
        pass_by_except_star(pipeline_error(4))
    assert len(raised.value.exceptions) == 4


def test_split_parts_the_errors_and_keeps_the_result():
    error = pipeline_error(5)
    values, others = error.split(lambda each: isinstance(each.__cause__, ValueError))
    assert type(values) is type(others) is PipelineError
    assert [len(values.exceptions), len(others.exceptions)] == [3, 2]
    assert values.pout is others.pout is error.pout
    assert "OSError" not in str(values)
    assert "sub-exception" not in str(values)


def test_derived_error_holds_the_given_ones():
    error = pipeline_error(4)
    part = error.derive(error.exceptions[:1])
    assert part.exceptions == error.exceptions[:1]
    assert part.pout is error.pout


@pytest.mark.parametrize("module", [pickle, cloudpickle], ids=["pickle", "cloudpickle"])
def test_pipeline_error_survives_pickling(module):
    error = pipeline_error(4)
    back = pickle.loads(module.dumps(error))
    assert str(back) == str(error)
    assert [str(each) for each in back.exceptions] == [str(each) for each in error.exceptions]
    assert back.pout[1][1]["bmp_error"] is back.exceptions[1]
    assert type(back.exceptions[1].__cause__) is OSError


def printed(error: PipelineError) -> list[str | None]:
    """Return the traceback that each failure prints."""
    shown = [each.__cause__.__cause__ for each in error.exceptions]
    assert all(isinstance(each, WorkerTraceback | None) for each in shown)
    return [None if each is None else each.text for each in shown]


def test_first_of_each_kind_alone_prints_its_traceback():
    error = pipeline_error(6)
    assert printed(error) == [TRACEBACK] * 2 + [None] * 4
    assert [each.traceback for each in error.exceptions] == [TRACEBACK] * 6
    assert printed(error.derive(error.exceptions[4:])) == [TRACEBACK] * 2


def test_failure_that_has_its_frames_keeps_them():
    error = file_error(cause=ValueError("x"))
    try:
        raise error.__cause__
    except ValueError as raised:
        frames = raised.__traceback__
    cause = PipelineError("1 of 1 files failed", [error]).exceptions[0].__cause__
    assert cause.__traceback__ is frames is not None


def test_failures_with_one_cause_print_its_traceback_once():
    cause = there_and_back(file_error(cause=ValueError("bad"), traceback=TRACEBACK)).__cause__
    failures = [file_error(f"{i}.fits", cause=cause, traceback=TRACEBACK) for i in range(3)]
    for error in (PipelineError("3 of 3 files failed.", failures), *failures[1:]):
        assert "".join(traceback.format_exception(error)).count('File "hooks.py", line 7') == 1


def test_summary_shows_the_most_frequent_kinds_and_counts_the_rest():
    kinds = [type(f"Kind{i:02d}Error", (Exception,), {}) for i in range(20)]
    failures = [file_error(cause=kind("x")) for i, kind in enumerate(kinds) for _ in range(20 - i)]
    lines = summarise(failures).splitlines()
    assert len(lines) < 12
    assert "20 x Kind00Error" in lines[0]
    assert lines[-1].strip() == f"and {20 - len(lines) + 1} more kinds"


def test_summary_cuts_long_messages_and_those_of_many_lines():
    text = summarise([file_error(message="x" * 10_000), file_error(message="one\ntwo", hook="b")])
    assert max(map(len, text.splitlines())) < MAX_MESSAGE_SHOWN + 100
    assert "two" not in text


def test_a_thousand_failures_print_short(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            from bigpipe import BigMultiPipe

            class Failing(BigMultiPipe):
                def file_read(self, in_name, **kwargs):
                    return in_name

                def data_process(self, data, **kwargs):
                    return deeper(20, data)

            def deeper(depth, data):
                if depth:
                    return deeper(depth - 1, data)
                raise ValueError(f"no stars in {data}")

            names = [f"{i}.fits" for i in range(1000)]
            Failing().pipeline(names, executor="serial", max_errors=9999)
            """
        )
    )
    ran = run_python(script)
    lines = ran.stderr.splitlines()
    assert ran.returncode == 1
    assert any("1000 x ValueError in data_process" in line for line in lines)
    assert any("in deeper" in line for line in lines)
    assert len(lines) < 180
