"""Objects by name: ``package.module:Name``, ``script.py:Name``.

Owns how a module or script is found and imported so that worker processes find it too. Callers
check whether an object is what they need.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import re
import sys
from types import ModuleType
from typing import Any

from bigpipe.errors import OptionError
from bigpipe.near_names import names_meant

__all__ = ["find", "load", "split"]


def find(reference: str) -> Any:
    """Return the object that a reference names.

    Parameters
    ----------
    reference : str
        ``'package.module:Name'`` or ``'script.py:Name'``; ``Name`` may have dots. Without a
        colon, a built-in name of Python, such as ``'OSError'``.

    Raises
    ------
    OptionError
        If the object does not exist, or its module cannot be imported.

    Examples
    --------
    >>> find("os.path:join")("a", "b"), find("OSError")
    ('a/b', <class 'OSError'>)
    """
    module_name, name = split(reference)
    if name is None:
        if hasattr(builtins, reference):
            return getattr(builtins, reference)
        raise OptionError(f"{reference!r} does not name an object: write package.module:name")
    module = load(module_name)
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            near = " or ".join(names_meant(name, vars(module)))
            hint = f": did you mean {near}?" if near else ""
            raise OptionError(f"{module_name} has no {name}{hint}") from None
    return value


def split(reference: str) -> tuple[str, str | None]:
    """Split a reference into module or script, and name; the name is ``None`` if it has none.

    Examples
    --------
    >>> split("night.py:Reduce"), split("package.module")
    (('night.py', 'Reduce'), ('package.module', None))
    """
    module_name, colon, name = reference.rpartition(":")
    return (module_name, name) if colon and module_name and name else (reference, None)


def load(name: str) -> ModuleType:
    """Import a module by its name, or a script by the name of its file.

    Parameters
    ----------
    name : str
        ``'package.module'``, which may be in the current folder, or ``'folder/script.py'``.

    Raises
    ------
    OptionError
        If it does not exist or cannot be imported; ``__cause__`` then has the reason.

    Notes
    -----
    The folder of a script is put in front of ``sys.path``, as if Python had been started with
    it. Workers get ``sys.path``, so they import the script by its name. If that is not a valid
    module name, or names another module, the script's objects are sent by value.
    """
    if name.endswith(".py") or os.sep in name:
        return _script(name)
    _put_first(os.getcwd())
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise OptionError(
                f"there is no module {name!r}, neither installed nor in {os.getcwd()!r}; for a "
                "script, write its name with .py"
            ) from None
        raise _unusable(name, error) from error
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise _unusable(name, error) from error
    if hasattr(module, "__path__") and module.__file__ is None:
        raise OptionError(f"{name!r} is a folder without __init__.py, not a script or module")
    return module


def _script(path: str) -> ModuleType:
    file = os.path.realpath(path)
    if not os.path.isfile(file):
        raise OptionError(f"there is no script {path!r}")
    _put_first(os.path.dirname(file))
    name = os.path.basename(file).removesuffix(".py")
    try:
        if _file_of(sys.modules.get(name)) == file:
            return sys.modules[name]
        if name.isidentifier() and name not in sys.modules and _found_as(name) == file:
            return importlib.import_module(name)
        return _by_value(name, file)
    except (Exception, SystemExit) as error:  # a script may raise anything
        raise _unusable(path, error) from error


def _put_first(folder: str) -> None:
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)


def _found_as(name: str) -> str | None:
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else os.path.realpath(spec.origin)


def _file_of(module: ModuleType | None) -> str | None:
    file = getattr(module, "__file__", None)
    return None if file is None else os.path.realpath(file)


def _by_value(name: str, file: str) -> ModuleType:
    """Import a script that ``import`` cannot find; its objects are sent to workers by value."""
    from importlib.machinery import SourceFileLoader

    import cloudpickle

    own_name = "script_" + re.sub(r"\W", "_", name)
    if _file_of(sys.modules.get(own_name)) == file:
        return sys.modules[own_name]
    loader = SourceFileLoader(own_name, file)
    spec = importlib.util.spec_from_file_location(own_name, file, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own_name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[own_name]
        raise
    cloudpickle.register_pickle_by_value(module)
    return module


def _unusable(name: str, error: BaseException) -> OptionError:
    return OptionError(f"{name} cannot be imported: {type(error).__name__}: {error}")
