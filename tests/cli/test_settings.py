"""Settings of a run, from flags and from a file."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import pytest

from bigpipe.cli.run import Intermixed, add
from bigpipe.cli.settings import settings_of, value_of
from bigpipe.errors import OptionError


def settings(*arguments):
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers(parser_class=Intermixed))
    return settings_of(parser.parse_args(["run", *arguments]))


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A function that writes the file ``night.toml`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    return Path("night.toml").write_text


NIGHT = """
target = "night.py:Reduce"
inputs = ["raw"]
glob = "*.fits"
format = "csv"
outdir = "reduced"
num-processes = 2
mem_frac = 0.5
post_process_list = ["night.py:note"]
[set]
limit = 3
sigma = 2.5
"""


def test_file_says_all(config):
    config(NIGHT)
    asked = settings("--config", "night.toml")
    assert asked.target == "night.py:Reduce"
    assert asked.inputs == ["raw"]
    assert (asked.glob, asked.format) == ("*.fits", "csv")
    assert asked.options == {
        "outdir": "reduced",
        "num_processes": 2,
        "mem_frac": 0.5,
        "post_process_list": ["night.py:note"],
    }
    assert asked.keywords == {"limit": 3, "sigma": 2.5}


def test_flags_win_over_the_file(config):
    config(NIGHT)
    asked = settings(
        *("--config", "night.toml", "a.fits", "b.fits", "--outdir", "out", "--set", "limit=4"),
        *("--format", "json", "--glob", "*.npy"),
    )
    assert asked.target == "night.py:Reduce"
    assert asked.inputs == ["a.fits", "b.fits"]
    assert (asked.glob, asked.format) == ("*.npy", "json")
    assert (asked.options["outdir"], asked.options["mem_frac"]) == ("out", 0.5)
    assert asked.keywords == {"limit": 4, "sigma": 2.5}


def test_groups_are_lists_in_the_file_or_asked_for(config):
    config("inputs = [['a', 'b'], 'c']")
    asked = settings("--config", "night.toml", "--set", "limit=4")
    assert (asked.inputs, asked.group) == ([["a", "b"], "c"], False)
    config("group = true")
    assert settings("--config", "night.toml").group
    assert settings("--group", "night.py", "raw/*").group


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("inputs = [3]", r"or groups \(lists of text\)"),
        ("inputs = 5", r"or groups \(lists of text\)"),
        ("inputs = [[1]]", r"or groups \(lists of text\)"),
        ("inputs = [[['a']]]", r"or groups \(lists of text\)"),
        ("glob = 4", "glob in 'night.toml' is 4: it must be text"),
        ("target = ['a']", "must be text"),
        ("group = 'yes'", "must be true or false"),
        ("num_processes = '2'", "^'num_processes' in 'night.toml': '2' is not a number"),
        ("process_size = '2 X'", "^'process_size' in 'night.toml': '2 X' has no known unit"),
        ("order = 'length'", "^'order' in 'night.toml': 'length' is not one of"),
    ],
    ids=lambda x: x if "=" in x else "",
)
def test_value_of_another_type_is_refused(config, text, what):
    config(text)
    with pytest.raises(OptionError, match=what):
        settings("--config", "night.toml")


def test_target_is_an_argument_if_the_file_has_none(config):
    config("inputs = 'raw/*.fits'")
    asked = settings("--config", "night.toml", "night.py")
    assert (asked.target, asked.inputs) == ("night.py", ["raw/*.fits"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("outdri = 'x'", "'outdri', which is not an option: did you mean 'outdir'"),
        ("n_jobs = 3", "'n_jobs', which is not an option: did you mean 'num_processes'"),
        ("mem = 3", "did you mean 'mem_available' or 'mem_frac'"),
        ("limit = 3", r"which is not an option; keywords go under \[set\]"),
        ("set = 3", r"\[set\] in 'night.toml' is not a table"),
        ("[set]\noutdir = 'x'", "is an option, not a keyword: give --outdir"),
        ("x = ", "'night.toml' is not TOML"),
    ],
    ids=["near miss", "other library", "beginning", "keyword", "no table", "option", "no TOML"],
)
def test_file_that_cannot_be_used_is_refused(content, message, config):
    config(content)
    with pytest.raises(OptionError, match=message):
        settings("--config", "night.toml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("2.5e3", 2500.0),
        ("true", True),
        ("False", False),
        ("None", None),
        ('"3"', "3"),
        ("[1, 'a']", [1, "a"]),
        ("{a = 1}", {"a": 1}),
        ("2026-11-21", datetime.date(2026, 11, 21)),
        ("median", "median"),
        ("12h30m", "12h30m"),
        ("a = b", "a = b"),
        ("1\nother = 2", "1\nother = 2"),
        ("", ""),
    ],
    ids=repr,
)
def test_value_of_a_keyword_is_toml_or_text(text, value):
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["[1, 2", "{a: 1}", "'a"])
def test_value_that_begins_like_toml_must_be_toml(text):
    with pytest.raises(OptionError, match="is not a TOML value"):
        value_of(text)


@pytest.mark.parametrize("text", ["a.b=1", "1=1", "=1"])
def test_keyword_must_be_a_name(text):
    with pytest.raises(OptionError, match="is not a valid name of a keyword"):
        settings("x", "--set", text)
