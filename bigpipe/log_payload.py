"""Log records and warnings as picklable tuples, and back.

Owns which parts of them are sent, and what replaces a part that cannot be pickled. `bigpipe.log`
decides when they are sent and who handles them.
"""

from __future__ import annotations

import logging
import pickle
import sys
import warnings
from contextlib import suppress
from types import FrameType
from typing import Any

__all__ = ["Packed", "encode_record", "encode_warning", "rebuilt_warning", "unpack"]

MAX_PICKLED = 65536  # bytes of one extra attribute; a larger one is sent as its repr; arbitrary
MAX_REPR = 1000  # characters of such a repr; arbitrary

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({})))
_FORMATTER = logging.Formatter()
_PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})

Packed = tuple[bytes | None, str]
"""A pickled object (``None`` if it could not be pickled or is too large), and its repr."""


def encode_record(record: logging.LogRecord, n_filters: int) -> tuple[Any, ...]:
    """Return a log record as text and plain values.

    Parameters
    ----------
    record : logging.LogRecord
        The record. It is not changed, because other handlers may need it.
    n_filters : int
        Number of its logger's filters that it has passed.

    Returns
    -------
    tuple
        ``'record'``, plain fields, fields that were pickled separately, ``n_filters``.
    """
    fields = dict(vars(record))
    fields["msg"] = _message_text(record)
    fields["args"] = None
    fields["exc_info"] = None
    if record.exc_info and not record.exc_text:
        fields["exc_text"] = _FORMATTER.formatException(record.exc_info)
    packed = {}
    for name in fields.keys() - _STANDARD_FIELDS:
        if type(fields[name]) not in _PLAIN_TYPES:
            packed[name] = _pack(fields.pop(name))
    return "record", fields, packed, n_filters


def _message_text(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # as in logging: a bad log call stops no program
        call = f"{_repr(record.msg)} with arguments {_repr(record.args)}"
        return f"{call}: the log call is wrong: {type(error).__name__}: {_repr(str(error))}"


def _pack(value: object) -> Packed:
    """Pickle a value separately from its record, which must arrive even if the value cannot."""
    try:
        data = pickle.dumps(value)
    except Exception:  # any error: the object's own code runs
        data = b""
    return data if 0 < len(data) <= MAX_PICKLED else None, _repr(value)


def unpack(packed: Packed) -> object:
    """Return the object, or its repr if it was not sent or cannot be rebuilt here."""
    data, text = packed
    if data is not None:
        with suppress(Exception):  # any error: the object's own code runs
            return pickle.loads(data)  # from this program's own worker
    return text


def _repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # any error: the object's own code runs
        text = object.__repr__(value)
    return text if len(text) <= MAX_REPR else text[:MAX_REPR] + "..."


def encode_warning(message: warnings.WarningMessage, frame: FrameType | None) -> tuple[Any, ...]:
    """Return a warning as text, names and a pickle.

    Parameters
    ----------
    message : warnings.WarningMessage
        The warning as it would have been shown.
    frame : frame or None
        Frame that shows it. The search for the module that it concerns begins here.

    Returns
    -------
    tuple
        ``'warning'``, text, names of its class and base classes, file, line, module, the pickled
        warning.
    """
    warning = message.message
    classes = [(cls.__module__, cls.__qualname__) for cls in message.category.__mro__]
    module = _module_at(message.filename, message.lineno, frame)
    return (
        "warning",
        str(warning),
        classes,
        message.filename,
        message.lineno,
        module,
        _pack(warning),
    )


def _module_at(filename: str, lineno: int, frame: FrameType | None) -> str:
    """Return the module that a warning concerns, found on the stack; filters may name it."""
    while frame is not None and (frame.f_lineno, frame.f_code.co_filename) != (lineno, filename):
        frame = frame.f_back
    name = None if frame is None else frame.f_globals.get("__name__")
    return name or filename.removesuffix(".py")


def rebuilt_warning(text: str, classes: list[tuple[str, str]], packed: Packed) -> Warning:
    """Rebuild a warning, with the nearest class that this process has loaded.

    Parameters
    ----------
    text : str
        Its message.
    classes : list of tuple
        Modules and qualified names of its class and base classes. None is imported, because
        importing a module may have side effects.
    packed : tuple
        The warning itself, pickled.

    Returns
    -------
    Warning
        The warning. If it has a base class, the name of the original class precedes its text.
    """
    category = _loaded_class(*classes[0])
    if category is not None:
        message = unpack(packed)
        if type(message) is category and _text_of(message) == text:
            return message
    else:
        text = f"{classes[0][1].rpartition('.')[2]}: {text}"
    for names in classes:
        category = _loaded_class(*names)
        if category is not None:
            # `__init__` may take other arguments than a text.
            message = category.__new__(category, text)
            if _text_of(message) == text:
                return message
    return Warning(text)


def _loaded_class(module: str, qualname: str) -> type[Warning] | None:
    found: object = sys.modules.get(module)
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


def _text_of(message: object) -> str | None:
    try:
        return str(message)
    except Exception:  # any error: the class's own code runs
        return None
