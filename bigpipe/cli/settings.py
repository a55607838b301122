"""What a run is asked to do: from flags, ``--set`` and ``--config``.

Owns how these are read and which takes precedence. `bigpipe.options` says what options mean.
"""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import dataclass, field
from typing import Any

from bigpipe.errors import OptionError
from bigpipe.flags import DECLARED, flag_of, names_object
from bigpipe.near_names import names_meant
from bigpipe.options import ELSEWHERE, NAMES, Kind

__all__ = ["PREFIX", "Settings", "settings_of", "value_of"]

PREFIX = "option_"  # before an option's name among the parsed arguments

_OWN = ("target", "inputs", "glob", "group", "format", "set")
_WORDS = {"True": True, "False": False, "None": None}


@dataclass(slots=True)
class Settings:
    """What a run is asked to do."""

    target: str | None = None
    """What to run."""
    inputs: list[str | list[str]] = field(default_factory=list)
    """Inputs, as given; a list among them is a group."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options, by name; objects are still given by their names."""
    keywords: dict[str, Any] = field(default_factory=dict)
    """Keywords of the hooks."""
    glob: str | None = None
    """Pattern of the files to take from folders."""
    group: bool = False
    """Whether the files that one input stands for are read together."""
    format: str | None = None
    """Format in which results are printed."""


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return what was asked for by the file of ``--config`` and by flags, which override it.

    Parameters
    ----------
    arguments : argparse.Namespace
        The parsed arguments.

    Raises
    ------
    OptionError
        If something in them or in the file cannot be used.
    """
    settings = Settings() if arguments.config is None else _from_file(arguments.config)
    words = list(arguments.words)
    if words and settings.target is None:
        settings.target = words.pop(0)
    settings.inputs = words or settings.inputs
    for name in NAMES:
        value = getattr(arguments, PREFIX + name)
        if value is not None:
            settings.options[name] = value
    for text in arguments.set or ():
        name, value = _assignment(text)
        settings.keywords[name] = value
    settings.glob = arguments.glob or settings.glob
    settings.group = arguments.group or settings.group
    settings.format = arguments.format or settings.format
    return settings


def _from_file(name: str) -> Settings:
    try:
        with open(name, "rb") as file:
            content = tomllib.load(file)
    except OSError as error:
        raise OptionError(f"cannot read {name!r}: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{name!r} is not TOML: {error}") from None
    settings = Settings()
    for key, value in content.items():
        option = _option_called(key)
        if option is not None:
            settings.options[option] = _checked_option(name, option, value)
        elif key == "set":
            if not isinstance(value, dict):
                raise OptionError(f"[set] in {name!r} is not a table of keywords")
            for keyword, each in value.items():
                settings.keywords[_checked_keyword(keyword)] = each
        elif key == "inputs":
            settings.inputs = _inputs(name, value)
        elif key in _OWN:
            if type(value) is not (bool if key == "group" else str):
                what = "true or false" if key == "group" else "text"
                raise OptionError(f"{key} in {name!r} is {value!r}: it must be {what}")
            setattr(settings, key, value)
        else:
            near = [ELSEWHERE[key]] if key in ELSEWHERE else names_meant(key, [*NAMES, *_OWN])
            hint = f": did you mean {' or '.join(map(repr, near))}?" if near else ""
            hint = hint or "; keywords go under [set]"
            raise OptionError(f"{name!r} has {key!r}, which is not an option{hint}")
    return settings


def _checked_option(name: str, option: str, value: Any) -> Any:
    """Return an option's value in a file if it is valid; objects are still names, checked later."""
    kinds = DECLARED[option].metadata["kinds"]
    if Kind.OBJECTS in kinds or (isinstance(value, str) and names_object(option, value)):
        return value
    try:
        return DECLARED[option].metadata["check"](option, value)
    except OptionError as error:
        wrong = str(error).removeprefix(f"{option}=")
        raise OptionError(f"{option!r} in {name!r}: {wrong}") from None


def _inputs(name: str, value: Any) -> list[str | list[str]]:
    inputs: list[str | list[str]] = [value] if isinstance(value, str) else value
    if isinstance(inputs, list):
        members = [each if isinstance(each, list) else [each] for each in inputs]
        if all(isinstance(member, str) for group in members for member in group):
            return inputs
    raise OptionError(
        f"inputs in {name!r} is {value!r}: it must be text, or a list whose items are text, or "
        "groups (lists of text)"
    )


def _option_called(key: str) -> str | None:
    return next((name for name in NAMES if key in (name, flag_of(name)[2:])), None)


def _assignment(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign:
        raise OptionError(f"--set {text}: write --set name=value")
    return _checked_keyword(name.strip()), value_of(value)


def _checked_keyword(name: str) -> str:
    option = _option_called(name)
    if option is not None:
        raise OptionError(f"{name!r} is an option, not a keyword: give {flag_of(option)}")
    if not name.isidentifier():
        raise OptionError(f"{name!r} is not a valid name of a keyword")
    return name


def value_of(text: str) -> Any:
    """Return the value that a text stands for: one of TOML, True, False, None, or the text itself.

    Examples
    --------
    >>> value_of("2.5"), value_of("[1, 2]"), value_of("False"), value_of("median")
    (2.5, [1, 2], False, 'median')
    """
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    try:
        found = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError as error:
        if text[:1] in ("[", "{", '"', "'"):
            raise OptionError(f"{text} is not a TOML value: {error}") from None
        return text
    return found["value"] if list(found) == ["value"] else text
