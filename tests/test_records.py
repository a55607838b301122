"""The records of a run are plain data."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import pickle

import pytest

from bigpipe import records
from bigpipe.errors import FileError
from bigpipe.records import FileFinished, FileResult, Outcome, RunFinished, RunStarted

RESULT = FileResult(3, "a.fits", "a_bmp.fits", {"sky": 7.5}, Outcome.WRITTEN)
EVENTS = [RunStarted(None, 4), FileFinished(RESULT), RunFinished(9, 1, 2.5, False)]


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.name)
def test_outcome_is_the_word_for_it(outcome):
    assert str(outcome) == f"{outcome}" == outcome.value
    assert outcome == outcome.value
    assert Outcome(outcome.value) is outcome


def test_there_is_an_outcome_for_every_end():
    assert [str(outcome) for outcome in Outcome] == [
        *("written", "metadata only", "rejected", "failed", "killed", "timed out")
    ]


def test_entry_is_what_pipeline_returns_for_the_file():
    assert RESULT.entry == ("a_bmp.fits", {"sky": 7.5})
    assert type(RESULT.entry) is tuple


@pytest.mark.parametrize("record", [RESULT, *EVENTS], ids=lambda record: type(record).__name__)
def test_records_can_be_pickled_and_copied(record):
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_events_that_several_listeners_get_cannot_be_changed(event):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, dataclasses.fields(event)[0].name, 0)


def test_results_do_not_share_their_dicts():
    other = FileResult(0, "b", None, {}, Outcome.REJECTED)
    assert other.seconds is not FileResult(1, "c", None, {}, Outcome.REJECTED).seconds


def test_result_with_an_error_survives_pickling():
    error = FileError("file_read raised OSError", in_name="a", hook="file_read")
    error.__cause__ = OSError(5, "broken")
    result = FileResult(0, "a", None, {"bmp_error": error}, Outcome.FAILED, error=error)
    back = pickle.loads(pickle.dumps(result))
    assert back.meta["bmp_error"] is back.error
    assert back.error.__cause__.errno == 5


@pytest.mark.parametrize("cls", [FileResult, RunStarted, FileFinished, RunFinished, Outcome])
def test_every_field_says_what_it_is(cls):
    [definition] = [
        node
        for node in ast.parse(inspect.getsource(records)).body
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    ]
    body = definition.body
    for field, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) or (
            cls is Outcome and isinstance(field, ast.Assign) and ast.unparse(field).isupper()
        ):
            assert isinstance(following, ast.Expr), f"{ast.unparse(field)} has no string below it"
