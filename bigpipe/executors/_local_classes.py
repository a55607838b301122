"""Classes defined in a function, which a forked worker sends back by value.

Owns that they arrive as the caller's own: cloudpickle knows a class again by an id which it gives
to it when it pickles it first. That must be before the fork; or the caller would be given another
class of the same name by each worker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from bigpipe.arrays import pickler_class
from bigpipe.options import FUNCTION_LISTS, assure_list

__all__ = ["note_local_classes"]


def note_local_classes(pipe: Any, control: dict[str, Any]) -> None:
    """Have cloudpickle know the classes that hooks and functions of a function lead to."""
    for code in _code_of(getattr(pipe, "_bmp_of", pipe), control):
        if "<locals>" in getattr(code, "__qualname__", ""):
            # What cannot be pickled is no matter in a forked worker; and arrays are left out.
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
