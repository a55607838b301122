"""Ready-made pre- and post-processing functions, and functions that make such functions.

Owns what they do with data, keywords and metadata. `bigpipe.hooks` calls the functions of the
lists and uses what they return.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from bigpipe import context
from bigpipe.context import name_of
from bigpipe.options import assure_list

__all__ = [
    "assure_list",
    "bmp_cleanup",
    "for_each_member",
    "multi_logging",
    "multi_proc",
    "no_outfile",
]

_CLEANUP_LIST = "bmp_cleanup_list"  # key of the metadata that holds the keys marked


def bmp_cleanup(
    data: Any,
    bmp_meta: dict[str, Any] | None = None,
    add: Any = None,
    *,
    no_bmp_cleanup: bool = False,
    **kwargs: Any,
) -> Any:
    """Mark metadata for removal, or remove the marked metadata.

    Post-processing functions can use it to pass large objects to each other in the metadata
    without returning them to the caller. bigpipe removes marked keys after all functions ran.

    Parameters
    ----------
    data : object
        Returned unchanged. May be the metadata itself if `bmp_meta` is not given:
        ``bmp_cleanup(bmp_meta, add=key)``.
    bmp_meta : dict, optional
        The file's metadata. Without metadata, nothing is done.
    add : str or list of str, optional
        Key or keys to mark. If not given, the keys marked so far are removed. Marking a key
        twice, or a key that does not exist, is not an error.
    no_bmp_cleanup : bool, optional
        Remove nothing. Give this keyword to the pipeline to inspect what functions pass on.
    **kwargs : dict
        Other keywords of the pipeline; not used.

    Returns
    -------
    object
        `data`.

    Examples
    --------
    >>> meta = {"residual": "large"}
    >>> data = bmp_cleanup("image", bmp_meta=meta, add="residual")
    >>> data = bmp_cleanup(data, bmp_meta=meta)
    >>> meta
    {}
    """
    meta = data if bmp_meta is None and isinstance(data, dict) else bmp_meta
    if meta is None:
        return data
    if add is not None:
        meta[_CLEANUP_LIST] = [*assure_list(meta.get(_CLEANUP_LIST)), *assure_list(add)]
    elif not no_bmp_cleanup:
        for key in assure_list(meta.pop(_CLEANUP_LIST, None)):
            meta.pop(key, None)
    return data


def multi_logging(level: str, meta: dict[str, Any], message: Any) -> None:
    """Append a message to a list in the metadata, which returns with the file's result.

    Parameters
    ----------
    level : str
        Key of the list, such as ``'warning'``. The list is created if it is missing.
    meta : dict
        The file's metadata.
    message : object
        What to append.

    Examples
    --------
    >>> meta = {}
    >>> multi_logging("warning", meta, "no stars")
    >>> meta
    {'warning': ['no stars']}
    """
    meta.setdefault(level, []).append(message)


def no_outfile(data: Any, **kwargs: Any) -> None:
    """End a file before anything is written, for runs that only need metadata.

    Make it the last function in ``post_process_list``.

    Parameters
    ----------
    data : object
        Not used.
    **kwargs : dict
        Not used.

    Examples
    --------
    >>> no_outfile("image") is None
    True
    """
    return None


class multi_proc:
    """A function that applies another function to each element of a list.

    Parameters
    ----------
    func : callable
        Called as ``func(element, **kwargs)``.
    element_type : type, optional
        Type of the elements that `func` is applied to; lists and tuples of them may be nested
        to any depth. If not given, `func` is applied to every element of the list.
    **kwargs : dict
        Keywords for `func`. Keywords given in the call take precedence.

    Notes
    -----
    The object can be pickled if `func` can. In a pipeline, prefer `for_each_member`: it also
    passes the members' names and can drop single members.

    Examples
    --------
    >>> def scale(x, factor=1, **kwargs):
    ...     return x * factor
    >>> multi_proc(scale, factor=3)([1, 2])
    [3, 6]
    >>> multi_proc(scale, int)([[1, 2], [3]], factor=2)
    [[2, 4], [6]]
    """

    def __init__(self, func: Callable[..., Any], element_type: Any = None, **kwargs: Any) -> None:
        self.func = func
        self.element_type = element_type
        self.kwargs = kwargs
        self.__name__ = f"multi_proc({name_of(func)})"

    def __call__(self, data_list: Any, **kwargs: Any) -> list[Any]:
        """Apply the function; return its results as a list, nested like the input."""
        return list(self._results(data_list, {**self.kwargs, **kwargs}))

    def __repr__(self) -> str:
        return f"<{self.__name__}>"

    def _results(self, data_list: Any, kwargs: dict[str, Any]) -> Iterator[Any]:
        for data in data_list:
            if self.element_type is None or isinstance(data, self.element_type):
                yield self.func(data, **kwargs)
            elif isinstance(data, (list, tuple)):
                yield list(self._results(data, kwargs))
            else:
                raise TypeError(
                    f"{self.__name__} found an element of type {type(data).__name__}, which "
                    f"is neither element_type={self.element_type!r} nor a list"
                )


def for_each_member(func: Callable[..., Any]) -> Callable[..., Any]:
    """Apply a function written for the data of one file to each member of a group.

    A decorator for hooks such as ``data_process`` and for functions in the lists.

    Parameters
    ----------
    func : callable
        A function ``(data, **kwargs)``, or a method ``(self, data, **kwargs)``. It gets the
        member's own name as the keyword ``in_name`` (``None`` if names are not known). Its
        return value means for the member what it would mean for a file: ``None`` drops the
        member, and ``bmp_kwargs`` beside ``bmp_data`` are keywords for the remaining hooks.

    Returns
    -------
    callable
        Called with a list, nested or not, it returns the list of results for the remaining
        members, or ``None`` if all were dropped. A member that is ``None`` is dropped without
        calling `func`. If `func` returned keywords, it returns one
        dict with ``bmp_data`` and all ``bmp_kwargs``; the last member to give a keyword wins.
        Called with anything else, it calls `func` directly.

    Notes
    -----
    A list subclass, such as an astropy ``HDUList``, counts as the data of one file. When a
    member is dropped, later functions no longer get its name, so names and data stay aligned.

    All members share one metadata dict. If a post-processing function sets the same key for
    each member, only the last value remains: use `in_name` in the key, or append to a list.

    The decorated function can be pickled by its qualified name if `func` could.

    Examples
    --------
    >>> @for_each_member
    ... def drop_test_frames(data, in_name=None, **kwargs):
    ...     return None if in_name.startswith("test") else data * 2
    >>> drop_test_frames([1, 2, 3], in_name=["a.fits", "test.fits", "b.fits"])
    [2, 6]
    >>> drop_test_frames(1, in_name="a.fits")
    2
    """
    place, data_keyword, takes_name = _shape_of(func)

    @functools.wraps(func)
    def apply_to_members(*args: Any, **kwargs: Any) -> Any:
        by_keyword = len(args) <= place
        data = kwargs.get(data_keyword) if by_keyword else args[place]
        if type(data) is not list:
            return func(*args, **kwargs)
        if by_keyword:
            del kwargs[data_keyword]
        before, after = args[:place], args[place + 1 :]

        def apply_to_one(member: Any, name: Any) -> Any:
            named = {**kwargs, "in_name": name} if takes_name else kwargs
            return func(*before, member, *after, **named)

        return _apply(apply_to_one, data, _names_of(data, kwargs.get("in_name")))

    return apply_to_members


def _shape_of(func: Callable[..., Any]) -> tuple[int, str, bool]:
    """Return the position and name of a function's data, and whether it takes ``in_name``."""
    try:
        parameters = list(inspect.signature(func).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have no signature
        return 0, "data", False
    place = 1 if parameters and parameters[0].name in ("self", "cls") else 0
    data_keyword = parameters[place].name if len(parameters) > place else "data"
    takes_name = data_keyword != "in_name" and any(
        x.kind is x.VAR_KEYWORD or x.name == "in_name" for x in parameters
    )
    return place, data_keyword, takes_name


def _names_of(data: list[Any], in_name: Any) -> list[Any] | None:
    file = context.current()
    if file is not None and _fits(file.members, data):
        members: list[Any] = file.members
        return members
    # A copy: the caller's list stays as it is when members are dropped.
    return context.copied(in_name) if _fits(in_name, data) else None


def _fits(names: Any, data: list[Any]) -> bool:
    """Return whether names and data have the same members; either may be nested deeper."""
    return (
        isinstance(names, list)
        and len(names) == len(data)
        and all(
            _fits(name, member)
            for name, member in zip(names, data, strict=True)
            if isinstance(name, list) and type(member) is list
        )
    )


def _apply(call: Callable[[Any, Any], Any], data: list[Any], names: list[Any] | None) -> Any:
    """Call for each member of a list; remove dropped members' names from `names` in place."""
    kept, kept_names, keywords = [], [], None
    for i, member in enumerate(data):
        name = None if names is None else names[i]
        # A plain list with a single name is the data of one file, not a group.
        if type(member) is list and (names is None or isinstance(name, list)):
            result = _apply(call, member, name)
        else:  # None: file_read rejected the member
            result = None if member is None else call(member, name)
        added = None
        if isinstance(result, dict) and "bmp_data" in result:
            added = result.get("bmp_kwargs") or {}
            result = result["bmp_data"]
        if result is None:
            continue
        if added is not None:
            keywords = {**(keywords or {}), **added}
        kept.append(result)
        kept_names.append(name)
    if names is not None:
        names[:] = kept_names
    if data and not kept:
        return None
    return kept if keywords is None else {"bmp_data": kept, "bmp_kwargs": keywords}
