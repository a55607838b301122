"""The options of a run: each declared once, with its default, unit, help and check.

Command lines, the table in the documentation and the checks are made from `Options`. How
an option acts is told where it is used; here is only what it may be.
"""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from numbers import Integral, Real
from typing import Any

from bigpipe.budget import parse_bytes
from bigpipe.errors import OptionError

__all__ = [
    "CONTROL_OPTIONS",
    "FUNCTION_LISTS",
    "NAMES",
    "Kind",
    "Options",
    "assure_list",
    "near_miss",
    "table",
]

EXECUTORS = ("processes", "threads", "serial")
START_METHODS = ("fork", "forkserver", "spawn")
ON_ERROR = ("finish", "raise", "return")
ORDERS = ("size", "given")
COMPARISONS = ("mtime", "checksum")
STRATEGIES = ("interleaved", "batched", "overlapped")


class Kind(Enum):
    """What an option is where it is given as text: on a command line or in a file."""

    TEXT = "text"
    """Text, as it is."""
    PATH = "a name"
    """The name of a file or folder."""
    NUMBER = "a number"
    """Text that is read as a number."""
    SIZE = "a size"
    """Text that the option's check reads, such as ``2 GiB``."""
    FLAG = "true or false"
    """No text: it is there, or there is its opposite."""
    CHOICE = "a word"
    """One of the words that go with it."""
    OBJECT = "an object"
    """``module:name`` of what cannot be written down."""
    OBJECTS = "objects"
    """The same, several times."""


CONTROL_OPTIONS = ("outdir", "create_outdir", "outname_append", "outname")
"""Options that the hooks receive among their keywords."""

FUNCTION_LISTS = ("pre_process_list", "post_process_list")
"""Options that are lists of functions; those of a run are appended to those of the object."""


def assure_list(x: Any) -> list[Any]:
    """Return a list: ``None`` is the empty list, a list is itself, anything else is in one.

    Examples
    --------
    >>> assure_list(None), assure_list("a"), assure_list(["a"])
    ([], ['a'], ['a'])
    """
    if x is None:
        return []
    return x if isinstance(x, list) else [x]


def _number(name: str, value: Any, minimum: float, *, whole: bool = False) -> Any:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise OptionError(f"{name}={value!r} is not a number.")
    if not float(value) >= minimum:  # NaN fails this too
        raise OptionError(f"{name}={value!r} is not a number of at least {minimum:g}.")
    if whole and float(value) % 1:
        raise OptionError(f"{name}={value!r} is not a whole number.")
    return int(float(value)) if whole else value


def _count(name: str, value: Any) -> Any:
    return _number(name, value, 1, whole=True)


def _whole(name: str, value: Any) -> Any:
    return _number(name, value, 0, whole=True)


def _not_negative(name: str, value: Any) -> Any:
    return _number(name, value, 0)


def _positive(name: str, value: Any) -> Any:
    if _number(name, value, 0) == 0:
        raise OptionError(f"{name}={value!r} is not above zero.")
    return value


def _bytes(name: str, value: Any) -> int:
    try:
        n_bytes = parse_bytes(value)
    except (TypeError, ValueError) as error:
        raise OptionError(f"{name}={value!r}: {error}") from None
    if n_bytes <= 0:
        raise OptionError(f"{name}={value!r} is not a size above zero.")
    return n_bytes


def _bytes_or_function(name: str, value: Any) -> Any:
    return value if callable(value) else _bytes(name, value)


def _order(name: str, value: Any) -> Any:
    return value if callable(value) else _OneOf(*ORDERS)(name, value)


def _path(name: str, value: Any) -> Any:
    if not isinstance(value, (str, os.PathLike)):
        raise OptionError(f"{name}={value!r} is not a name: give a str or a path.")
    return value


