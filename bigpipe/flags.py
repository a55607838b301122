"""Options given as text, on a command line or in a file.

Owns the flags' names and how text becomes a value. `bigpipe.options` declares the options, their
meaning and their valid values; this module derives everything from it.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping
from dataclasses import Field, fields
from functools import partial
from typing import Any

from bigpipe.errors import OptionError
from bigpipe.options import Kind, Options
from bigpipe.references import find

__all__ = [
    "DECLARED",
    "Later",
    "add_flags",
    "argument_of",
    "flag_of",
    "from_text",
    "in_flags",
    "names_object",
    "resolved",
]

DECLARED: Mapping[str, Field[Any]] = {option.name: option for option in fields(Options)}
"""The declaration of each option, by its name."""

_METAVARS = {
    Kind.TEXT: "TEXT",
    Kind.PATH: "PATH",
    Kind.NUMBER: "N",
    Kind.SIZE: "SIZE",
    Kind.OBJECT: "MODULE:NAME",
    Kind.OBJECTS: "MODULE:NAME",
}

_QUOTED = r"""(?<!\w)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_OPTION = re.compile(
    rf"{_QUOTED}|(?<![\w./-])(?P<name>{'|'.join(DECLARED)})"
    r"(?P<value>=(?:True|False|(?=\S))|(?![\w./(=-]))"
)
_GIVE = re.compile(r"\bgive (another )?$", re.IGNORECASE)  # before an option
_GIVE_THESE = re.compile(r"\bgive\b[^.;:]*$", re.IGNORECASE)  # likewise, earlier in the clause
_NO_ENGLISH = ("outdir", "outname")


class Later(str):
    """The name of an object, to be looked up when all arguments are known."""


def flag_of(name: str) -> str:
    """Return the flag of an option.

    Examples
    --------
    >>> flag_of("num_processes"), flag_of("PoolClass")
    ('--num-processes', '--pool-class')
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name)
    return "--" + words.replace("_", "-").lower()


def in_flags(message: str) -> str:
    """Return a message with the options that it names written as flags.

    Parameters
    ----------
    message : str
        The message. Names in quotes stay as they are, and so do options whose names are common
        words, such as ``order``, unless ``=`` follows or "give" is before them.

    Examples
    --------
    >>> in_flags("the folder 'num_processes' is missing: give create_outdir=True")
    "the folder 'num_processes' is missing: give --create-outdir"
    >>> in_flags("max_errors=2 allows no more; give process_size, lower num_processes, in order")
    '--max-errors=2 allows no more; give --process-size, lower --num-processes, in order'
    """
    return _OPTION.sub(_as_flag, message)


def _as_flag(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    if name is None:  # in quotes
        return found[0]
    if name.isalpha() and name.islower() and not value:
        give = _GIVE_THESE if name in _NO_ENGLISH else _GIVE
        if not give.search(found.string, endpos=found.start()):
            return found[0]
    flag = flag_of(name)
    if DECLARED[name].metadata["kinds"][0] is Kind.FLAG and value in ("=True", "=False"):
        return flag if value == "=True" else f"--no-{flag[2:]}"
    return f"{flag}{value}"


def from_text(name: str, text: str) -> Any:
    """Return the value of an option that is given as text, checked.

    Parameters
    ----------
    name : str
        The option. If it takes several objects, `text` names one of them.
    text : str
        The text.

    Raises
    ------
    OptionError
        If the text is not a valid value of that option.

    Examples
    --------
    >>> from_text("num_processes", "2"), from_text("process_size", "2 kB")
    (2, 2000)
    >>> from_text("order", "builtins:len")
    <built-in function len>
    """
    about = DECLARED[name].metadata
    value: Any = text
    if names_object(name, text):
        value = find(text)
    elif about["kinds"] == (Kind.OBJECT,):
        raise OptionError(f"{name}={text!r} does not name an object: write package.module:name")
    elif Kind.NUMBER in about["kinds"]:
        value = _number(name, text)
    checked = about["check"](name, value)
    return value if Kind.OBJECTS in about["kinds"] else checked


def names_object(name: str, text: str) -> bool:
    """Return whether text given for an option names an object, and is not the value itself."""
    kinds = DECLARED[name].metadata["kinds"]
    return Kind.OBJECTS in kinds or (Kind.OBJECT in kinds and ":" in text)


def _number(name: str, text: str) -> int | float:
    """Read a number, as an int if it is whole."""
    try:
        number = float(text)
    except ValueError:
        raise OptionError(f"{name}={text!r} is not a number") from None
    if not math.isfinite(number):
        raise OptionError(f"{name}={text!r} is not a finite number")
    return int(number) if number == int(number) else number


def argument_of(name: str, *, later: bool = False) -> dict[str, Any]:
    """Return the arguments of `argparse.ArgumentParser.add_argument` for an option.

    Parameters
    ----------
    name : str
        The option.
    later : bool, optional
        Leave names of objects as `Later`, for `resolved`.
    """
    kinds = DECLARED[name].metadata["kinds"]
    if kinds[0] is Kind.FLAG:
        return {"action": argparse.BooleanOptionalAction}
    choices = DECLARED[name].metadata["choices"]
    metavar = "{" + ",".join(choices) + "}" if choices else _METAVARS[kinds[0]]
    argument: dict[str, Any] = {"type": partial(_typed, name, later), "metavar": metavar}
    if kinds[0] is Kind.OBJECTS:
        argument["action"] = "append"
    return argument


def _typed(name: str, later: bool, text: str) -> Any:
    if later and names_object(name, text):
        return Later(text)
    try:
        return from_text(name, text)
    except OptionError as error:
        # argparse puts the flag in front.
        raise argparse.ArgumentTypeError(str(error).removeprefix(f"{name}=")) from error


def add_flags(parser: Any, prefix: str = "") -> None:
    """Add a flag for each option; the value of a flag that is not given is ``None``.

    Parameters
    ----------
    parser : argparse.ArgumentParser or group of arguments
        The parser that gets the flags.
    prefix : str, optional
        Put before the option's name in the attribute of the parsed arguments.
    """
    for name, option in DECLARED.items():
        action = parser.add_argument(
            flag_of(name), dest=prefix + name, default=None, **argument_of(name, later=True)
        )
        action.help = _help_of(option)
        if option.metadata["kinds"] == (Kind.FLAG, Kind.OBJECT):
            parser.add_argument(
                f"{flag_of(name)}-function",
                dest=prefix + name,
                type=Later,
                metavar=_METAVARS[Kind.OBJECT],
                help=f"function to use for {flag_of(name)}",
            )


def _help_of(option: Field[Any]) -> str:
    text = option.metadata["help"]
    if option.default is not None and "default" not in text:
        text = f"{text} (default: {option.default})"
    return in_flags(text).replace("%", "%%")


def resolved(name: str, value: Any) -> Any:
    """Return an option's value, from a flag or a file, with names replaced by their objects.

    Parameters
    ----------
    name : str
        The option.
    value : object
        The value: text that names an object, a list of such texts, or any other value.
    """
    if isinstance(value, list) and Kind.OBJECTS in DECLARED[name].metadata["kinds"]:
        objects = [resolved(name, each) for each in value]
        if objects and all(map(_is_exception, objects)):
            return tuple(objects)
        return objects[0] if len(objects) == 1 else objects
    if isinstance(value, str) and names_object(name, value):
        return find(value)
    return value


def _is_exception(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)
