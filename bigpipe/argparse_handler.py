"""Command-line options for scripts that run a pipeline, as methods of mixin classes.

Owns the methods that add options, with their defaults and help texts. `bigpipe.flags` turns text
into values; `bigpipe.options` says what the options mean.
"""

from __future__ import annotations

import argparse
from typing import Any

from bigpipe.errors import OptionError
from bigpipe.flags import DECLARED, argument_of
from bigpipe.options import Kind
from bigpipe.outname import OUTNAME_APPEND

__all__ = ["ArgparseHandler", "BMPArgparseMixin"]


class ArgparseHandler:
    """Base of classes that add options to a parser and act on the parsed arguments.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser that options are added to.

    Attributes
    ----------
    parser : argparse.ArgumentParser
        The same parser.

    Examples
    --------
    >>> class Reduce(BMPArgparseMixin, ArgparseHandler):
    ...     outname_append = "_red"
    ...     def add_all(self):
    ...         self.add_outname_append()
    ...         self.add_num_processes()
    ...     def cmd(self, args):
    ...         print(args.outname_append, args.num_processes)
    >>> handler = Reduce(argparse.ArgumentParser())
    >>> handler.add_all()
    >>> handler.cmd(handler.parser.parse_args(["--num_processes", "2"]))
    _red 2
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser

    def add_all(self) -> None:
        """Add all options of the script. Override this method; the default adds none."""

    def cmd(self, args: argparse.Namespace) -> Any:
        """Do the work of the script. Override this method.

        Parameters
        ----------
        args : argparse.Namespace
            The parsed arguments.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method cmd(args): define one")


class BMPArgparseMixin:
    """Methods that add the options of a pipeline to ``self.parser``.

    Each method takes the name of the option on the command line without dashes (``option``),
    its ``default`` and its ``help`` text. Other keywords are those of
    `argparse.ArgumentParser.add_argument`.

    Attributes
    ----------
    outname_append : str
        Default of the option of that name. A subclass may set it; ``''`` appends nothing.
    """

    outname_append: str = OUTNAME_APPEND
    parser: argparse.ArgumentParser

    def _add_value(
        self,
        option: str,
        default: Any,
        help: str | None,
        what: str,
        *,
        unset: str = "none",
        **kwargs: Any,
    ) -> None:
        self.parser.add_argument(
            f"--{option}",
            default=default,
            help=_help_text(help, what, default, unset),
            **kwargs,
        )

    def _add_switch(
        self, option: str, default: Any, help: str | None, what: str, **kwargs: Any
    ) -> None:
        kwargs.setdefault("action", argparse.BooleanOptionalAction)
        action = self.parser.add_argument(f"--{option}", default=default, **kwargs)
        # Set afterwards: some versions of argparse append the default to a switch's help.
        action.help = _help_text(help, what, default)

    def add_option(
        self,
        name: str,
        option: str | None = None,
        default: Any = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add any option of a pipeline by its name, such as ``'journal'``.

        Parameters
        ----------
        name : str
            Name of an option in `bigpipe.options.Options`.
        option : str, optional
            Name of the option on the command line, if different from `name`.
        default : object, optional
            Value if the option is not given. A pipeline takes ``None`` as not given.
        help : str, optional
            Help text, if different from that of the option.
        **kwargs
            Other keywords of `argparse.ArgumentParser.add_argument`.
        """
        if name not in DECLARED:
            raise OptionError(f"{name!r} is not a pipeline option: see bigpipe.options.Options")
        option = name if option is None else option
        what = DECLARED[name].metadata["help"].replace("%", "%%")
        if help is None and default is None:  # the text says what that means
            help = what
        if DECLARED[name].metadata["kinds"][0] is Kind.FLAG:
            self._add_switch(option, default, help, what, **kwargs)
        else:
            self._add_value(option, default, help, what, **{**argument_of(name), **kwargs})

    def add_outdir(
        self,
        option: str = "outdir",
        default: Any = ".",
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the output folder."""
        self._add_value(option, default, help, "output folder", **kwargs)

    def add_create_outdir(
        self,
        option: str = "create_outdir",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the switch that creates missing output folders."""
        self._add_switch(option, default, help, "create missing output folders", **kwargs)

    def add_read_pout(
        self,
        option: str = "read_pout",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the switch that reads the result of an earlier run."""
        what = "read the saved result of an earlier run, if there is one, instead of running"
        self._add_switch(option, default, help, what, **kwargs)

    def add_write_pout(
        self,
        option: str = "write_pout",
        default: Any = False,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the switch that saves the result of the run in a file."""
        what = "save the result of the run in a file (a pickle)"
        self._add_switch(option, default, help, what, **kwargs)

    def add_outname_append(
        self,
        option: str = "outname_append",
        default: str | None = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the text inserted into output names; its default is the class attribute."""
        if default is None:
            default = self.outname_append
        what = "text inserted between an input's base name and its extension"
        self._add_value(option, default, help, what, **kwargs)

    def add_num_processes(
        self,
        option: str = "num_processes",
        default: Any = 0.8,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the number of processes, or the fraction of the cores."""
        what = (
            "maximum number of workers; below 1, that fraction of the cores; 0: all physical cores"
        )
        kwargs.setdefault("type", argument_of("num_processes")["type"])
        self._add_value(option, default, help, what, **kwargs)

    def add_mem_available(
        self,
        option: str = "mem_available",
        default: Any = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the memory that all processes together may use."""
        what = "memory that all workers together may use, in bytes or with a unit (8GiB)"
        kwargs.setdefault("type", argument_of("mem_available")["type"])
        self._add_value(
            option, default, help, what, unset="a fraction of what is available", **kwargs
        )

    def add_mem_frac(
        self,
        option: str = "mem_frac",
        default: Any = 0.8,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the fraction of the available memory to use."""
        what = "fraction of the currently available memory to use, from 0 to 1"
        kwargs.setdefault("type", argument_of("mem_frac")["type"])
        self._add_value(option, default, help, what, **kwargs)

    def add_process_size(
        self,
        option: str = "process_size",
        default: Any = None,
        help: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Add the memory that one process needs."""
        what = "maximum memory that a worker needs for one file, in bytes or with a unit (2GiB)"
        kwargs.setdefault("type", argument_of("process_size")["type"])
        self._add_value(option, default, help, what, unset="learned from the files", **kwargs)


def _help_text(help: str | None, what: str, default: Any, unset: str = "none") -> str:
    if help is not None:
        return help
    shown = unset if default is None else "%(default)r" if default == "" else "%(default)s"
    return f"{what} (default: {shown})"
