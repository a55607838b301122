"""The options of a run: each declared once, with its default, unit, help and check.

Command lines and the table in the documentation are made from `Options`. How an option acts is
told where it is used; what it may be is checked by `bigpipe.option_checks`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from bigpipe import option_checks as checks
from bigpipe.option_checks import Kind, assure_list

__all__ = [
    "CONTROL_OPTIONS",
    "FUNCTION_LISTS",
    "NAMES",
    "Kind",
    "Options",
    "assure_list",
    "is_named",
    "slips",
    "table",
]

START_METHODS = ("fork", "forkserver", "spawn")
ON_ERROR = ("finish", "raise", "return")
COMPARISONS = ("mtime", "checksum")

CONTROL_OPTIONS = ("outdir", "create_outdir", "outname_append", "outname")
"""Options that the hooks receive among their keywords."""

FUNCTION_LISTS = ("pre_process_list", "post_process_list")
"""Options that are lists of functions; those of a run are appended to those of the object."""


def _option(default: Any, help: str, *, check: checks.Check, unit: str = "") -> Any:
    kinds, choices = checks.as_text(check)
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
        check=checks.not_negative,
        unit="processes",
    )
    mem_available: Any = _option(
        None, "Memory that all workers together may use.", check=checks.size, unit="bytes"
    )
    mem_frac: Any = _option(
        0.8,
        "Part of the memory available now to use if mem_available is not given.",
        check=checks.positive,
    )
    process_size: Any = _option(
        None,
        "Memory that a worker needs for one file at most; or a function of the input's name that "
        "returns it. None: learned from the files.",
        check=checks.size_or_function,
        unit="bytes",
    )
    outdir: Any = _option(
        None, "Folder of the outputs; none for the current one.", check=checks.path
    )
    create_outdir: Any = _option(
        False, "Make the folder of an output if it is missing.", check=checks.flag
    )
    outname_append: Any = _option(
        "_bmp", "Text put between an input's base name and its extension.", check=checks.text
    )
    outname: Any = _option(None, "Name of the output, as it is, under outdir.", check=checks.path)
    pre_process_list: Any = _option(
        None, "Functions run before data_process, in this order.", check=checks.functions
    )
    post_process_list: Any = _option(
        None, "Functions run after data_process, in this order.", check=checks.functions
    )
    PoolClass: Any = _option(
        None,
        "Class of the pool to use in place of bigpipe's own workers, such as NestablePool.",
        check=checks.pool_class,
    )
    executor: Any = _option(
        None,
        "Where files are processed: 'processes' (default; the caller's own process if only one "
        "is used), 'threads', 'serial', or an executor.",
        check=checks.executor,
    )
    start_method: Any = _option(
        None,
        "How worker processes begin: 'fork', 'forkserver' or 'spawn'; none for 'fork' where "
        "that is safe and 'forkserver' where it is not.",
        check=checks.OneOf(*START_METHODS),
    )
    overlap: Any = _option(
        False,
        "Read the next file, and write the last one, while a worker processes one; it then needs "
        "memory for three.",
        check=checks.flag,
    )
    batch_size: Any = _option(
        None,
        "Files that a worker reads, processes (data_process_batch) and writes together.",
        check=checks.count,
        unit="files",
    )
    strategy: Any = _option(
        None,
        "How a worker takes its files through the hooks: 'interleaved', 'batched', 'overlapped', "
        "or the full name of a class. None: as overlap and batch_size say.",
        check=checks.strategy,
    )
    order: Any = _option(
        None,
        "Which files are processed first: 'size', the largest (also if none is given, where sizes "
        "are quickly had); 'given'; or a function of the input's name: the lowest first.",
        check=checks.order,
    )
    on_error: Any = _option(
        "finish",
        "What a failed file does: 'finish' the others, then raise; 'raise' at once; 'return' "
        "the error in its metadata.",
        check=checks.OneOf(*ON_ERROR),
    )
    file_timeout: Any = _option(
        None,
        "Time that one file may take; then its worker is ended.",
        check=checks.positive,
        unit="s",
    )
    max_worker_deaths: Any = _option(
        2, "Workers that may die on one file before it is given up.", check=checks.count
    )
    max_retries: Any = _option(
        0, "How often a file that failed is tried again, if retry_on holds.", check=checks.whole
    )
    retry_on: Any = _option(
        None,
        "Exceptions after which a file is tried again: types, or a function of the exception. "
        "None: OSError, but for those that are no passing fault, such as FileExistsError.",
        check=checks.exceptions,
    )
    retry_pause: Any = _option(
        1.0,
        "Time before a file is tried again for the first time; it doubles each time, up to 60 s.",
        check=checks.not_negative,
        unit="s",
    )
    max_errors: Any = _option(
        None,
        "Failed files at which a run stops. None: it stops if its first 20 files fail in the "
        "same way.",
        check=checks.count,
    )
    journal: Any = _option(
        None,
        "File that keeps what is done: with it again, files that are finished are not run again.",
        check=checks.path,
    )
    retry_failed: Any = _option(
        True, "Run those files again that failed, according to the journal.", check=checks.flag
    )
    compare_inputs: Any = _option(
        "mtime",
        "How it is told that an input is what it was when it was finished: 'mtime' (and size), "
        "or 'checksum', of its content.",
        check=checks.OneOf(*COMPARISONS),
    )
    fingerprint: Any = _option(
        None,
        "Text that stands for keywords, options and code: finished files are run again if it "
        "changes; or a dict of such texts for single keywords. None: found from their content.",
        check=checks.fingerprint,
    )
    threads_per_worker: Any = _option(
        None,
        "Threads of numerical libraries (BLAS, OpenMP) in each worker; none for the worker's "
        "share of the cores.",
        check=checks.count,
        unit="threads",
    )
    progress: Any = _option(
        None,
        "Show a bar: none for where someone can see it, True, False; or a function that is "
        "given the events.",
        check=checks.progress,
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

    def doubts(self) -> dict[str, str]:
        """Return what to warn of: values that may be meant, and probably are not."""
        if self.mem_available is not None or self.mem_frac <= 1:
            return {}
        return {
            "mem_frac": f"mem_frac={self.mem_frac!r} lets the run use more memory than there is: "
            "give a part of it, such as 0.8"
        }


NAMES = tuple(option.name for option in fields(Options))
"""Names of all options, in the order of the constructor's parameters."""


