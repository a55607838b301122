"""How one type is taken apart and put together: the codec, and checks of parts from a text.

Owns what every module of codecs needs. Those modules define the types; `bigpipe.encoding.walk`
turns parts into text.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "Codec",
    "bytes_of",
    "checked",
    "fields_of",
    "instance_of",
    "items_of",
    "text_of_bytes",
]

T = TypeVar("T")


class Codec(NamedTuple):
    """How the values of one type become text.

    Notes
    -----
    `parts` and `assemble` may raise any exception if they fail: the walk turns it into
    `UnsafeValueError` or `EncodingError`.
    """

    kind: type
    """The type, exactly."""
    name: str
    """Name of the type in a text, within its family."""
    parts: Callable[[Any], Any]
    """Take a value apart, into values that can be encoded."""
    assemble: Callable[[Any], Any]
    """Put parts together. They come from a text, so they may be anything that can be decoded."""


def checked(part: Any, kind: type[T]) -> T:
    """Return a part if it is of exactly this type."""
    if type(part) is not kind:
        raise ValueError(f"a {kind.__name__} is needed, not a {type(part).__name__}")
    return part


def instance_of(part: Any, kind: type) -> Any:
    """Return a part if it is of this type, or of a subclass."""
    if not isinstance(part, kind):
        raise ValueError(f"a {kind.__name__} is needed, not a {type(part).__name__}")
    return part


def items_of(part: Any, count: int) -> list[Any]:
    """Return a part if it is a list of ``count`` items."""
    items: list[Any] = checked(part, list)
    if len(items) != count:
        raise ValueError(f"{count} parts are needed, not {len(items)}")
    return items


def fields_of(part: Any, required: set[str], optional: set[str] | None = None) -> dict[str, Any]:
    """Return a part if it is a dict with the required keys and no others but the optional ones."""
    fields: dict[str, Any] = checked(part, dict)
    if not required <= fields.keys() <= required | (optional or set()):
        raise ValueError(f"fields {sorted(required)} are needed, not {list(fields)}")
    return fields


def text_of_bytes(data: bytes) -> str:
    """Return bytes as base64."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def bytes_of(part: Any) -> bytes:
    """Return bytes from base64."""
    return binascii.a2b_base64(checked(part, str), strict_mode=True)
