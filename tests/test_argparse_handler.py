from __future__ import annotations

import argparse
import re
from typing import Any

import pytest

from bigpipe.argparse_handler import ArgparseHandler, BMPArgparseMixin
from bigpipe.errors import OptionError
from bigpipe.measure import num_can_process
from bigpipe.options import NAMES

METHODS = [
    "outdir",
    "create_outdir",
    "read_pout",
    "write_pout",
    "outname_append",
    "num_processes",
    "mem_available",
    "mem_frac",
    "process_size",
]


class Handler(BMPArgparseMixin, ArgparseHandler):
    """A script with all options."""

    def add_all(self) -> None:
        for name in METHODS:
            getattr(self, f"add_{name}")()

    def cmd(self, args: argparse.Namespace) -> Any:
        return vars(args)


def parsed(*arguments: str, handler: type[Handler] = Handler) -> Any:
    aph = handler(argparse.ArgumentParser())
    aph.add_all()
    return aph.cmd(aph.parser.parse_args(arguments))


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_defaults_are_the_published_ones_but_for_the_size() -> None:
    assert parsed() == {
        "outdir": ".",
        "create_outdir": False,
        "read_pout": False,
        "write_pout": False,
        "outname_append": "_bmp",
        "num_processes": 0.8,
        "mem_available": None,
        "mem_frac": 0.8,
        "process_size": None,
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [("2", 2), ("2.0", 2), ("0", 0), ("0.5", 0.5), ("1e1", 10), ("2.5", 2.5)],
)
def test_number_of_processes_is_a_count_or_a_part(text: str, number: float) -> None:
    value = parsed("--num_processes", text)["num_processes"]
    assert value == number
    assert type(value) is type(number)


