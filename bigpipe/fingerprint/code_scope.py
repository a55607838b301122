"""Which code counts, and which objects of its own module that it uses count with it.

Owns the distinction between code that the user writes and code that is installed.
`bigpipe.fingerprint.content` makes the digests.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from bigpipe.fingerprint.code_digest import atom

__all__ = ["CLASS_NOISE", "belongs_to_code", "is_installed", "is_standard"]

_DATA = {  # types of data that scripts load beside their functions: calibration frames, catalogues
    "numpy": ("ndarray", "generic"),
    "astropy.nddata": ("NDData",),
    "astropy.table": ("Table",),
    "pandas": ("DataFrame", "Series", "Index"),
}

CLASS_NOISE = frozenset(
    (
        *("__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate__"),
        *("__annotate_func__", "__annotations_cache__", "__conditional_annotations__"),
        *("__firstlineno__", "__static_attributes__", "__classdictcell__", "__classcell__"),
        *("__abstractmethods__", "_abc_impl", "__orig_bases__", "__parameters__"),
        *("__type_params__", "__dataclass_fields__", "__dataclass_params__", "__match_args__"),
        *("_is_protocol", "_is_runtime_protocol", "__protocol_attrs__", "__slotnames__"),
    )
)
"""Names in a class's namespace that Python adds, or that do not affect what the class does."""

_STANDARD = os.path.dirname(os.__file__) + os.sep
_CONSTANTS_FROM = {"datetime", "decimal", "fractions", "pathlib", "pathlib._local", "re", "uuid"}


def is_standard(module: Any) -> bool:
    """Return whether a module is part of Python, not a script that has the name of one."""
    if str(module).partition(".")[0] not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or file.startswith(_STANDARD)


def is_installed(module: Any) -> bool:
    """Return whether a module belongs to Python, a package or bigpipe, which users do not edit."""
    if str(module).partition(".")[0] == "bigpipe" or is_standard(module):
        return True
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return not {"site-packages", "dist-packages"}.isdisjoint(file.split(os.sep))


def belongs_to_code(value: Any, home: Any) -> bool:
    """Return whether an object of a function's module counts with the function that uses it."""
    if isinstance(value, functools.partial):
        return True
    if callable(value) or is_dataclass(value):
        return bool(getattr(value, "__module__", None) == home)
    return _is_constant(value)


def _is_constant(value: Any) -> bool:
    if atom(value) is not None or isinstance(value, (Enum, range)):
        return True
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_constant, value))
    if isinstance(value, dict):
        return all(map(_is_constant, value)) and all(map(_is_constant, value.values()))
    if _is_data(value):
        return True
    return type(value).__module__ in _CONSTANTS_FROM


def _is_data(value: Any) -> bool:
    array: Any = value
    for name, types in _DATA.items():
        module: Any = sys.modules.get(name)  # if it is not imported, there is no such object
        if module is not None and isinstance(value, tuple(getattr(module, x) for x in types)):
            return name != "numpy" or not array.dtype.hasobject  # such elements may be anything
    return False
