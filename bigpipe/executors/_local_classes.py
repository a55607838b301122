"""Classes defined in a function, which a forked worker sends back by value.

Ensures that they arrive as the caller's own classes: cloudpickle recognises a class by an id that
it assigns when it first pickles the class. This must happen before the fork. Otherwise the caller
would get a different class of the same name from each worker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from bigpipe.options import FUNCTION_LISTS, assure_list
from bigpipe.sharing.arrays import pickler_class

__all__ = ["note_local_classes"]


def note_local_classes(pipe: Any, control: dict[str, Any]) -> None:
    """Make cloudpickle assign ids to local classes that hooks and listed functions use."""
    for code in _code_of(getattr(pipe, "_bmp_of", pipe), control):
        if "<locals>" in getattr(code, "__qualname__", ""):
            # A forked worker needs nothing pickled, so errors do not matter; arrays are left out.
            with suppress(Exception):
                pickler_class()(io.BytesIO(), protocol=5, buffer_callback=_leave_out).dump(code)


def _code_of(pipe: Any, control: dict[str, Any]) -> Iterator[Any]:
    yield type(pipe)
    yield from control.values()
    for name in FUNCTION_LISTS:
        yield from assure_list(getattr(pipe, name, None))
        yield from assure_list(control.get(name))


def _leave_out(buffer: object) -> bool:
    return False
