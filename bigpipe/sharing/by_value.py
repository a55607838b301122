"""Functions and classes of modules that a worker cannot import by name, and that travel by value.

Owns how such modules are recognised. cloudpickle sends their objects. It already knows
``__main__``, the module of a script or a notebook; `bigpipe.references` registers the scripts of
``bigpipe run``.

Such a module was loaded from a file outside the folders of ``sys.path``, as `importlib` and
`runpy.run_path` can do, or was made by hand. `multiprocessing` calls the script's module
``__mp_main__``.

In a worker that was not forked, objects that came by value belong to no module.
`multiprocessing` finds functions and classes by name, so it would not find these. Processes that
a hook or a stage starts with it are therefore sent them by value, too.
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
    """Have `multiprocessing` send by value the objects that came to this process by value."""
    from multiprocessing.reduction import ForkingPickler

    setattr(ForkingPickler, "reducer_override", _reduced)  # noqa: B010 - the stubs have none


def _reduced(pickler: object, obj: Any) -> Any:
    if not isinstance(obj, (FunctionType, type)) or not _is_lost(obj):
        return NotImplemented
    import cloudpickle

    return pickle.loads, (cloudpickle.dumps(obj),)


def _is_lost(obj: Any) -> bool:
    """Return whether a function or class cannot be found by its module and name."""
    name = getattr(obj, "__module__", None)
    if name != "__main__":
        return name not in sys.modules
    found: Any = sys.modules[name]
    for part in obj.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is not obj


def _would_be_found(name: str, file: str | None) -> bool:
    """Return whether an ``import`` would find this very module; true if unknown."""
    package, _, rest = name.partition(".")
    if file is not None and not file.endswith(".py"):
        return True  # compiled code cannot be sent by value
    try:
        specs = (finder.find_spec(package, None) for finder in sys.meta_path)
        spec = next((spec for spec in specs if spec is not None), None)
    except Exception:  # a foreign finder may raise anything
        return True
    if spec is None or rest or not spec.has_location or file is None:
        return spec is not None
    return os.path.realpath(str(spec.origin)) == os.path.realpath(file)
