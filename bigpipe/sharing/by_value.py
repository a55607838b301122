"""Modules that a worker could not import by their name, so that what is theirs is sent by value.

Owns how they are told from others. Those of a script and of a notebook, ``__main__``, are known to
cloudpickle, which does the sending; those of ``bigpipe run`` are made by `bigpipe.references`.

A worker that was not forked has what came by value in no module either. Processes that a hook
or a stage starts by `multiprocessing`, which knows functions and classes by name, are therefore
sent it by value, too.

Such modules are loaded from a file in no folder of ``sys.path``, as `importlib` and
`runpy.run_path` do, or made by hand; `multiprocessing` calls that of the script ``__mp_main__``.
"""

from __future__ import annotations

import os
import pickle
import sys
from types import FunctionType, ModuleType
from typing import Any
from weakref import WeakValueDictionary

__all__ = ["note_module", "pass_on_by_value"]

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


def pass_on_by_value() -> None:
    """Have `multiprocessing` send by value, too, what has come to this process by value."""
    from multiprocessing.reduction import ForkingPickler

    setattr(ForkingPickler, "reducer_override", _reduced)  # noqa: B010 - the stubs have none


def _reduced(pickler: object, obj: Any) -> Any:
    if not isinstance(obj, (FunctionType, type)) or not _is_lost(obj):
        return NotImplemented
    import cloudpickle

    return pickle.loads, (cloudpickle.dumps(obj),)


def _is_lost(obj: Any) -> bool:
    """Whether a function or class is not where its name says, in a module that is not here."""
    name = getattr(obj, "__module__", None)
    if name != "__main__":
        return name not in sys.modules
    found: Any = sys.modules[name]
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not obj


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
