"""The options of a run: each declared once, with its default, unit, help and check.

Command lines and the table in the documentation are made from `Options`. The checks are in
`bigpipe.option_checks`; what an option does is documented where it is used.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from bigpipe import option_checks as checks
from bigpipe.near_names import name_meant
from bigpipe.option_checks import Kind, assure_list

__all__ = [
    "CONTROL_OPTIONS",
    "ELSEWHERE",
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
"""Options that the hooks also receive as keywords."""

ELSEWHERE = {
    **dict.fromkeys(("n_jobs", "max_workers", "n_workers", "num_workers"), "num_processes"),
    **dict.fromkeys(("nproc", "nprocs", "n_proc", "n_procs", "n_processes"), "num_processes"),
    **dict.fromkeys(("processes", "n_cores", "ncores", "num_cores"), "num_processes"),
}
"""Options, by the names that they have in other libraries."""

FUNCTION_LISTS = ("pre_process_list", "post_process_list")
"""Options that are lists of functions; a run's lists are appended to the object's."""


def _option(default: Any, help: str, *, check: checks.Check, unit: str = "") -> Any:
    kinds, choices = checks.as_text(check)
    about = {"help": help, "check": check, "unit": unit, "kinds": kinds, "choices": choices}
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class Options:
    """All options of a run; ``None`` means not given.

    Examples
    --------
    >>> Options().merged({"num_processes": 2, "mem_frac": None}).mem_frac
    0.8
    """

    num_processes: Any = _option(
        None,
        "maximum number of workers; below 1, that fraction of the cores (default, or 0: all "
        "physical cores)",
        check=checks.not_negative,
        unit="processes",
    )
    mem_available: Any = _option(
        None,
        "memory that all workers together may use, in bytes or with a unit such as GiB "
        "(default: see mem_frac)",
        check=checks.size,
        unit="bytes",
    )
    mem_frac: Any = _option(
        0.8,
        "fraction of the currently available memory to use if mem_available is not given",
        check=checks.positive,
    )
    process_size: Any = _option(
        None,
        "maximum memory that a worker needs for one file, in bytes or with a unit (2GiB), or a "
        "function of the input's name that returns it (default: learned from the files)",
        check=checks.size_or_function,
        unit="bytes",
    )
    outdir: Any = _option(None, "output folder (default: the current one)", check=checks.path)
    create_outdir: Any = _option(
        False, "create the folder of an output if it is missing", check=checks.flag
    )
    outname_append: Any = _option(
        "_bmp", "text inserted between an input's base name and its extension", check=checks.text
    )
    outname: Any = _option(None, "exact name of the output, within outdir", check=checks.path)
    pre_process_list: Any = _option(
        None, "functions to run before data_process, in the given order", check=checks.functions
    )
    post_process_list: Any = _option(
        None, "functions to run after data_process, in the given order", check=checks.functions
    )
    PoolClass: Any = _option(
        None,
        "pool class to use instead of bigpipe's own workers, such as NestablePool",
        check=checks.pool_class,
    )
    executor: Any = _option(
        None,
        "where files are processed: 'processes', 'threads', 'serial', or an executor (default: "
        "'processes', or 'serial' if only one worker can be used)",
        check=checks.executor,
    )
    start_method: Any = _option(
        None,
        "how worker processes start: 'fork', 'forkserver' or 'spawn' (default: 'fork' where that "
        "is safe, otherwise 'forkserver')",
        check=checks.OneOf(*START_METHODS),
    )
    overlap: Any = _option(
        False,
        "let a worker read the next file and write the last one while it processes a third; it "
        "then needs memory for three",
        check=checks.flag,
    )
    batch_size: Any = _option(
        None,
        "number of files that a worker reads, processes (data_process_batch) and writes together",
        check=checks.count,
        unit="files",
    )
    strategy: Any = _option(
        None,
        "how a worker takes its files through the hooks: 'interleaved', 'batched', 'overlapped', "
        "or the full name of a class (default: chosen by overlap=True and batch_size)",
        check=checks.strategy,
    )
    order: Any = _option(
        None,
        "which files are processed first: with 'size' the largest, with 'given' the first in the "
        "list, with a function of the input's name those with the lowest value (default: 'size' "
        "if sizes are quick to read)",
        check=checks.order,
    )
    on_error: Any = _option(
        "finish",
        "what happens when a file fails: 'finish' the others, then raise; 'raise' at once; or "
        "'return' the error in the file's metadata",
        check=checks.OneOf(*ON_ERROR),
    )
    file_timeout: Any = _option(
        None,
        "seconds that one file may take before its worker is ended (default: no limit)",
        check=checks.positive,
        unit="s",
    )
    max_worker_deaths: Any = _option(
        2, "number of workers that may die on one file before it fails", check=checks.count
    )
    max_retries: Any = _option(
        0,
        "number of times that a failed file is retried, if retry_on matches its error",
        check=checks.whole,
    )
    retry_on: Any = _option(
        None,
        "exceptions after which a file is retried: types, or a function of the exception "
        "(default: OSError, except lasting ones such as FileExistsError)",
        check=checks.exceptions,
    )
    retry_pause: Any = _option(
        1.0,
        "seconds before the first retry of a file; doubles with each retry, up to 60 s",
        check=checks.not_negative,
        unit="s",
    )
    max_errors: Any = _option(
        None,
        "number of failed files that stops a run (default: stop only if the first 20 files fail "
        "in the same way)",
        check=checks.count,
    )
    journal: Any = _option(
        None,
        "file that records finished files; a later run with the same journal skips them",
        check=checks.path,
    )
    retry_failed: Any = _option(
        True, "run files again that failed according to the journal", check=checks.flag
    )
    compare_inputs: Any = _option(
        "mtime",
        "how to find out whether an input has changed since it was finished: by 'mtime' (and "
        "size), or by a 'checksum' of its content",
        check=checks.OneOf(*COMPARISONS),
    )
    fingerprint: Any = _option(
        None,
        "text that stands for keywords, options and code, or a dict of such texts for single "
        "keywords; finished files run again if it changes (default: computed from their content)",
        check=checks.fingerprint,
    )
    threads_per_worker: Any = _option(
        None,
        "threads of numerical libraries (BLAS, OpenMP) in each worker (default: the worker's "
        "share of the cores)",
        check=checks.count,
        unit="threads",
    )
    progress: Any = _option(
        None,
        "show a progress bar: True, False, or a function that receives the events (default: only "
        "where someone can see it)",
        check=checks.progress,
    )

    def __getstate__(self) -> dict[str, Any]:
        """Leave out objects that only the caller uses and that could not be pickled."""
        state = dict(vars(self))
        if not isinstance(self.executor, str):
            state["executor"] = None
        if callable(self.progress):
            state["progress"] = None
        return state

    def merged(self, given: Mapping[str, Any]) -> Options:
        """Return these options, replaced by those given that are not ``None``."""
        return replace(self, **{name: x for name, x in given.items() if x is not None})

    def checked(self) -> Options:
        """Return these options with each value checked and normalised.

        Raises
        ------
        OptionError
            If a value is invalid.
        """
        values = {}
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not None:
                values[option.name] = option.metadata["check"](option.name, value)
        return replace(self, **values)

    def doubts(self) -> dict[str, str]:
        """Return warnings by option, for values that are valid but probably mistakes."""
        if self.mem_available is not None or self.mem_frac <= 1:
            return {}
        return {
            "mem_frac": f"mem_frac={self.mem_frac!r} lets the run use more memory than is "
            "available: give a fraction of at most 1, such as 0.8"
        }


NAMES = tuple(option.name for option in fields(Options))
"""Names of all options, in the order of the constructor's parameters."""