def _text(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise OptionError(f"{name}={value!r} is not text.")
    return value


def _flag(name: str, value: Any) -> bool:
    # numpy has a bool of its own, which is no integer; it was called bool_ before numpy 2.
    if isinstance(value, Integral) or type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise OptionError(f"{name}={value!r} is neither True nor False: give one of them.")


def _functions(name: str, value: Any) -> list[Any]:
    functions = assure_list(value)
    for function in functions:
        if not callable(function):
            raise OptionError(f"{name} holds {function!r}, which cannot be called.")
    return functions


def _fingerprint(name: str, value: Any) -> Any:
    texts = value.items() if isinstance(value, Mapping) else [(name, value)]
    if not all(isinstance(text, str) for pair in texts for text in pair):
        raise OptionError(
            f"{name}={value!r} is neither text nor a dict from the names of keywords to texts."
        )
    return dict(value) if isinstance(value, Mapping) else value


def _exceptions(name: str, value: Any) -> Any:
    kinds = value if isinstance(value, tuple) else (value,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        return kinds
    if isinstance(value, type) or not callable(value):
        raise OptionError(
            f"{name}={value!r} is neither an exception type, nor a tuple of them, nor a function "
            "of the exception."
        )
    return value


class _OneOf:
    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, name: str, value: Any) -> Any:
        if value not in self.choices:
            choices = ", ".join(map(repr, self.choices))
            raise OptionError(f"{name}={value!r} is not one of {choices}.")
        return value


def _executor(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return _OneOf(*EXECUTORS)(name, value)
    if isinstance(value, type) or not (hasattr(value, "submit") and hasattr(value, "wait")):
        raise OptionError(
            f"{name}={value!r} is neither one of {', '.join(map(repr, EXECUTORS))} nor an "
            "instance of bigpipe.executors.Executor."
        )
    return value


def _pool_class(name: str, value: Any) -> Any:
    if not callable(value):
        raise OptionError(f"{name}={value!r} is not a class of pools, such as NestablePool.")
    return value


def _strategy(name: str, value: Any) -> Any:
    if isinstance(value, str) and "." not in value:
        return _OneOf(*STRATEGIES)(name, value)
    if isinstance(value, (int, float)):
        raise OptionError(f"{name}={value!r} is neither a name nor a strategy.")
    return value


def _progress(name: str, value: Any) -> Any:
    if not (isinstance(value, bool) or callable(value)):
        raise OptionError(f"{name}={value!r} is neither True, False nor callable.")
    return value


AsText = tuple[tuple[Kind, ...], tuple[str, ...]]
_AS_TEXT: dict[Any, AsText] = {
    **dict.fromkeys((_count, _whole, _not_negative, _positive), ((Kind.NUMBER,), ())),
    _bytes: ((Kind.SIZE,), ()),
    _bytes_or_function: ((Kind.SIZE, Kind.OBJECT), ()),
    _flag: ((Kind.FLAG,), ()),
    _progress: ((Kind.FLAG, Kind.OBJECT), ()),
    _executor: ((Kind.CHOICE, Kind.OBJECT), EXECUTORS),
    _order: ((Kind.CHOICE, Kind.OBJECT), ORDERS),
    _strategy: ((Kind.CHOICE, Kind.OBJECT), STRATEGIES),
    **dict.fromkeys((_functions, _exceptions), ((Kind.OBJECTS,), ())),
    _path: ((Kind.PATH,), ()),
    **dict.fromkeys((_text, _fingerprint), ((Kind.TEXT,), ())),
    _pool_class: ((Kind.OBJECT,), ()),
}
"""What an option with a check is as text, and the words that it may be."""


def _option(default: Any, help: str, *, check: Callable[[str, Any], Any], unit: str = "") -> Any:
    own = ((Kind.CHOICE,), check.choices) if isinstance(check, _OneOf) else None
    kinds, choices = own or _AS_TEXT[check]
    about = {"help": help, "check": check, "unit": unit, "kinds": kinds, "choices": choices}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Options:
    """All options of a run; ``None`` means that nothing was given.

    Examples
    --------
    >>> Options().merged({"num_processes": 2, "mem_frac": None}).mem_frac
    0.8
    """

    num_processes: Any = _option(
        None,
        "Workers at most; 0 or none for all physical cores, below 1 for that part of them.",
        check=_not_negative,
        unit="processes",
    )
    mem_available: Any = _option(
        None, "Memory that all workers together may use.", check=_bytes, unit="bytes"
    )
    mem_frac: Any = _option(
        0.8,
        "Part of the memory available now to use if mem_available is not given.",
        check=_positive,
    )
    process_size: Any = _option(
        None,
        "Memory that a worker needs for one file at most; or a function of the input's name that "
        "returns it. None: learned from the files.",
        check=_bytes_or_function,
        unit="bytes",
    )
    outdir: Any = _option(None, "Folder of the outputs; none for the current one.", check=_path)
    create_outdir: Any = _option(
        False, "Make the folder of an output if it is missing.", check=_flag
    )
    outname_append: Any = _option(
        "_bmp", "Text put between an input's base name and its extension.", check=_text
    )
    outname: Any = _option(None, "Name of the output, as it is, under outdir.", check=_path)
    pre_process_list: Any = _option(
        None, "Functions run before data_process, in this order.", check=_functions
    )
    post_process_list: Any = _option(
        None, "Functions run after data_process, in this order.", check=_functions
    )
    PoolClass: Any = _option(
        None,
        "Class of the pool to use in place of bigpipe's own workers, such as NestablePool.",
        check=_pool_class,
    )
    executor: Any = _option(
        None,
        "Where files are processed: 'processes' (default; the caller's own process if only one "
        "is used), 'threads', 'serial', or an executor.",
        check=_executor,
    )
    start_method: Any = _option(
        None,
        "How worker processes begin: 'fork', 'forkserver' or 'spawn'; none for 'fork' where "
        "that is safe and 'forkserver' where it is not.",
        check=_OneOf(*START_METHODS),
    )
    overlap: Any = _option(
        False,
        "Read the next file, and write the last one, while a worker processes one; it then needs "
        "memory for three.",
        check=_flag,
    )
    batch_size: Any = _option(
        None,
        "Files that a worker reads, processes (data_process_batch) and writes together.",
        check=_count,
        unit="files",
    )
    strategy: Any = _option(
        None,
        "How a worker takes its files through the hooks: 'interleaved', 'batched', 'overlapped', "
        "or the full name of a class. None: as overlap and batch_size say.",
        check=_strategy,
    )
    order: Any = _option(
        None,
        "Which files are processed first: 'size', the largest (also if none is given, where sizes "
        "are quickly had); 'given'; or a function of the input's name: the lowest first.",
        check=_order,
    )
    on_error: Any = _option(
        "finish",
        "What a failed file does: 'finish' the others, then raise; 'raise' at once; 'return' "
        "the error in its metadata.",
        check=_OneOf(*ON_ERROR),
    )
    file_timeout: Any = _option(
        None, "Time that one file may take; then its worker is ended.", check=_positive, unit="s"
    )
    max_worker_deaths: Any = _option(
        2, "Workers that may die on one file before it is given up.", check=_count
    )
    max_retries: Any = _option(
        0, "How often a file that failed is tried again, if retry_on holds.", check=_whole
    )
    retry_on: Any = _option(
        None,
        "Exceptions after which a file is tried again: types, or a function of the exception. "
        "None: OSError, but for those that are no passing fault, such as FileExistsError.",
        check=_exceptions,
    )
    retry_pause: Any = _option(
        1.0,
        "Time before a file is tried again for the first time; it doubles each time, up to 60 s.",
        check=_not_negative,
        unit="s",
    )
    max_errors: Any = _option(
        None,
        "Failed files at which a run stops. None: it stops if its first 20 files fail in the "
        "same way.",
        check=_count,
    )
    journal: Any = _option(
        None,
        "File that keeps what is done: with it again, files that are finished are not run again.",
        check=_path,
    )
    retry_failed: Any = _option(
        True, "Run those files again that failed, according to the journal.", check=_flag
    )
    compare_inputs: Any = _option(
        "mtime",
        "How it is told that an input is what it was when it was finished: 'mtime' (and size), "
        "or 'checksum', of its content.",
        check=_OneOf(*COMPARISONS),
    )
    fingerprint: Any = _option(
        None,
        "Text that stands for keywords, options and code: finished files are run again if it "
        "changes; or a dict of such texts for single keywords. None: found from their content.",
        check=_fingerprint,
    )
    threads_per_worker: Any = _option(
        None,
        "Threads of numerical libraries (BLAS, OpenMP) in each worker; none for the worker's "
        "share of the cores.",
        check=_count,
        unit="threads",
    )
    progress: Any = _option(
        None,
        "Show a bar: none for where someone can see it, True, False; or a function that is "
        "given the events.",
        check=_progress,
    )

    def __getstate__(self) -> dict[str, Any]:
        """Leave behind what is the caller's alone and could not travel to a worker."""
        state = dict(vars(self))
        if not isinstance(self.executor, str):
            state["executor"] = None
        if callable(self.progress):
            state["progress"] = None
        return state

    def merged(self, given: Mapping[str, Any]) -> Options:
        """Return these options with all that was given (not ``None``) in their place."""
        return replace(self, **{name: x for name, x in given.items() if x is not None})

    def checked(self) -> Options:
        """Return these options with each value checked and brought into its usual form.

        Raises
        ------
        OptionError
            If a value cannot be used.
        """
        values = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not None:
                values[option.name] = option.metadata["check"](option.name, value)
        return replace(self, **values)


NAMES = tuple(option.name for option in fields(Options))
"""Names of all options, in the order of the constructor's parameters."""


def near_miss(name: str, functions: Iterable[Any]) -> str | None:
    """Return the option that a keyword may be meant for, unless a function knows the keyword."""
    plain_names = {option.lower(): option for option in NAMES}
    near = difflib.get_close_matches(name.lower(), plain_names, n=1, cutoff=0.85)
    if not near or any(name in _parameters(function) for function in functions):
        return None
    return plain_names[near[0]]


def _parameters(function: Any) -> Iterable[str]:
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return ()


def table() -> list[tuple[str, str, str, str]]:
    """Return name, default, unit and help of each option, for documentation."""
    return [
        (option.name, repr(option.default), option.metadata["unit"], option.metadata["help"])
        for option in fields(Options)
    ]
