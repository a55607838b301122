"""Options as text: each has a flag, and what the flag is given becomes its value."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from bigpipe.errors import OptionError
from bigpipe.flags import DECLARED, Later, add_flags, flag_of, from_text, in_flags, resolved
from bigpipe.options import NAMES, Kind, Options

GIVEN: dict[str, tuple[list[str], Any]] = {
    "num_processes": (["--num-processes", "0.5"], 0.5),
    "mem_available": (["--mem-available", "2GiB"], 2**31),
    "mem_frac": (["--mem-frac", "0.5"], 0.5),
    "process_size": (["--process-size", "1 kB"], 1000),
    "outdir": (["--outdir", "out"], "out"),
    "create_outdir": (["--create-outdir"], True),
    "outname_append": (["--outname-append="], ""),
    "outname": (["--outname", "x"], "x"),
    "pre_process_list": (
        ["--pre-process-list", "m:f", "--pre-process-list", "m:g"],
        ["m:f", "m:g"],
    ),
    "post_process_list": (["--post-process-list", "m:f"], ["m:f"]),
    "PoolClass": (["--pool-class", "bigpipe:NestablePool"], "bigpipe:NestablePool"),
    "executor": (["--executor", "threads"], "threads"),
    "start_method": (["--start-method", "spawn"], "spawn"),
    "overlap": (["--overlap"], True),
    "batch_size": (["--batch-size", "8"], 8),
    "strategy": (["--strategy", "batched"], "batched"),
    "order": (["--order", "m:key"], "m:key"),
    "on_error": (["--on-error", "return"], "return"),
    "file_timeout": (["--file-timeout", "1.5"], 1.5),
    "max_worker_deaths": (["--max-worker-deaths", "3"], 3),
    "max_retries": (["--max-retries", "0"], 0),
    "retry_on": (["--retry-on", "OSError"], ["OSError"]),
    "retry_pause": (["--retry-pause", "0"], 0),
    "max_errors": (["--max-errors", "7"], 7),
    "journal": (["--journal", "j"], "j"),
    "retry_failed": (["--no-retry-failed"], False),
    "compare_inputs": (["--compare-inputs", "checksum"], "checksum"),
    "fingerprint": (["--fingerprint", "a = b"], "a = b"),
    "threads_per_worker": (["--threads-per-worker", "2"], 2),
    "progress": (["--no-progress"], False),
}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="p")
    add_flags(made)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_flag_that_gives_its_value(name: str) -> None:
    arguments, value = GIVEN[name]
    assert vars(parser().parse_args(arguments)) == {**dict.fromkeys(NAMES), name: value}
    assert flag_of(name) in parser().format_help()


def test_what_no_flag_gives_is_none() -> None:
    assert set(vars(parser().parse_args([])).values()) == {None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-processes", "many"], "argument --num-processes: 'many' is not a number"),
        (["--num-processes", "inf"], "is not a finite number"),
        (["--num-processes=-1"], "is not a number of at least 0"),
        (["--process-size", "2G"], "write GiB"),
        (["--on-error", "ignore"], "not one of 'finish', 'raise', 'return'"),
        (["--max-errors", "1.5"], "not a whole number"),
        (["--pool-class", "NestablePool"], "write package.module:name"),
    ],
    ids=lambda x: "=".join(x) if isinstance(x, list) else "",
)
def test_value_that_cannot_be_used_is_a_usage_error_that_says_why(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parser().parse_args(arguments)
    assert caught.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_help_tells_defaults_and_keeps_percent_signs() -> None:
    text = " ".join(parser().format_help().split())
    assert (
        "fraction of the currently available memory to use if --mem-available is not given "
        "(default: 0.8)"
    ) in text
    assert "{finish,raise,return}" in text


def test_names_of_objects_are_looked_up_only_when_asked_for() -> None:
    given = parser().parse_args(["--order", "nowhere:key", "--progress-function", "nowhere:show"])
    assert isinstance(given.order, Later)
    assert given.progress == "nowhere:show"
    with pytest.raises(OptionError, match="no module 'nowhere'"):
        resolved("order", given.order)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("order", "builtins:len", len),
        ("order", "given", "given"),
        ("pre_process_list", ["builtins:len", "builtins:abs"], [len, abs]),
        ("retry_on", ["OSError", "ValueError"], (OSError, ValueError)),
        ("retry_on", ["builtins:callable"], callable),
        ("outdir", "a:b", "a:b"),
        ("num_processes", 2, 2),
        ("fingerprint", {"flat": "v1"}, {"flat": "v1"}),
    ],
    ids=str,
)
def test_value_of_a_flag_or_a_file_is_what_a_run_is_given(
    name: str, value: Any, expected: Any
) -> None:
    assert resolved(name, value) == expected
    Options().merged({name: resolved(name, value)}).checked()


def test_text_becomes_a_checked_value() -> None:
    assert from_text("max_errors", "3") == 3
    assert type(from_text("num_processes", "2.0")) is int
    with pytest.raises(OptionError, match="order='largest'"):
        from_text("order", "largest")


def test_words_of_a_choice_are_those_that_its_check_takes() -> None:
    for name, option in DECLARED.items():
        assert bool(option.metadata["choices"]) == (Kind.CHOICE in option.metadata["kinds"])
        for word in option.metadata["choices"]:
            assert option.metadata["check"](name, word) == word


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("give create_outdir=True", "give --create-outdir"),
        ("give retry_failed=False", "give --no-retry-failed"),
        ("max_errors=2 allows no more", "--max-errors=2 allows no more"),
        ("order='length' is wrong", "--order='length' is wrong"),
        ("raise process_size, lower num_processes", "raise --process-size, lower --num-processes"),
        ("give fingerprint", "give --fingerprint"),
        ("give another outdir or outname", "give another --outdir or --outname"),
        ("give a name. The outdir is kept", "give a name. The outdir is kept"),
        ("give names in the order of the night", "give names in the order of the night"),
        ("give another journal", "give another --journal"),
        ("give PoolClass", "give --pool-class"),
        ("in the order of the journal", "in the order of the journal"),
        ("'max_errors.fits' and \"mem_frac=1\"", "'max_errors.fits' and \"mem_frac=1\""),
        ("bigpipe's mem_frac is the user's", "bigpipe's --mem-frac is the user's"),
        ("data/mem_frac, mem_frac.fits, mem_frac()", "data/mem_frac, mem_frac.fits, mem_frac()"),
    ],
)
def test_message_names_flags(message: str, told: str) -> None:
    assert in_flags(message) == told