def slips(
    keywords: Iterable[str], functions: Iterable[Any], known: Iterable[str] = NAMES
) -> dict[str, str]:
    """Return warnings about keywords that are probably misspelt.

    Parameters
    ----------
    keywords : iterable of str
        All keywords given to a run.
    functions : iterable of callable
        The functions that receive the keywords.
    known : iterable of str, optional
        Valid keywords that are not parameters of the functions.

    Returns
    -------
    dict of str to str
        A sentence for each keyword that no function has as a parameter, and whose name is close
        to a known keyword, or to an optional parameter that was not given.
    """
    given, known = frozenset(keywords), frozenset(known)
    if given <= known:
        return {}
    parameters = [each for function in functions for each in _parameters(function)]
    left_out = {each.name for each in parameters if each.default is not each.empty} - given
    found = {}
    for name in sorted(given - known - {each.name for each in parameters}):
        if (meant := ELSEWHERE.get(name) or name_meant(name, known)) is not None:
            found[name] = (
                f"{name!r} is not an option of bigpipe, so the hooks get it as a keyword; did you "
                f"mean {meant!r}?"
            )
        elif (meant := name_meant(name, left_out)) is not None:
            found[name] = (
                f"no hook or function has a parameter {name!r}, but one has {meant!r}, which is "
                "not given: did you mean that?"
            )
    return found


def is_named(name: str, functions: Iterable[Any]) -> bool:
    """Return whether a keyword is a parameter of any of these functions."""
    return any(each.name == name for function in functions for each in _parameters(function))


def _parameters(function: Any) -> Iterable[inspect.Parameter]:
    try:
        return inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return ()


def table() -> list[tuple[str, str, str, str]]:
    """Return name, default, unit and meaning (a sentence) of each option, for documentation."""
    return [
        (option.name, repr(option.default), option.metadata["unit"], _sentence(option))
        for option in fields(Options)
    ]


def _sentence(option: Field[Any]) -> str:
    text = option.metadata["help"]
    return f"{text[0].upper()}{text[1:]}."
