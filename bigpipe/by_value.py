"""Modules that a worker could not import by their name, so that what is theirs is sent by value.

Owns how they are told from others. Those of a script and of a notebook, ``__main__``, are known to
cloudpickle, which does the sending; those of ``bigpipe run`` are made by `bigpipe.references`.

Such modules are loaded from a file in no folder of ``sys.path``, as `importlib` and
`runpy.run_path` do, or made by hand; `multiprocessing` calls that of the script ``__mp_main__``.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

__all__ = ["note_module"]

_noted: WeakValueDictionary[str, ModuleType] = WeakValueDictionary()


def note_module(obj: Any) -> None:
    """Have cloudpickle send a function or class by value if its module cannot be imported."""
    name: Any = getattr(obj, "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) else None
    if name == "__main__" or type(module) is not ModuleType or _noted.get(name) is module:
        return
    _noted[name] = module
    if not _would_be_found(name, getattr(module, "__file__", None)):
        import cloudpickle

        cloudpickle.register_pickle_by_value(module)


def _would_be_found(name: str, file: str | None) -> bool:
    """Whether an ``import`` finds this very module; also if that is not known."""
    package, _, rest = name.partition(".")
    if file is not None and not file.endswith(".py"):
        return True  # of what is compiled there is no value to be sent
    try:
        specs = (finder.find_spec(package, None) for finder in sys.meta_path)
        spec = next((spec for spec in specs if spec is not None), None)
    except Exception:  # somebody's own finder, which may raise anything
        return True
    if spec is None or rest or not spec.has_location or file is None:
        return spec is not None
    return os.path.realpath(str(spec.origin)) == os.path.realpath(file)
