"""The valid values of each option, and that each is declared once."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from bigpipe import BigMultiPipe, assure_list
from bigpipe.errors import OptionError
from bigpipe.executors.serial import SerialExecutor
from bigpipe.options import CONTROL_OPTIONS, NAMES, Options, slips, table
from tests.ids import shown


def checked(**given):
    return Options().merged(given).checked()


@pytest.mark.parametrize(
    ("x", "as_list"),
    [(None, []), ([], []), ([1], [1]), ("ab", ["ab"]), ((1, 2), [(1, 2)]), (0, [0])],
    ids=repr,
)
def test_anything_can_be_made_a_list(x, as_list):
    assert assure_list(x) == as_list


def test_list_is_itself():
    x = [1]
    assert assure_list(x) is x


def test_defaults_pass_the_checks():
    assert Options().checked() == Options()


@pytest.mark.parametrize("value", [0, False, "", 0.0], ids=repr)
def test_false_values_are_answers(value):
    assert Options(outdir="out").merged({"outdir": value}).outdir == value


def test_none_is_no_answer():
    assert Options(outdir="out").merged({"outdir": None}).outdir == "out"


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"num_processes": 0}, 0),
        ({"num_processes": 0.5}, 0.5),
        ({"num_processes": np.int64(3)}, 3),
        ({"mem_available": "2 GiB"}, 2 * 2**30),
        ({"mem_available": 1e9}, 10**9),
        ({"process_size": "500MB"}, 500 * 10**6),
        ({"mem_frac": 0.1}, 0.1),
        ({"outdir": Path("out")}, Path("out")),
        ({"outdir": ""}, ""),
        ({"outname_append": ""}, ""),
        ({"outname": "x.fits"}, "x.fits"),
        ({"pre_process_list": len}, [len]),
        ({"post_process_list": [len, abs]}, [len, abs]),
        ({"executor": "threads"}, "threads"),
        ({"start_method": "spawn"}, "spawn"),
        ({"on_error": "return"}, "return"),
        ({"file_timeout": 0.5}, 0.5),
        ({"max_worker_deaths": 3.0}, 3),
        ({"threads_per_worker": 1}, 1),
        ({"progress": False}, False),
        ({"progress": print}, print),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_value_that_can_be_used_passes(given, value):
    [name] = given
    assert getattr(checked(**given), name) == value


def test_executor_may_be_an_instance():
    executor = SerialExecutor()
    assert checked(executor=executor).executor is executor


@pytest.mark.parametrize(
    "given",
    [
        {"num_processes": -1},
        {"num_processes": "2"},
        {"num_processes": float("nan")},
        {"num_processes": object()},
        {"num_processes": True},
        {"mem_available": "much"},
        {"mem_available": -1},
        {"mem_available": []},
        {"process_size": "2 apples"},
        {"process_size": 0},
        {"mem_frac": 0},
        {"mem_frac": "half"},
        {"outdir": b"out"},
        {"outdir": 7},
        {"outname_append": 7},
        {"outname": ["a"]},
        {"pre_process_list": "median"},
        {"pre_process_list": [len, 7]},
        {"post_process_list": [[len]]},
        {"executor": "process"},
        {"executor": 7},
        {"executor": SerialExecutor},
        {"start_method": "thread"},
        {"on_error": "ignore"},
        {"file_timeout": 0},
        {"file_timeout": "10"},
        {"max_worker_deaths": 0},
        {"max_worker_deaths": 1.5},
        {"threads_per_worker": 0},
        {"progress": "bar"},
        {"PoolClass": 3},
    ],
    ids=shown,
)
def test_value_that_cannot_be_used_raises_and_names_the_option(given):
    [name] = given
    with pytest.raises(OptionError, match=name) as raised:
        checked(**given)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"num_processes": -1}, "-1"),
        ({"on_error": "ignore"}, "'ignore'"),
        ({"post_process_list": [len, "median"]}, "'median'"),
        ({"process_size": "2 apples"}, "2 apples"),
    ],
    ids=str,
)
def test_refusal_shows_the_value(given, shown):
    with pytest.raises(OptionError) as raised:
        checked(**given)
    assert shown in str(raised.value)


@pytest.mark.parametrize("name", ["executor", "start_method", "on_error"])
def test_refusal_of_a_choice_lists_the_choices(name):
    with pytest.raises(OptionError) as raised:
        checked(**{name: "wrong"})
    choices = {
        "executor": ["processes", "threads", "serial"],
        "start_method": ["fork", "forkserver", "spawn"],
        "on_error": ["finish", "raise", "return"],
    }
    assert all(choice in str(raised.value) for choice in choices[name])


def test_every_option_has_help_and_a_row_in_the_table():
    rows = table()
    assert [row[0] for row in rows] == list(NAMES)
    assert all(row[3].endswith(".") and row[3][0].isupper() for row in rows)


@pytest.mark.parametrize("option", fields(Options), ids=NAMES)
def test_help_of_an_option_is_in_the_style_of_the_command_line(option):
    text = option.metadata["help"]
    assert text[0].islower()
    assert not text.endswith(".")
    assert ". " not in text


def test_options_come_in_the_order_of_the_constructor():
    parameters = list(inspect.signature(BigMultiPipe).parameters)
    assert tuple(parameters[:-1]) == NAMES[: len(parameters) - 1]


def test_defaults_of_the_constructor_are_the_defaults():
    defaults = {option.name: option.default for option in fields(Options)}
    for parameter in list(inspect.signature(BigMultiPipe).parameters.values())[:-1]:
        assert parameter.default == defaults[parameter.name]


def test_hooks_are_given_the_options_about_names():
    assert set(CONTROL_OPTIONS) == {"outdir", "create_outdir", "outname_append", "outname"}


@pytest.mark.parametrize("value", [True, False, 1, 0, np.True_, np.False_], ids=repr)
def test_flag_is_what_is_true_or_false(value):
    assert checked(create_outdir=value).create_outdir is bool(value)


@pytest.mark.parametrize("value", ["no", "", [], 0.5, b"no"], ids=repr)
def test_flag_is_nothing_else(value):
    with pytest.raises(OptionError, match=r"create_outdir=.*True nor False: give one of them"):
        checked(create_outdir=value)


@pytest.mark.parametrize(
    ("keyword", "option"),
    [
        ("num_process", "num_processes"),
        ("outdirs", "outdir"),
        ("create_out_dir", "create_outdir"),
        ("post_process_lists", "post_process_list"),
        ("poolclass", "PoolClass"),
        ("onerror", "on_error"),
        ("num_procs", "num_processes"),
        ("memory_available", "mem_available"),
        ("mem_avail", "mem_available"),
        ("mem_fraction", "mem_frac"),
        ("proc_size", "process_size"),
        ("max_retry", "max_retries"),
        ("n_jobs", "num_processes"),
        ("max_workers", "num_processes"),
    ],
)
def test_near_miss_of_an_option_is_recognised(keyword, option):
    assert slips([keyword], [])[keyword].endswith(f"did you mean {option!r}?")


def with_parameters(data, dark=None, *, dark_level=0, num_process=None, **kwargs):
    return data


@pytest.mark.parametrize(
    "keyword",
    [
        *(
            "bias",
            "flat",
            "dark",
            "dark_scale",
            "gain",
            "gain_unit",
            "in_unit",
            "outbase",
            "memory",
        ),
        *("nsigma", "n_sigma", "sigma_clip", "process", "processing", "size", "max_size", "mem"),
        *("overwrite", "out_unit", "outfile", "timeout", "timeout_s", "retry", "error", "errors"),
        *("batch", "number", "num", "num_pixels", "num_prob", "num_points", "max_iter", "mem_free"),
        *("process_name", "file_type", "file_name", "filename", "fraction", "journals_read"),
        *("start", "start_time", "method", "methods", "thread_id", "worker", "workers", "cores"),
        *(
            "list",
            "ordering",
            "strategies",
            "progress_text",
            "execute",
            "output",
            "outs",
            "retrieve",
        ),
        *("max_value", "max_distance", "on_axis", "in_names_list", "bins", "n_bins", "nproject"),
    ],
)
def test_other_keywords_are_no_near_misses(keyword):
    assert slips([keyword], []) == {}


def test_keyword_that_a_function_knows_is_no_near_miss():
    assert slips(["num_process"], [min, with_parameters]) == {}


@pytest.mark.parametrize(
    ("keyword", "parameter"),
    [("drak", "dark"), ("Dark", "dark"), ("darks", "dark"), ("dark_levle", "dark_level")],
)
def test_near_miss_of_a_parameter_is_recognised(keyword, parameter):
    doubts = slips([keyword, "flat"], [min, with_parameters])
    assert list(doubts) == [keyword]
    assert f"one has {parameter!r}" in doubts[keyword]


@pytest.mark.parametrize("given", [["drak", "dark"], ["disk"], ["dat"], ["kwarg"]], ids=str)
def test_keywords_that_stand_for_themselves_are_no_near_misses(given):
    assert slips(given, [with_parameters]) == {}


@pytest.mark.parametrize(
    ("given", "doubted"),
    [
        ({"mem_frac": 80}, ["mem_frac"]),
        ({"mem_frac": 80, "mem_available": "1 GiB"}, []),
        ({"mem_frac": 1}, []),
        ({}, []),
    ],
    ids=str,
)
def test_more_than_all_memory_is_doubted(given, doubted):
    assert list(checked(**given).doubts()) == doubted
