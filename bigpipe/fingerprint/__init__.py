"""Whether a file that is finished would be processed in the same way again.

Owns which parts of a pipeline count: the keywords that reach its hooks, its attributes, its code.
`bigpipe.fingerprint.content` makes digests of content; `bigpipe.running.resume` decides what to do
if a fingerprint differs.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from bigpipe.fingerprint.attributes import of_pipe
from bigpipe.fingerprint.code_digest import DIGEST_BYTES
from bigpipe.fingerprint.code_scope import CLASS_NOISE, is_standard
from bigpipe.fingerprint.content import Contents
from bigpipe.options import FUNCTION_LISTS

__all__ = ["Fingerprint", "differences", "fingerprint_of"]

# Options that hooks see and that change the output.
_OPTIONS = ("outdir", "outname_append", "outname")
# Attributes of a pipeline that are also among the keywords, or are its lists.
_ELSEWHERE = (
    *("kwargs", "outdir", "outname_append", "_pre_process_list", "_post_process_list"),
    *FUNCTION_LISTS,  # if the class has them too
)
_HOOKS = frozenset(
    (
        *("file_process", "file_read", "pre_process", "data_process_meta_create"),
        *("data_process", "data_process_batch", "post_process", "outname_create", "file_write"),
        *("worker_init", "worker_exit"),
    )
)
# `projected_size` affects memory, not the output; the functions of the lists count separately.
_NOT_CODE = CLASS_NOISE | {"projected_size", *FUNCTION_LISTS}


@dataclass(frozen=True)
class Fingerprint:
    """What a run does to each file, as digests."""

    text: str
    """Digest of all parts, 32 hexadecimal digits."""
    parts: dict[str, str]
    """Digest of each part by its name, such as ``"keyword 'flat'"`` or ``'hook data_process'``."""
    unstable: tuple[tuple[str, str], ...] = ()
    """Name and reason of each object of which only the type counts."""
    python: str = f"{sys.version_info.major}.{sys.version_info.minor}"
    """Version of Python, as others compile the same source differently. Not in ``text``."""


def fingerprint_of(
    pipe: Any, control: Mapping[str, Any], given: str | Mapping[str, str] | None = None
) -> Fingerprint:
    """Return the fingerprint of what a run does to each file.

    Parameters
    ----------
    pipe : BigMultiPipe
        The pipeline.
    control : mapping
        All keywords of the hooks.
    given : str or mapping, optional
        The caller's own text in place of a digest: a text replaces everything; a mapping replaces
        the content of the keywords or attributes that it names.

    Returns
    -------
    Fingerprint
        Equal in every process for equal keywords, attributes and code, however many workers there
        are.

    Notes
    -----
    This code counts: everything that the classes of the pipeline define, outside bigpipe; the
    functions of the lists; and the functions, classes and constants of their own modules that
    these use.
    """
    if isinstance(given, str):
        return _assembled({"fingerprint": _text_digest(given)}, ())
    return _Maker(pipe, control, given or {}).make()


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """Return what changed from one fingerprint's parts to another's, in words.

    Examples
    --------
    >>> differences({"keyword 'flat'": "a", "hook file_read": "b"}, {"keyword 'flat'": "c"})
    ["keyword 'flat' changed", 'file_read is gone']
    """
    said = []
    for name in [*new, *(name for name in old if name not in new)]:
        shown = name.removeprefix("hook ")
        if name not in old:
            said.append(f"{shown} is new")
        elif name not in new:
            said.append(f"{shown} is gone")
        elif old[name] != new[name]:
            said.append(f"{shown} changed")
    return said


class _Maker:
    """Makes one fingerprint."""

    def __init__(self, pipe: Any, control: Mapping[str, Any], given: Mapping[str, str]) -> None:
        self._pipe, self._control, self._given = pipe, control, given
        self._parts: dict[str, str] = {}
        self._unstable: list[tuple[str, str]] = []
        self._classes = [cls for cls in type(pipe).__mro__ if _is_outside(cls)]
        known = {id(pipe): "the pipeline"}
        known |= {id(cls): f"class {i} of it" for i, cls in enumerate(self._classes)}
        listed = [
            _called(function) for name in FUNCTION_LISTS for function in self._functions(name)
        ]
        listed += map(_called, getattr(pipe, "_bmp_functions", ()))
        own = {getattr(each, "__module__", None) for each in (*self._classes, *listed)}
        self._contents = Contents(known, {module for module in own if isinstance(module, str)})

    def make(self) -> Fingerprint:
        """Return it."""
        for name, value in self._control.items():
            if name not in (*_OPTIONS, *FUNCTION_LISTS, "create_outdir") and name[:4] != "_bmp":
                self._add(f"keyword {name!r}", value, name)
        for name in _OPTIONS:
            if name in self._control:
                self._add(f"option {name}", self._option(name), name)
        for name in FUNCTION_LISTS:
            for i, function in enumerate(self._functions(name)):
                self._add(f"function {name}[{i}] {_name_of(function)}", function)
        for name, value in of_pipe(self._pipe).items():
            if name not in _ELSEWHERE:
                self._add(f"attribute {name!r}", value, name)
        for key, value in self._members():
            self._add(key, value)
        return _assembled(self._parts, self._unstable)

    def _add(self, key: str, value: Any, name: str | None = None) -> None:
        if name is not None and name in self._given:
            self._parts[key] = _text_digest(self._given[name])
            return
        digest = self._contents.digest(value)
        self._parts[key] = digest.text
        self._unstable += [(key + path, reason) for path, reason in digest.unstable]

    def _option(self, name: str) -> Any:
        value = self._control[name]
        if name != "outdir":
            return value
        return (value, os.path.abspath("." if value is None else value))

    def _functions(self, name: str) -> list[Any]:
        """Return the functions of the object's list, then those of the run's."""
        return [*(getattr(self._pipe, name, None) or ()), *(self._control.get(name) or ())]

    def _members(self) -> Iterator[tuple[str, Any]]:
        """Yield the members that the classes define, those of the pipeline's own class first."""
        taken: set[str] = set()
        for cls in self._classes:
            for name, value in vars(cls).items():
                if name in _NOT_CODE or name.startswith("_bmp"):
                    continue
                key = f"{_sort_of(name, value)} {name}"
                while key in taken:
                    key += f" of {cls.__name__}"
                taken.add(key)
                yield key, value


def _assembled(parts: dict[str, str], unstable: Any) -> Fingerprint:
    lines = "".join(f"{key!r} {digest}\n" for key, digest in sorted(parts.items()))
    return Fingerprint(_text_digest(lines), dict(parts), tuple(unstable))


def _text_digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).hexdigest()


def _is_outside(cls: type) -> bool:
    """Return whether a class belongs neither to bigpipe nor to Python."""
    module = cls.__module__
    return module.partition(".")[0] != "bigpipe" and not is_standard(module)


def _sort_of(name: str, value: Any) -> str:
    if name in _HOOKS:
        return "hook"
    if callable(value) or isinstance(value, (staticmethod, classmethod)):
        return "method"
    return "attribute" if hasattr(value, "__get__") else "constant"


def _called(function: Any) -> Any:
    """Return the function or class whose code runs when a listed function is called."""
    while isinstance(function, functools.partial):
        function = function.func
    return function if hasattr(function, "__name__") else type(function)


def _name_of(function: Any) -> str:
    return str(getattr(_called(function), "__name__", type(function).__name__))