def slips(
    keywords: Iterable[str], functions: Iterable[Any], known: Iterable[str] = NAMES
) -> dict[str, str]:
    """Return what to warn of: keywords that are probably meant for others.

    Parameters
    ----------
    keywords : iterable of str
        All that a run is given.
    functions : iterable of callable
        Those that the keywords go to.
    known : iterable of str, optional
        Keywords that are none of the functions'.

    Returns
    -------
    dict of str to str
        A sentence by keyword: for those that no function names, and whose name is nearly that
        of a known one, or of a parameter that may be left out and is.
    """
    given, known = frozenset(keywords), frozenset(known)
    if given <= known:
        return {}
    parameters = [each for function in functions for each in _parameters(function)]
    left_out = {each.name for each in parameters if each.default is not each.empty} - given
    found = {}
    for name in sorted(given - known - {each.name for each in parameters}):
        if (meant := _near(name, known)) is not None:
            found[name] = (
                f"{name!r} is no option of bigpipe and goes to the hooks as a keyword; did you "
                f"mean {meant!r}?"
            )
        elif (meant := _near(name, left_out)) is not None:
            found[name] = (
                f"no hook or function has a parameter {name!r}, and one has {meant!r}, which is "
                "not given: did you mean that?"
            )
    return found


def is_named(name: str, functions: Iterable[Any]) -> bool:
    """Return whether a keyword is a parameter of any of these functions."""
    return any(each.name == name for function in functions for each in _parameters(function))


def _near(name: str, others: Iterable[str]) -> str | None:
    """Return the name that another may be a slip for, two letters in the wrong order included."""
    plain = {other.lower(): other for other in sorted(others)}
    near = difflib.get_close_matches(name.lower(), plain, n=1, cutoff=0.85)
    letters = sorted(name.lower())
    near += [other for other in plain if len(other) > 2 and sorted(other) == letters]
    return plain[near[0]] if near else None


def _parameters(function: Any) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return ()


def table() -> list[tuple[str, str, str, str]]:
    """Return name, default, unit and help of each option, for documentation."""
    return [
        (option.name, repr(option.default), option.metadata["unit"], option.metadata["help"])
        for option in fields(Options)
    ]
