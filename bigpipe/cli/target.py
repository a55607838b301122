"""What ``bigpipe run`` runs: a pipeline from a class, an object or a function.

Owns how each becomes a pipeline. `bigpipe.references` finds them by name.
"""

from __future__ import annotations

import inspect
import os
from types import ModuleType
from typing import Any

from bigpipe.errors import OptionError
from bigpipe.function_pipe import FunctionPipe
from bigpipe.options import NAMES
from bigpipe.pipeline import BigMultiPipe
from bigpipe.references import find, load, split

__all__ = ["pipeline_of"]

_MAX_FUNCTIONS = 3  # of a module that are named; arbitrary


def pipeline_of(reference: str, keywords: dict[str, Any]) -> BigMultiPipe:
    """Return the pipeline to run.

    Parameters
    ----------
    reference : str
        ``package.module:Name`` or ``script.py:Name`` of a subclass of `BigMultiPipe`, an
        object of one, or a function of data; without ``Name``, the only pipeline there.
    keywords : dict
        Keywords of the hooks. Those that a class's constructor names are passed to it and
        removed from this dict.

    Raises
    ------
    OptionError
        If there is no such pipeline, or its constructor fails.
    """
    module_name, name = split(reference)
    if os.path.isfile(module_name) and os.path.splitext(module_name)[1] not in ("", ".py"):
        raise OptionError(
            f"{module_name!r} is not a Python script: name the pipeline before the inputs, such "
            f"as script.py:Name {module_name}"
        )
    value = _only_one(reference, load(reference)) if name is None else find(reference)
    if isinstance(value, type) and issubclass(value, BigMultiPipe):
        return _made(reference, value, keywords)
    if isinstance(value, BigMultiPipe):
        return value
    if callable(value) and not isinstance(value, type):
        return FunctionPipe(process=value)
    raise OptionError(
        f"{reference} is {_article(type(value).__name__)}: name a subclass or object of "
        "BigMultiPipe, or a function"
    )


def _only_one(reference: str, module: ModuleType) -> Any:
    own = {name: x for name, x in vars(module).items() if name[0] != "_"}
    objects = [name for name, x in own.items() if isinstance(x, BigMultiPipe)]
    classes = [
        name
        for name, x in own.items()
        if isinstance(x, type) and issubclass(x, BigMultiPipe) and x.__module__ == module.__name__
    ]
    found = objects or classes
    if len(found) == 1:
        return own[found[0]]
    if not found:
        functions = [
            name
            for name, x in own.items()
            if inspect.isfunction(x) and x.__module__ == module.__name__
        ]
        if not functions:
            raise OptionError(f"there is no pipeline and no function in {reference}")
        functions = functions if len(functions) <= _MAX_FUNCTIONS else ["NAME"]
        choices = " or ".join(f"{reference}:{name}" for name in functions)
        raise OptionError(
            f"there is no pipeline in {reference}; to run a function, write {choices}"
        )
    choices = " or ".join(f"{reference}:{name}" for name in found)
    raise OptionError(f"there are {len(found)} pipelines in {reference}: write {choices}")


def _made(reference: str, cls: type[BigMultiPipe], keywords: dict[str, Any]) -> BigMultiPipe:
    parameters = inspect.signature(cls).parameters.values()
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    own = [each for each in parameters if each.kind not in variable and each.name not in NAMES]
    given = {each.name: keywords.pop(each.name) for each in own if each.name in keywords}
    missing = [each for each in own if each.default is each.empty and each.name not in given]
    if missing:
        wanted = " ".join(f"--set {each.name}=..." for each in missing)
        raise OptionError(f"{reference} needs {wanted}")
    try:
        return cls(**given)
    except Exception as error:  # a constructor may raise anything
        raise OptionError(
            f"the constructor of {reference} raised {type(error).__name__}: {error}"
        ) from error


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
