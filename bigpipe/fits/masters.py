"""`CombinePipe`: groups of frames, each combined into one, within the available memory.

Owns a group's way through the hooks. `bigpipe.fits.frame_stack` keeps its frames meanwhile;
`bigpipe.fits.stacking` combines their values::

    file_read       reads a frame, runs the pre-processing list on it, adds it to the stack;
                    then the next
    data_process    combines the stack, by stripes of pixels if it is on disk
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np

from bigpipe import context
from bigpipe.budget import parse_bytes
from bigpipe.errors import OptionError, warn
from bigpipe.fits.files import members_of
from bigpipe.fits.frame_stack import FrameStack, check_scale
from bigpipe.fits.layout import layouts_of
from bigpipe.fits.matching import keys_of, name_of_master
from bigpipe.fits.pipeline import WORKER_BYTES, CCDMultiPipe
from bigpipe.fits.stacking import Rule
from bigpipe.measure import count_workers, usable_memory
from bigpipe.options import is_named

__all__ = ["CombinePipe"]

MIN_STACK_BYTES = 32 << 20  # thinner stripes would spend the time on seeking; arbitrary
_ELSEWHERE = {
    "weights": "for a weighted average, divide the weights by their sum and give them as scale, "
    "with method='sum'",
    "combine_uncertainty_function": "set the uncertainty in a post-processing function",
}
RESULT_BYTES = 40  # per pixel: result, deviation, mask, and their copies while they are written


class CombinePipe(CCDMultiPipe):
    """Combine each group of frames into one.

    Takes the options and keywords of `CCDMultiPipe`, and the keywords below. You may also give
    these to `pipeline`. Their names are those of `ccdproc.combine`.

    ``method``
        ``'average'``, ``'median'`` or ``'sum'``.
    ``scale``
        Multiply each frame by a factor before anything else: a list with one factor per frame,
        or a function that returns the factor for a frame's values. ``'median'`` or ``'mean'``
        divides each frame by that value, as usual for flats.
    ``sigma_clip``
        Reject values more than ``sigma_clip_low_thresh`` deviations below the centre or
        ``sigma_clip_high_thresh`` above it. ``sigma_clip_func`` measures the centre,
        ``sigma_clip_dev_func`` the deviation.
    ``clip_extrema``
        Reject the ``nlow`` lowest and ``nhigh`` highest values.
    ``minmax_clip``
        Reject values below ``minmax_clip_min`` or above ``minmax_clip_max``.
    ``mem_limit``
        Memory that the frames of one group may take, in bytes or as text such as ``'2 GiB'``.
        ``None``: each worker's equal share of the memory of the run. A larger group is kept in
        a temporary file in the output's folder, as large as its frames in single precision.

    Notes
    -----
    The functions in the pre-processing list receive one frame at a time, as soon as it is read,
    so raw frames are never in memory together. A function that returns ``None`` leaves the frame
    out. The post-processing list receives the combined frame: a `CCDData` in single precision
    (double if the first frame has integers of 32 bits, or is in double precision), with
    uncertainty, mask, the first frame's header, and the cards ``NCOMBINE``, ``IMCMB001`` and so
    on. Masked pixels and NaN do not count.

    If no function sets an ``outname``, `name_of_master` names the output.

    Examples
    --------
    >>> import numpy as np
    >>> from astropy.io import fits
    >>> from bigpipe.fits import CombinePipe
    >>> for i in range(3):
    ...     cards = fits.Header({"IMAGETYP": "bias"})
    ...     fits.writeto(f"b{i}.fits", np.full((3, 4), 100 + i, dtype=np.uint16), cards)
    >>> pipe = CombinePipe(fallback_unit="adu", outdir="masters", create_outdir=True)
    >>> pipe.pipeline([["b0.fits", "b1.fits", "b2.fits"]], method="median")
    [('masters/bias-3x4.fits', {})]
    """

    _bmp_stack_limit: int | None = None
    _bmp_keywords = frozenset(("scale", "mem_limit", *(each.name for each in fields(Rule))))

    def _bmp_plan(self, in_names: Any, given: dict[str, Any]) -> Any:
        self._bmp_n_groups = len(in_names) if hasattr(in_names, "__len__") else None
        names = in_names if isinstance(in_names, (list, tuple)) else ()
        if len(names) > 1 and all(isinstance(name, (str, os.PathLike)) for name in names):
            warn(
                f"each of the {len(names)} inputs is a single frame and is not combined with any "
                "other: to make one master of them, give a list inside a list, pipeline([names])"
            )
        return super()._bmp_plan(in_names, given)

    def _bmp_projector(self, options: Any, control: dict[str, Any]) -> Any:
        """Tell the workers how large a stack may be; a file's memory follows from that."""
        rule_of(control)  # reports a wrong rule before anything is read
        check_scale(control.get("scale"))
        if type(self).data_process is CombinePipe.data_process:
            _check_elsewhere(control, self._bmp_called(control))
        budget = usable_memory(options)[0]
        n_at_once = max(1, count_workers(self._bmp_n_groups, options))
        self._bmp_stack_limit = max(MIN_STACK_BYTES, budget // n_at_once - WORKER_BYTES)
        return super()._bmp_projector(options, control)

    def projected_size(self, in_name: Any, **kwargs: Any) -> Any:
        """Return the memory that a group needs: its stack, within the limit, and one more frame.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The group.
        **kwargs
            Keywords of the run.

        Returns
        -------
        int or None
            Bytes; ``None`` if a frame cannot be read.
        """
        if isinstance(in_name, (str, os.PathLike)):
            return super().projected_size(in_name, **kwargs)
        keywords = self.kwargs_merge(**kwargs)
        names = members_of(in_name)
        stack, n_pixels = 0, 0
        for name in names:
            frame = next(iter(_layout(name)), None)
            if frame is None:
                return None
            stack += frame.n_pixels * _stack_dtype(frame.bitpix).itemsize
            n_pixels = max(n_pixels, frame.n_pixels)
        at_work = self._bmp_largest(names, keywords)
        limit = self._bmp_limit(keywords, at_work)
        return WORKER_BYTES + at_work + RESULT_BYTES * n_pixels + min(stack, limit)

    def _bmp_largest(self, names: list[Any], keywords: dict[str, Any]) -> int:
        """Return the bytes that the largest frame needs while it is prepared."""
        return max((self._bmp_image_bytes(name, keywords) or 0 for name in names), default=0)

    def _bmp_limit(self, keywords: dict[str, Any], at_work: int) -> int:
        """Return the bytes that a stack may take."""
        given = keywords.get("mem_limit")
        if given is not None:
            return parse_bytes(given)
        share = self._bmp_stack_limit
        if share is None:  # called directly, outside a run
            share = usable_memory(self._bmp_own_options())[0] // 2
        return max(MIN_STACK_BYTES, share - at_work)

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Read the frames of a group, and run the pre-processing list on each.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            A frame, or a group. Nested groups are flattened.
        **kwargs
            Keywords for this file.

        Returns
        -------
        CCDData, FrameStack or None
            The frame, or those of the group that were not left out; ``None`` if all were.

        Raises
        ------
        ValueError
            If frames differ in shape or unit.
        """
        if isinstance(in_name, (str, os.PathLike)):
            return super().file_read(in_name, **kwargs)
        keywords = self._bmp_control(kwargs)
        names = members_of(in_name)
        at_work = self._bmp_largest(names, keywords)
        stack = FrameStack(
            len(names), self._bmp_limit(keywords, at_work), keywords.get("outdir"), keywords
        )
        for number, name in enumerate(names):
            self._bmp_begin("file_read")
            frame = self.file_read(name, **kwargs)
            frame, added = super().pre_process(frame, **{**keywords, "in_name": name})
            if frame is not None:
                stack.add(frame, name, number)
                stack.added = added
        self._bmp_begin("file_read")
        if not stack.names:
            return None
        file = context.current()
        if file is not None and file.members is not None:
            file.members[:] = stack.names
        return stack

    def _bmp_begin(self, hook: str) -> None:
        file = context.current()
        if file is not None:
            file.begin(hook)

    def pre_process(self, data: Any, **kwargs: Any) -> Any:
        """Run the pre-processing list on a single frame. For a group, `file_read` has run it.

        Parameters
        ----------
        data : CCDData or FrameStack
            What was read.
        **kwargs
            Keywords for this file.

        Returns
        -------
        tuple
            ``(data, kwargs)``.
        """
        if isinstance(data, FrameStack):
            return data, {**self._bmp_control(kwargs), **data.added}
        return super().pre_process(data, **kwargs)

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        """Combine the frames of a group.

        Parameters
        ----------
        data : FrameStack or CCDData
            The frames. A single frame is returned unchanged.
        **kwargs
            Keywords for this file.

        Returns
        -------
        CCDData
            The combined frame.
        """
        if not isinstance(data, FrameStack):
            return data
        with data:
            return data.combined(rule_of(self.kwargs_merge(**kwargs)))

    def outname_create(self, in_name: Any, outname_ext: Any = None, **kwargs: Any) -> Any:
        """Make the name of the output. A group is named after the properties of its frames.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        outname_ext : str, optional
            Extension of the output.
        **kwargs
            Keywords for this file.

        Returns
        -------
        str
            The name, path included.
        """
        meta, data = kwargs.get("meta") or {}, kwargs.get("data")
        is_named = meta.get("outname") or self._bmp_control(kwargs).get("outname")
        if not isinstance(in_name, (str, os.PathLike)) and not is_named and data is not None:
            kwargs["outname"] = name_of_master(keys_of(data.header, data.shape))
        return super().outname_create(in_name, outname_ext, **kwargs)

    def _bmp_predictor(self, control: dict[str, Any]) -> Any:
        return None  # the name depends on the frames


def rule_of(keywords: dict[str, Any]) -> Rule:
    """Return the rule that a pipeline's keywords define.

    Raises
    ------
    OptionError
        If a keyword has an invalid value.
    """
    return Rule(
        **{each.name: keywords[each.name] for each in fields(Rule) if each.name in keywords}
    )


def _check_elsewhere(keywords: dict[str, Any], called: list[Any]) -> None:
    """Refuse keywords that change the result of `ccdproc.combine` and that nothing here uses."""
    for name, remedy in _ELSEWHERE.items():
        if keywords.get(name) is not None and not is_named(name, called):
            raise OptionError(f"{name} has no effect on CombinePipe: {remedy}")


def _layout(name: Any) -> Iterator[Any]:
    try:
        yield from layouts_of(name)
    except OSError:  # the worker will say so, with the file's name
        return


def _stack_dtype(bitpix: int) -> np.dtype[Any]:
    return np.dtype(np.float32 if bitpix in (8, 16, -32) else np.float64)
