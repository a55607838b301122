"""``bigpipe demo``: reduces a night of CCD frames.

Owns its arguments. `bigpipe.demo` does the work; it is imported only when the command runs.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import Any

from bigpipe.cli.screen import FILES_FAILED, OK, refuse, say

__all__ = ["add"]

_SIMULATION_ONLY = ("frames", "shape", "seed")


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the command.

    Parameters
    ----------
    commands : argparse action
        What ``add_subparsers`` returned.
    """
    demo = commands.add_parser(
        "demo",
        help="reduce a night of CCD frames, simulated or your own",
        description=(
            "Simulate a small night of raw CCD frames, reduce it in parallel, and compare the "
            "result with the simulated truth. With --input, reduce your own frames; their "
            "folder is only read."
        ),
    )
    demo.add_argument(
        "--input", type=Path, metavar="DIR", help="folder of raw FITS frames to reduce"
    )
    demo.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        default=Path("bigpipe-demo"),
        help="folder for the results: new, empty, or of an earlier demo (default: bigpipe-demo)",
    )
    demo.add_argument(
        "--num-processes",
        type=_number_of_processes,
        metavar="N",
        help="maximum number of workers; below 1, that fraction of the cores "
        "(default: all physical cores)",
    )
    demo.add_argument(
        "--frames", type=int, metavar="N", help="light frames to simulate (default: 24)"
    )
    demo.add_argument(
        "--shape",
        type=_shape,
        metavar="NYxNX",
        help="rows and columns of a simulated frame (default: 800x800)",
    )
    demo.add_argument("--seed", type=int, metavar="N", help="seed of the simulation (default: 1)")
    demo.add_argument(
        "--overwrite",
        action="store_true",
        help="replace the results of an earlier run with --input",
    )
    demo.set_defaults(run=_demo)


def _number_of_processes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of 0 or more")
    return int(value) if value == int(value) else value


def _shape(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)[x,](\d+)", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 800x800")
    return int(match[1]), int(match[2])


def _demo(arguments: argparse.Namespace) -> int:
    from bigpipe.errors import BigpipeError, PipelineError

    given = [name for name in _SIMULATION_ONLY if getattr(arguments, name) is not None]
    if arguments.input is not None and given:
        return refuse(f"--{given[0]} applies only to a simulated night: drop it, or --input")

    from bigpipe.demo import DemoSettings, run_demo

    wanted = {
        "output": arguments.output,
        "source": arguments.input,
        "n_lights": arguments.frames,
        "shape": arguments.shape,
        "seed": arguments.seed,
        "num_processes": arguments.num_processes,
        "overwrite": arguments.overwrite,
    }
    settings = DemoSettings(**{name: x for name, x in wanted.items() if x is not None})
    try:
        report = run_demo(settings, say)
    except PipelineError as error:
        refuse(str(error.message))
        return FILES_FAILED
    except BrokenPipeError:  # the reader of the output closed it
        raise
    except (BigpipeError, OSError) as error:
        return refuse(str(error))
    print(report.text())
    return FILES_FAILED if report.n_failed else OK