def test_two_processes_are_two() -> None:
    arguments = parsed("--num_processes", "2")
    assert num_can_process(num_processes=arguments["num_processes"]) == 2


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "many"])
def test_number_of_processes_that_makes_no_sense_is_a_usage_error(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--num_processes" in refused(capsys, f"--num_processes={text}")


@pytest.mark.parametrize("option", ["mem_available", "process_size"])
@pytest.mark.parametrize(("text", "size"), [("2GiB", 2**31), ("1.5 kB", 1500), ("1e9", 10**9)])
def test_sizes_take_numbers_and_text(option: str, text: str, size: int) -> None:
    assert parsed(f"--{option}", text)[option] == size


def test_size_without_a_clear_unit_is_a_usage_error_that_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    message = refused(capsys, "--process_size", "2G")
    assert "--process_size" in message
    assert "write GiB" in message


@pytest.mark.parametrize("option", ["create_outdir", "read_pout", "write_pout"])
def test_switches_can_be_turned_on_and_off(option: str) -> None:
    assert parsed(f"--{option}")[option] is True
    assert parsed(f"--no-{option}")[option] is False
    assert parsed(f"--{option}", f"--no-{option}")[option] is False


def test_text_options_are_taken_as_they_are() -> None:
    arguments = parsed("--outdir", "out", "--outname_append", "_r", "--mem_frac", "0.5")
    assert arguments["outdir"] == "out"
    assert arguments["outname_append"] == "_r"
    assert arguments["mem_frac"] == 0.5


@pytest.mark.parametrize("append", ["", "_red"], ids=["nothing", "text"])
def test_class_attribute_is_the_default_of_outname_append(append: str) -> None:
    class Reduce(Handler):
        outname_append = append

    assert parsed(handler=Reduce)["outname_append"] == append
    assert parsed("--outname_append", "_x", handler=Reduce)["outname_append"] == "_x"


def test_default_given_wins_over_the_class_attribute() -> None:
    aph = Handler(argparse.ArgumentParser())
    aph.add_outname_append(default="")
    assert aph.parser.parse_args([]).outname_append == ""


@pytest.mark.parametrize("name", METHODS)
def test_option_default_help_and_further_keywords_are_taken(name: str) -> None:
    aph = Handler(argparse.ArgumentParser())
    add = getattr(aph, f"add_{name}")
    add(option="calibration_x", default="7", help="of the calibration", dest="kept_here")
    assert float(aph.parser.parse_args([]).kept_here) == 7
    assert "--calibration_x" in aph.parser.format_help()
    assert "of the calibration" in aph.parser.format_help()
    assert "default" not in aph.parser.format_help()


def test_one_option_may_be_there_twice_under_two_names() -> None:
    aph = Handler(argparse.ArgumentParser())
    aph.add_read_pout()
    aph.add_read_pout(option="read_calibration_pout", default=True)
    args = aph.parser.parse_args(["--read_pout", "--no-read_calibration_pout"])
    assert (args.read_pout, args.read_calibration_pout) == (True, False)


@pytest.mark.parametrize("name", ["num_processes", "mem_frac", "process_size"])
def test_type_may_be_given(name: str) -> None:
    aph = Handler(argparse.ArgumentParser())
    getattr(aph, f"add_{name}")(type=str)
    assert getattr(aph.parser.parse_args([f"--{name}", "x"]), name) == "x"


def help_of(name: str, **arguments: Any) -> str:
    aph = Handler(argparse.ArgumentParser(prog="p", usage="u"))
    getattr(aph, f"add_{name}")(**arguments)
    return re.sub(r"\s+", " ", aph.parser.format_help())


@pytest.mark.parametrize("name", METHODS)
def test_help_tells_the_default_once(name: str) -> None:
    assert help_of(name).count("(default: ") == 1


@pytest.mark.parametrize(
    ("name", "default", "shown"),
    [
        ("num_processes", 3, "3"),
        ("outdir", "100%", "100%"),
        ("create_outdir", True, "True"),
        ("outname_append", "", "''"),
        ("process_size", 5, "5"),
        ("process_size", None, "learned from the files"),
    ],
)
def test_help_tells_the_default_given(name: str, default: Any, shown: str) -> None:
    assert f"(default: {shown})" in help_of(name, default=default)


@pytest.mark.parametrize("name", ["mem_available", "process_size"])
def test_help_of_a_size_tells_its_unit(name: str) -> None:
    assert "in bytes" in help_of(name)


def test_base_adds_nothing_and_says_that_cmd_is_missing() -> None:
    class Script(ArgparseHandler):
        pass

    aph = Script(argparse.ArgumentParser())
    aph.add_all()
    with pytest.raises(NotImplementedError, match="Script has no method cmd"):
        aph.cmd(aph.parser.parse_args([]))


def handler_of(name: str, **arguments: Any) -> argparse.ArgumentParser:
    aph = Handler(argparse.ArgumentParser())
    aph.add_option(name, **arguments)
    return aph.parser


@pytest.mark.parametrize("name", NAMES)
def test_any_option_can_be_added_and_is_not_given_unless_it_is(name: str) -> None:
    parser = handler_of(name)
    assert parser.parse_args([]) == argparse.Namespace(**{name: None})
    assert f"--{name}" in parser.format_help()


@pytest.mark.parametrize(
    ("name", "arguments", "value"),
    [
        ("journal", ["--journal", "night.bigpipe"], "night.bigpipe"),
        ("max_errors", ["--max_errors", "3"], 3),
        ("retry_failed", ["--no-retry_failed"], False),
        ("order", ["--order", "builtins:len"], len),
        ("post_process_list", ["--post_process_list", "builtins:len"], [len]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_option_added_by_its_name_gives_a_value_for_a_pipeline(
    name: str, arguments: list[str], value: Any
) -> None:
    assert getattr(handler_of(name).parse_args(arguments), name) == value


def test_option_added_by_its_name_may_have_another_and_a_default() -> None:
    parser = handler_of("file_timeout", option="limit", default=60, help="of time")
    assert parser.parse_args([]).limit == 60
    assert parser.parse_args(["--limit", "5"]).limit == 5
    assert "of time" in parser.format_help()


def test_value_that_the_option_refuses_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        handler_of("on_error").parse_args(["--on_error", "ignore"])
    assert "'ignore' is not one of 'finish', 'raise', 'return'" in capsys.readouterr().err


def test_name_that_is_no_option_is_refused() -> None:
    with pytest.raises(OptionError, match="'num_proceses' is not a pipeline option"):
        handler_of("num_proceses")
